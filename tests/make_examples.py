"""Make the stored examples, those that the page opens with and the lesson's: `make examples`.

Tests check that the engine still gives them.
"""

from dataclasses import replace

import numpy as np

from core import LanguageModel, Trace, load_model, make_policy, replay
from core.model.registry import DEFAULT_MODEL
from core.store import Stored, save_stored
from viz.examples.example_texts import EXAMPLES, FOLDER
from viz.lesson import lesson
from viz.page.asked import Asked, reports, request_of
from viz.page.policy_cards import FIRST


def first_run(lm: LanguageModel) -> Stored:
    """What a person gets who presses Run on arrival."""
    *_, last = reports(lm, request_of(lm, Asked(DEFAULT_MODEL, EXAMPLES[0].text, FIRST)))
    return last.stored


def lesson_trace(lm: LanguageModel, key: str) -> Trace:
    trace = replay(lm, lm.encode(lesson.text()), make_policy(key, None if key == "full" else lesson.BUDGET))
    unknown = np.full_like(trace.importance_at_eviction, np.nan)
    return replace(trace, importance_at_eviction=unknown, runner_up_importance=unknown)


if __name__ == "__main__":
    lm = load_model(dtype="float32", device="cpu")
    save_stored(first_run(lm), FOLDER / "lighthouse.run")
    for key in lesson.POLICIES:
        lesson_trace(lm, key).save(lesson.FOLDER / f"{key}.npz")
