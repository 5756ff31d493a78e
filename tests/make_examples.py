"""Make the stored traces, the one that the page opens with and the lesson's: `make examples`.

Tests check that the engine still gives them.
"""

from dataclasses import replace

import numpy as np

from core import LanguageModel, Trace, load_model, make_policy, replay
from viz.examples.example_texts import EXAMPLES, FOLDER
from viz.lesson import lesson


def first_trace(lm: LanguageModel) -> Trace:
    return replay(lm, lm.encode(EXAMPLES[0].text), make_policy("tova", budget=64))


def lesson_trace(lm: LanguageModel, key: str) -> Trace:
    trace = replay(lm, lm.encode(lesson.text()), make_policy(key, None if key == "full" else lesson.BUDGET))
    unknown = np.full_like(trace.importance_at_eviction, np.nan)
    return replace(trace, importance_at_eviction=unknown, runner_up_importance=unknown)


if __name__ == "__main__":
    lm = load_model(dtype="float32", device="cpu")
    first_trace(lm).save(FOLDER / "lighthouse-tova-64.npz")
    for key in lesson.POLICIES:
        lesson_trace(lm, key).save(lesson.FOLDER / f"{key}.npz")
