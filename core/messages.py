"""Messages: texts of ours that the page can tell in another language."""

from typing import Any


class Message(str):
    """A text of ours in English, which remembers its template and the values in its holes.

    It is an ordinary string for whoever only shows it. The page finds the template in its catalogue of words and fills
    the holes again; a value that is itself a message is told in that language, too, and any other text stays as it is.

    Example: ``Message("{n:,} MB in {file}", n=3, file="a.npz")`` equals ``"3 MB in a.npz"``.

    Attributes:
        template: the English with its {holes}, see `str.format`; without values it is the text, braces and all.
        plural: the template for any number but 1; None if it depends on none.
        values: what is in the holes; the number, if there is one, is called n.
    """

    template: str
    plural: str | None
    values: dict[str, Any]

    def __new__(cls, template: str, /, **values: Any) -> "Message":
        """The message of this template with these values."""
        return cls._of(template, None, values)

    @classmethod
    def counted(cls, one: str, many: str, /, **values: Any) -> "Message":
        """The message for `n`, which is one of the values: 1 takes the first template, other numbers the second."""
        return cls._of(one, many, values)

    @classmethod
    def _of(cls, template: str, plural: str | None, values: dict[str, Any]) -> "Message":
        chosen = template if plural is None or values["n"] == 1 else plural
        message = super().__new__(cls, chosen.format(**values) if values else chosen)
        message.template, message.plural, message.values = template, plural, values
        return message


def tokens(n: int) -> Message:
    """So many tokens."""
    return Message.counted("{n:,} token", "{n:,} tokens", n=n)
