"""Translation: the current language, and the app's texts in it.

The English text in the code is the key. Every other language is one file, ``locales/…/LC_MESSAGES/messages.po``, which
`make words` updates.
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
    """The codes of all languages that the page has, such as "en" and "zh_CN"."""
    return _languages_in(LOCALES)


@cache  # every request asks for them
def _languages_in(locales: Path) -> tuple[str, ...]:
    return ENGLISH, *sorted(folder.name for folder in locales.iterdir() if folder.is_dir())


def own_name(language: str) -> str:
    """What a language calls itself: 中文 for "zh_CN"."""
    from babel import Locale  # noqa: PLC0415 (it would delay the first page)

    return str(Locale(language.partition("_")[0]).get_display_name() or language)


def language() -> str:
    """The code of the current language: that of the browser whose request is being answered, otherwise English."""
    return _spoken.get()


def preferred(header: str) -> str:
    """The page's language that an Accept-Language header prefers, whatever its region or script; English if none."""
    ours = {name.partition("_")[0]: name for name in languages()}
    wanted = [part.partition(";q=") for part in header.lower().replace(" ", "").split(",")]
    wanted.sort(key=lambda part: part[2] or "1", reverse=True)  # weights from 0 to 1 sort as texts, too
    found = (ours.get(tag.partition("-")[0]) for tag, _, weight in wanted if weight.strip("0.") or not weight)
    return next(filter(None, found), ENGLISH)


@contextmanager
def speaking(language: str) -> Iterator[None]:
    """Make this the current language inside the `with` block."""
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
    """The translations into a language; English needs none, since its texts are the keys."""
    if language == ENGLISH:
        return gettext.NullTranslations()
    from babel.messages.mofile import write_mo  # noqa: PLC0415 (it would delay the first page)

    compiled = BytesIO()
    write_mo(compiled, _messages(language))
    compiled.seek(0)
    return gettext.GNUTranslations(compiled)


def script_words() -> dict[str, Any]:
    """The texts of the maps' scripts in the current language, for `speak` in static/words.js.

    Returns:
        `messages` maps each English text to its translation, or to all plural forms of it if it depends on a number;
        `plural` is a JavaScript expression in n: the index of the form for n. English has no messages and no `plural`.
    """
    own = language()
    if own == ENGLISH:
        return {"messages": {}}
    of_scripts = (message for message in _messages(own) if any("/static/" in file for file, _ in message.locations))
    messages = {
        message.id if isinstance(message.id, str) else message.id[0]: message.string
        for message in of_scripts
        if message.string and all(message.string) and not message.fuzzy  # empty or fuzzy: not translated yet
    }
    return {"messages": messages, "plural": _messages(own).plural_expr}


def told(text: str) -> str:
    """A message in the current language; a string that is not a `Message` is returned unchanged.

    Strings among its values are `isolated`, so that right-to-left text in them does not reorder the sentence.
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
    """The text in the current language, its {placeholders} filled with these values."""
    return told(Message(template, **values))


def ngettext(one: str, many: str, n: int, /, **values: Any) -> str:
    """Like `_`, for a text that depends on the number {n}: in English `one` if it is 1, else `many`."""
    return told(Message.counted(one, many, n=n, **values))


def joined(sentences: Iterable[str]) -> str:
    """One or more sentences as one text: with a space between them in English, without in Chinese."""
    return reduce(lambda one, other: _("{sentence} {next}", sentence=one, next=other), sentences)
