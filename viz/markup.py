"""Plain text as HTML for the page; every text is escaped."""

import html
from collections.abc import Callable
from typing import Any

from viz.lesson_words import Language
from viz.translations import SAID

LANGUAGES: dict[Language, str] = {"en": "en", "zh": "zh-CN"}
"""Each with its name in HTML."""


def in_both(said: Callable[[Language], str], tag: str = "div") -> str:
    """HTML in both languages, for the server does not know which one the page has; `page.css` hides the other."""
    each = (f'<{tag} class="in-{own}" lang="{name}">{said(own)}</{tag}>' for own, name in LANGUAGES.items())
    return "".join(each)


def status(message: str | list[str], kind: str = "info", **values: Any) -> str:
    """A line of plain text for the status field; also in Chinese where `viz.translations.SAID` has all of it.

    Args:
        message: a text or several sentences; templates if there are values.
        kind: "info", "done" or "error".
        **values: that fill the templates.
    """
    role = "alert" if kind == "error" else "status"
    said = _filled([message] if isinstance(message, str) else message, values)
    return f'<p class="status {kind}" role="{role}">{said}</p>'


def _filled(sentences: list[str], values: dict[str, Any]) -> str:
    def plain(sentence: str) -> str:
        return html.escape(sentence.format(**values) if values else sentence)

    english = " ".join(map(plain, sentences))
    if not all(sentence in SAID for sentence in sentences):
        return english
    chinese = "".join(plain(SAID[sentence]) for sentence in sentences)
    return in_both(lambda language: english if language == "en" else chinese, "span")


def paragraphs(sentences: list[str]) -> str:
    """Sentences for the page; every text is escaped."""
    return "".join(f"<p>{html.escape(sentence)}</p>" for sentence in sentences)


def bullets(sentences: list[str]) -> str:
    """Sentences as a list; every text is escaped."""
    return f"<ul>{''.join(f'<li>{html.escape(sentence)}</li>' for sentence in sentences)}</ul>"
