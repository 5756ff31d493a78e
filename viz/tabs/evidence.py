"""The evidence: the passage of a document that is marked because it has the answer."""

from dataclasses import dataclass
from typing import Any

import gradio as gr

from core.messages import Message
from viz.cards.markup import paragraphs
from viz.words.catalogue import _, told

NOTHING_MARKED = Message(
    "Nothing is marked yet: select a passage in the document with the mouse or with shift and the arrows."
)


@dataclass(frozen=True)
class Evidence:
    """The characters of a document that are marked, from `start` to before `stop`."""

    document: str
    start: int
    stop: int

    @classmethod
    def of(cls, document: str, passage: str) -> "Evidence":
        """The passage where it first stands in the document."""
        start = document.index(passage)
        return cls(document, start, start + len(passage))

    @property
    def text(self) -> str:
        return self.document[self.start : self.stop]


def mark(document: str, event: gr.SelectData) -> tuple[Any, Any]:
    """The selected characters are the evidence; a click alone selects nothing and changes nothing."""
    start, stop = sorted(_characters(document, place) for place in event.index)
    if not document[start:stop].strip():
        return gr.skip(), gr.skip()
    return Evidence(document, start, stop), marked_html(document[start:stop])


def marked_html(passage: str) -> str:
    """Which passage is marked."""
    return paragraphs([_("Marked: {passage}", passage=passage)])


def _characters(text: str, place: int) -> int:
    """A browser counts in UTF-16 code units."""
    return len(text.encode("utf-16-le")[: 2 * place].decode("utf-16-le", errors="ignore"))


def still_marked(document: str, evidence: Evidence | None) -> tuple[Any, Any]:
    """Another document has no evidence yet."""
    if evidence is not None and evidence.document == document:
        return gr.skip(), gr.skip()
    return None, paragraphs([told(NOTHING_MARKED)])
