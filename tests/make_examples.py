"""Make the stored examples, those that the page opens with and the lesson's: `make examples`.

Tests check that the engine still gives them.
"""

from dataclasses import replace

import numpy as np

import core
from core import LanguageModel, Trace, generate, load_model, make_policy, replay
from core.experiments.ask import ask, prompt_of
from core.model.chat import turn
from core.model.registry import DEFAULT_MODEL
from core.policies import Full, Policy
from core.store import Stored, save_stored
from viz.examples import answer, needle, sweep, telling
from viz.examples.example_texts import EXAMPLES, FOLDER
from viz.lesson import after, lesson
from viz.page.asked import Asked, reports, request_of
from viz.page.policy_cards import FIRST


def first_run(lm: LanguageModel) -> Stored:
    """What a person gets who presses Run on arrival."""
    *_, last = reports(lm, request_of(lm, Asked(DEFAULT_MODEL, EXAMPLES[0].text, FIRST)))
    return last.stored


def without_importances(trace: Trace) -> Trace:
    """Smaller to store; nothing that shows such a trace tells why a token was evicted."""
    unknown = np.full_like(trace.importance_at_eviction, np.nan)
    return replace(trace, importance_at_eviction=unknown, runner_up_importance=unknown)


def small(trace: Trace) -> Trace:
    """Also without the attention received, where it is never shown."""
    return without_importances(replace(trace, attention_received=np.full_like(trace.attention_received, np.nan)))


def example_policies() -> list[Policy]:
    return [make_policy(chosen.key, chosen.budget) for chosen in FIRST]


def answered(lm: LanguageModel) -> Stored:
    prompt = prompt_of(lm, answer.DOCUMENT, answer.QUESTION)
    answers = ask(lm, prompt, example_policies())
    return answer.packed(prompt, [replace(own, trace=small(own.trace)) for own in answers])


def found(lm: LanguageModel) -> bytes:
    return needle.packed(core.needle.needle(lm, example_policies(), needle.DEPTHS, needle.LENGTHS))


def told(lm: LanguageModel) -> Stored:
    tokens, _ = turn(lm, telling.PROMPT)
    how = {"max_new_tokens": telling.NEW_TOKENS, "temperature": telling.TEMPERATURE, "top_p": telling.TOP_P}
    traces = generate(lm, tokens, [Full(), *example_policies()], seed=telling.SEED, **how)
    return telling.packed([small(trace) for trace in traces], lm.eos_ids)


def swept(lm: LanguageModel) -> str:
    keys = [policy.key for policy in example_policies()]
    return sweep.packed(core.sweep(lm, lm.encode(EXAMPLES[0].text), keys, sweep.BUDGETS))


def lesson_trace(lm: LanguageModel, key: str) -> Trace:
    policy = make_policy(key, None if key == "full" else lesson.BUDGET)
    return without_importances(replay(lm, lm.encode(lesson.text()), policy))


def after_trace(lm: LanguageModel, key: str) -> Trace:
    return small(replay(lm, lm.encode(after.TEXT), make_policy(key, after.BUDGET)))


if __name__ == "__main__":
    lm = load_model(dtype="float32", device="cpu")
    save_stored(first_run(lm), FOLDER / "lighthouse.run")
    save_stored(answered(lm), answer.FILE)
    needle.FILE.write_bytes(found(lm))
    save_stored(told(lm), telling.FILE)
    sweep.FILE.write_text(swept(lm), encoding="utf-8")
    for key in lesson.POLICIES:
        lesson_trace(lm, key).save(lesson.FOLDER / f"{key}.npz")
    for key in after.POLICIES:
        after_trace(lm, key).save(after.FOLDER / f"{key}.npz")
