"""The catalogue of our words: which language a page is in, and every text of ours in it.

English stands in the code and is the key; each other language is one file, ``locales/…/LC_MESSAGES/messages.po``, which
`make words` brings up to date.
"""

import gettext
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, reduce
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.messages import Message
from viz.words.letters import isolated

if TYPE_CHECKING:
    from babel.messages.catalog import Catalog

LOCALES = Path(__file__).parent / "locales"
ENGLISH = "en"

_spoken: ContextVar[str] = ContextVar("_spoken", default=ENGLISH)


def languages() -> tuple[str, ...]:
    """The languages that there are, by their names in the catalogue: "en", "zh_CN"."""
    return ENGLISH, *sorted(folder.name for folder in LOCALES.iterdir() if folder.is_dir())


def own_name(language: str) -> str:
    """What a language calls itself."""
    from babel import Locale  # noqa: PLC0415 (it would delay the first page)

    return str(Locale(language.partition("_")[0]).get_display_name() or language)


def language() -> str:
    """The language to speak now: on a page that of the browser whose request is answered, elsewhere English."""
    return _spoken.get()


def preferred(header: str) -> str:
    """The language of ours that an Accept-Language header likes best, in whatever region or script; else English."""
    ours = {name.partition("_")[0]: name for name in languages()}
    wanted = [part.strip().partition(";q=") for part in header.lower().split(",")]
    wanted.sort(key=lambda part: part[2] or "1", reverse=True)  # weights are from 0 to 1, and so in order as texts
    found = (ours.get(tag.partition("-")[0]) for tag, _, _ in wanted)
    return next(filter(None, found), ENGLISH)


@contextmanager
def speaking(language: str) -> Iterator[None]:
    """Whatever is told meanwhile is told in this language."""
    before = _spoken.set(language)
    try:
        yield
    finally:
        _spoken.reset(before)


@cache
def _messages(language: str) -> "Catalog":
    from babel.messages.pofile import read_po  # noqa: PLC0415 (it would delay the first page)

    with (LOCALES / language / "LC_MESSAGES" / "messages.po").open("rb") as file:
        return read_po(file, locale=language)


@cache
def _words(language: str) -> gettext.NullTranslations:
    """The words of a language; those of English are its keys."""
    if language == ENGLISH:
        return gettext.NullTranslations()
    from babel.messages.mofile import write_mo  # noqa: PLC0415 (it would delay the first page)

    compiled = BytesIO()
    write_mo(compiled, _messages(language))
    compiled.seek(0)
    return gettext.GNUTranslations(compiled)


def script_words() -> dict[str, Any]:
    """What the scripts of the maps say, in the language to speak now, for `speak` in static/words.js.

    Returns:
        The `messages` by their English, those for numbers with all their forms; and `plural`, an expression in n that
        tells which of the forms a number takes. English has none.
    """
    own = language()
    if own == ENGLISH:
        return {"messages": {}}
    of_scripts = (message for message in _messages(own) if any("/static/" in file for file, _ in message.locations))
    messages = {
        message.id if isinstance(message.id, str) else message.id[0]: message.string
        for message in of_scripts
        if message.string and all(message.string)  # else the file is still being translated
    }
    return {"messages": messages, "plural": _messages(own).plural_expr}


def told(text: str) -> str:
    """A message in the language to speak now; a text that is no message stays as it is.

    Texts in its holes are `isolated`, so that what reads from right to left does not turn round what stands beside it.
    """
    if not isinstance(text, Message):
        return text
    words = _words(language())
    if text.plural is None:
        template = words.gettext(text.template)
    else:
        template = words.ngettext(text.template, text.plural, text.values["n"])
    values = {name: isolated(told(value)) if isinstance(value, str) else value for name, value in text.values.items()}
    return template.format(**values) if values else template


def _(template: str, /, **values: Any) -> str:
    """A text of ours in the language to speak now, with these values in its holes."""
    return told(Message(template, **values))


def ngettext(one: str, many: str, n: int, /, **values: Any) -> str:
    """As `_`, for a number, which is the value n: English takes the first text for 1 and the second for others."""
    return told(Message.counted(one, many, n=n, **values))


def joined(sentences: Iterable[str]) -> str:
    """Sentences one after another."""
    return reduce(lambda one, other: _("{sentence} {next}", sentence=one, next=other), sentences)
