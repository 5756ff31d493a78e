"""Messages: texts of the program that the page can translate."""

from typing import Any


class Message(str):
    """A string in English that remembers its template and the values of its placeholders.

    To translate it, the page looks the template up in its catalogue and fills the placeholders again. A value that is
    itself a message is translated, too; any other value stays as it is.

    Example: ``Message("{n:,} MB in {file}", n=3, file="a.npz")`` equals ``"3 MB in a.npz"``.

    Attributes:
        template: the English with {placeholders}, see `str.format`; if there are no values, braces are plain text.
        plural: the template for any n but 1; None if the text does not depend on n.
        values: the values of the placeholders by name; a number that selects the plural is called n.
    """

    template: str
    plural: str | None
    values: dict[str, Any]

    def __new__(cls, template: str, /, **values: Any) -> "Message":
        """The message of this template with these values."""
        return cls._of(template, None, values)

    @classmethod
    def counted(cls, one: str, many: str, /, **values: Any) -> "Message":
        """The message with template `one` if the value `n` is 1, else with template `many`."""
        return cls._of(one, many, values)

    @classmethod
    def _of(cls, template: str, plural: str | None, values: dict[str, Any]) -> "Message":
        chosen = template if plural is None or values["n"] == 1 else plural
        message = super().__new__(cls, chosen.format(**values) if values else chosen)
        message.template, message.plural, message.values = template, plural, values
        return message


def tokens(n: int) -> Message:
    """The number with its noun, such as "1 token" or "2,000 tokens"."""
    return Message.counted("{n:,} token", "{n:,} tokens", n=n)
