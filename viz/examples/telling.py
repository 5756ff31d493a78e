"""The stories with which Write opens: a stored run of our engine."""

from collections.abc import Collection, Sequence
from functools import cache

import numpy as np

from core.experiments.stories import Telling, stories
from core.store import Stored, load_stored
from core.trace import Trace
from viz.examples.example_texts import FOLDER

FILE = FOLDER / "telling.run"
PROMPT = "Write a story about a lighthouse keeper who finds a letter in a bottle."
SEED, NEW_TOKENS, TEMPERATURE, TOP_P = 0, 160, 0.8, 0.95


def packed(traces: Sequence[Trace], eos_ids: Collection[int]) -> Stored:
    """What is stored of the stories, for `example_telling` to read."""
    return Stored(tuple(traces), {"eos_ids": np.array(sorted(eos_ids))})


@cache
def example_telling() -> Telling:
    """The stored stories of the full model, TOVA, H2O and Window."""
    stored = load_stored(FILE)
    return Telling(PROMPT, SEED, tuple(stories(stored.traces, frozenset(stored.arrays["eos_ids"].tolist()))))
