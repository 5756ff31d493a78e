"""What the sidebar says becomes one run: which traces it has, in which order, and under which key."""

from dataclasses import replace

import numpy as np
import pytest

import core
from core.errors import BadInput, UserError
from core.store import Stored
from tests.talkers import make_talker
from viz.page import limits
from viz.page.asked import Asked, Chosen, Report, reports, request_of, shown
from viz.page.limits import Limits

TEXT = "The keeper lit the lamp, and the lamp lit the sea, and the sea kept what it was told."
ASKED = Asked("m", TEXT, (Chosen("window", 6), Chosen("full"), Chosen("tova", 6)))


@pytest.fixture(scope="module")
def lm(tmp_path_factory) -> core.LanguageModel:
    """A tiny Llama that reads bytes and has no chat format."""
    directory = make_talker(tmp_path_factory.mktemp("talker"), chats=False, context=512)
    return core.load_model(directory, dtype="float32", device="cpu")


def run(lm: core.LanguageModel, asked: Asked) -> Report:
    *_, last = reports(lm, request_of(lm, asked))
    assert last.done == last.total or asked.new_tokens
    return last


def test_the_policies_come_in_the_order_of_the_cards_and_the_full_model_runs_once(lm):
    stored = run(lm, ASKED).stored
    assert [trace.policy.key for trace in shown(stored)] == ["window", "full", "tova"]
    assert [trace.policy.key for trace in stored.traces] == ["full", "window", "tova"]
    tokens = lm.encode(TEXT)
    for trace, chosen in zip(shown(stored), ASKED.policies, strict=True):
        alone = core.replay(lm, tokens, core.make_policy(chosen.key, chosen.budget))
        np.testing.assert_array_equal(trace.evicted_at, alone.evicted_at)
        np.testing.assert_allclose(trace.nll[1:], alone.nll[1:], atol=1e-4)


def test_how_it_is_read_reaches_the_engine(lm):
    how = {"positions": "in-cache", "prefill": "one-shot", "budgets": "pyramid", "every": 2}
    asked = Asked("m", TEXT, (Chosen("window+i", 6, {"n_sink": 2}),), **how)
    (trace,) = shown(run(lm, asked).stored)
    policy = core.make_policy("window+i", 6, n_sink=2)
    alone = core.replay(lm, lm.encode(TEXT), policy, **how)
    np.testing.assert_array_equal(trace.evicted_at, alone.evicted_at)
    assert {name: getattr(trace, name) for name in how} == how
    assert dict(trace.policy.settings) == {"n_sink": 2}


def test_who_writes_has_no_full_model_beside_and_draws_with_the_seed(lm):
    asked = Asked("m", TEXT, (Chosen("tova", 6), Chosen("window", 6)), new_tokens=8, temperature=1.0, seed=5)
    stored = run(lm, asked).stored
    assert stored.comparison is None
    policies = [core.make_policy("tova", 6), core.make_policy("window", 6)]
    alone = core.generate(lm, lm.encode(TEXT), policies, max_new_tokens=8, temperature=1.0, seed=5)
    for trace, own in zip(shown(stored), alone, strict=True):
        np.testing.assert_array_equal(trace.tokens.ids, own.tokens.ids)


def test_a_text_beyond_the_context_is_read_without_the_full_model(lm):
    asked = Asked("m", TEXT * 12, (Chosen("window", 6), Chosen("tova", 6)), positions="in-cache")
    request = request_of(lm, asked)
    assert len(request.tokens) > lm.context_length
    assert not request.beside_full
    assert [trace.policy.key for trace in shown(run(lm, asked).stored)] == ["window", "tova"]


def test_the_full_model_alone_is_one_run(lm):
    stored = run(lm, replace(ASKED, policies=(Chosen("full"),))).stored
    assert len(stored.traces) == len(shown(stored)) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"text": TEXT + " x"},
        {"policies": ASKED.policies[:2]},
        {"policies": ASKED.policies[::-1]},
        {"new_tokens": 4},
        {"positions": "in-cache"},
        {"prefill": "one-shot"},
        {"budgets": "pyramid"},
        {"every": 3},
    ],
)
def test_every_setting_makes_a_run_of_its_own(lm, change):
    assert request_of(lm, replace(ASKED, **change)).key != request_of(lm, ASKED).key


def test_what_only_writing_needs_makes_no_other_reading(lm):
    assert request_of(lm, replace(ASKED, temperature=1.0, seed=3)).key == request_of(lm, ASKED).key


def test_a_message_is_read_in_the_chat_format_of_a_model_that_has_one(smollm2, lm):
    plain = Asked("m", "Hi there.", (Chosen("full"),))
    message = request_of(smollm2, replace(plain, message=True)).tokens
    assert "".join(message.pieces).endswith("<|im_start|>assistant\n")
    assert "Hi there." in "".join(message.pieces)
    without = request_of(lm, replace(plain, message=True)).tokens
    np.testing.assert_array_equal(without.ids, request_of(lm, plain).tokens.ids)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"policies": ()}, "at least one"),
        ({"policies": (Chosen("tova", 6), Chosen("tova", 6))}, "twice"),
        ({"policies": tuple(Chosen("tova", budget) for budget in range(1, 8))}, "At most 6"),
        ({"policies": (Chosen("tova", 65),)}, "64"),
        ({"new_tokens": 33}, "32"),
        ({"text": "x" * 201}, "200"),
    ],
)
def test_what_cannot_be_done_is_refused_before_a_model_is_needed(monkeypatch, change, told):
    monkeypatch.setattr(limits, "current", Limits(max_budget=64, max_new_tokens=32, max_characters=200))
    with pytest.raises(UserError, match=told):
        replace(ASKED, **change).check()


def test_two_cards_may_have_one_policy_with_other_settings():
    replace(ASKED, policies=(Chosen("window+i", 6, {"n_sink": 1}), Chosen("window+i", 6, {"n_sink": 4}))).check()
    with pytest.raises(BadInput):
        replace(ASKED, policies=(Chosen("window+i", 6, {"n_sink": 1}),) * 2).check()


def test_a_saved_trace_shows_all_that_it_has(lm):
    stored = run(lm, ASKED).stored
    assert shown(Stored(stored.traces[1:])) == list(stored.traces[1:])
