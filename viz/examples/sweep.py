"""The sweep with which Budget opens: a stored run of our engine on the lighthouse text."""

import json
from collections.abc import Sequence
from dataclasses import asdict

from core.experiments.records import Record
from viz.examples.example_texts import FOLDER

FILE = FOLDER / "sweep.json"
BUDGETS = (16, 32, 64, 128, 256)


def packed(records: Sequence[Record]) -> str:
    """What is stored of the sweep, for `example_sweep` to read: one record per line, with all digits."""
    return "[\n" + ",\n".join(json.dumps(asdict(record)) for record in records) + "\n]\n"


def example_sweep() -> list[Record]:
    """The stored records of TOVA, H2O and Window, beside the full model and the short context."""
    return [Record(**record) for record in json.loads(FILE.read_text(encoding="utf-8"))]
