"""The matrix of hidden facts with which Ask opens: a stored run of our engine."""

from collections.abc import Sequence

from pydantic import TypeAdapter

from core.experiments.haystack import NeedleResult
from viz.examples.example_texts import FOLDER

FILE = FOLDER / "needle.json"
DEPTHS, LENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0), (128,)
_RESULTS = TypeAdapter(list[NeedleResult])


def packed(results: Sequence[NeedleResult]) -> bytes:
    """What is stored of the matrix, for `example_needle` to read."""
    return _RESULTS.dump_json(list(results), indent=0) + b"\n"


def example_needle() -> list[NeedleResult]:
    """The stored results of the full model, TOVA, H2O and Window."""
    return _RESULTS.validate_json(FILE.read_bytes())
