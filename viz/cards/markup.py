"""Plain text as HTML for the page; every text is escaped."""

import html
from collections.abc import Callable
from typing import Any

from viz.words.lesson_words import Language
from viz.words.messages import message_in
from viz.words.say import say
from viz.words.status_words import STATUS_WORDS
from viz.words.translations import language

LANGUAGES: dict[Language, str] = {"en": "en", "zh": "zh-CN"}
"""Each with its name in HTML."""


def in_both(said: Callable[[Language], str], tag: str = "div") -> str:
    """HTML in both languages: a page is made before it is known who opens it. `page.css` hides the other one."""
    each = (f'<{tag} class="in-{own}" lang="{name}">{said(own)}</{tag}>' for own, name in LANGUAGES.items())
    return "".join(each)


def status(message: str | list[str], kind: str = "info", **values: Any) -> str:
    """A line of plain text for the status field; also in Chinese where all of it is known, see `viz.words.say`.

    Args:
        message: a text or several sentences; templates if there are values. It may be what an error says.
        kind: "info", "done" or "error".
        **values: that fill the templates.
    """
    role = "alert" if kind == "error" else "status"
    words = _filled([message] if isinstance(message, str) else message, values)
    return f'<p class="status {kind}" role="{role}">{words}</p>'


def _filled(sentences: list[str], values: dict[str, Any]) -> str:
    def plain(sentence: str) -> str:
        return html.escape(sentence.format(**values) if values else sentence)

    english = " ".join(map(plain, sentences))
    chinese = [STATUS_WORDS.get(sentence) or message_in("zh", sentence) for sentence in sentences]
    if any(own == sentence for own, sentence in zip(chinese, sentences, strict=True)):
        return english
    return in_both(lambda language: english if language == "en" else "".join(map(plain, chinese)), "span")


def paragraphs(sentences: list[str]) -> str:
    """Sentences for the page; every text is escaped."""
    return "".join(f"<p>{html.escape(sentence)}</p>" for sentence in sentences)


def said(template: str, **values: Any) -> str:
    """A sentence of ours as a paragraph, in the language of the page that the event in progress comes from."""
    return paragraphs([say(language(), template, **values)])


def note(template: str) -> str:
    """A sentence of ours beside what is shown, in both languages."""
    return in_both(lambda language: f'<p class="note">{html.escape(say(language, template))}</p>')


def bullets(sentences: list[str]) -> str:
    """Sentences as a list; every text is escaped."""
    return f"<ul>{''.join(f'<li>{html.escape(sentence)}</li>' for sentence in sentences)}</ul>"
