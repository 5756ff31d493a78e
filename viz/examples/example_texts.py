"""Example texts, written for this app, and the trace that the page shows before any model has run."""

from dataclasses import dataclass
from pathlib import Path

from core.messages import Message
from core.trace import Trace

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class ExampleText:
    """A text to try: the name of its file, and its title on the page."""

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
    """The stored run of TOVA with a budget of 64 on the first example."""
    return Trace.load(FOLDER / "lighthouse-tova-64.npz")
