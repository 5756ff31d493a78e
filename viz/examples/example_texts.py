"""The example texts, in our own words, and the trace that the page shows before any model has run."""

from dataclasses import dataclass
from pathlib import Path

from core.messages import Message
from core.trace import Trace

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class ExampleText:
    """A text to try and what it is good for."""

    name: str
    title: str

    @property
    def text(self) -> str:
        return (FOLDER / f"{self.name}.txt").read_text(encoding="utf-8")


EXAMPLES = (
    ExampleText("lighthouse", Message("Story: the lighthouse")),
    ExampleText("kitchen", Message("Numbers and lists")),
    ExampleText("dialogue", Message("Dialogue")),
    ExampleText("tea", Message("Two languages")),
)


def first_trace() -> Trace:
    """TOVA with a budget of 64 on the first example, run by our engine and stored."""
    return Trace.load(FOLDER / "lighthouse-tova-64.npz")
