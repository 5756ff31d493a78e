"""Example texts, written for this app, and the run that the page shows before any model has run."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from core.messages import Message
from core.store import Stored, load_stored

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
    ExampleText("lighthouse", Message("Story")),
    ExampleText("kitchen", Message("Lists")),
    ExampleText("dialogue", Message("Dialogue")),
    ExampleText("tea", Message("Two languages")),
)


@cache
def first_run() -> Stored:
    """The stored run of the policies that are chosen on arrival, on the first example, beside the full model."""
    return load_stored(FOLDER / "lighthouse.run")
