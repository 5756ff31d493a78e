"""Sentences and lists as HTML for the page."""

from collections.abc import Callable
from typing import Any

from markupsafe import Markup

from viz.templates import fill
from viz.words.lesson_words import Language
from viz.words.messages import message_in
from viz.words.say import say
from viz.words.status_words import STATUS_WORDS
from viz.words.translations import is_asked, language

LANGUAGES: dict[Language, str] = {"en": "en", "zh": "zh-CN"}
"""Each with its name in HTML."""


def in_both(said: Callable[[Language], str], tag: str = "div") -> Markup:
    """HTML in both languages: a page is made before it is known who opens it. `page.css` hides the other one.

    Args:
        said: text, or HTML as a `Markup`, in a language.
        tag: of the two elements that hold it.
    """
    return fill("cards/in_both.html", tag=tag, each=[(own, name, said(own)) for own, name in LANGUAGES.items()])


def _told(said: Callable[[Language], str], tag: str = "div") -> Markup | str:
    """In the language of the page that asks, or `in_both` if none does: then the page is just being made."""
    return said(language()) if is_asked() else in_both(said, tag)


def status(message: str | list[str], kind: str = "info", **values: Any) -> Markup:
    """A line for the status field; also in Chinese where all of it is known, see `viz.words.say`.

    Args:
        message: a text or several sentences; templates if there are values. It may be what an error says.
        kind: "info", "done" or "error".
        **values: that fill the templates.
    """
    sentences = [message] if isinstance(message, str) else message
    return fill("cards/status.html", kind=kind, words=_filled(sentences, values))


def _filled(sentences: list[str], values: dict[str, Any]) -> Markup | str:
    def plain(sentence: str) -> str:
        return sentence.format(**values) if values else sentence

    english = " ".join(map(plain, sentences))
    chinese = [STATUS_WORDS.get(sentence) or message_in("zh", sentence) for sentence in sentences]
    if any(own == sentence for own, sentence in zip(chinese, sentences, strict=True)):
        return english
    return _told(lambda own: english if own == "en" else "".join(map(plain, chinese)), "span")


def paragraphs(sentences: list[str]) -> Markup:
    """A paragraph for each sentence."""
    return fill("cards/paragraphs.html", sentences=sentences)


def said(template: str, **values: Any) -> Markup:
    """A sentence of ours as a paragraph, in the language of the page that the event in progress comes from."""
    return paragraphs([say(language(), template, **values)])


def note(template: str) -> Markup | str:
    """A sentence of ours beside what is shown."""
    return _told(lambda own: fill("cards/note.html", words=say(own, template)))


def bullets(sentences: list[str]) -> Markup:
    """Sentences as a list."""
    return fill("cards/bullets.html", sentences=sentences)
