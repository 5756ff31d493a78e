"""Sentences and lists as HTML for the page."""

from collections.abc import Iterable

from markupsafe import Markup

from viz.templates import fill
from viz.words.catalogue import joined, told


def status(message: str | Iterable[str], kind: str = "info") -> Markup:
    """A status line.

    Args:
        message: a text, or several sentences; each `Message` is told in the current language.
        kind: "info", "done" or "error".
    """
    sentences = [message] if isinstance(message, str) else message
    return fill("cards/status.html", kind=kind, words=joined(map(told, sentences)))


def paragraphs(sentences: Iterable[str]) -> Markup:
    """A paragraph for each sentence."""
    return fill("cards/paragraphs.html", sentences=sentences)


def note(sentence: str) -> Markup:
    """A remark about what is shown."""
    return fill("cards/note.html", words=sentence)


def bullets(sentences: Iterable[str]) -> Markup:
    """Sentences as a list."""
    return fill("cards/bullets.html", sentences=sentences)
