"""How budgets are shared out, and what runs, traces and sweeps tell of it."""

import io

import numpy as np
import pytest

from core import attention_of, compare, costs, generate, make_policy, replay, scripted, sweep
from core.engine.sharing import pyramid
from core.errors import BadInput
from core.trace import Trace
from tests.conftest import N, text

KNORM, TOVA = make_policy("knorm", 6), make_policy("tova", 6)


@pytest.mark.parametrize(
    ("budget", "beta", "layers", "length", "window", "expected"),
    [
        (64, 20, 3, 1000, 1, [125, 64, 3]),
        (64, 20, 3, 100, 1, [100, 64, 28]),
        (64, 20, 1, 1000, 1, [64]),
        (64, 1, 3, 1000, 1, [64, 64, 64]),
        (64, 20, 3, 1000, 4, [64, 64, 64]),  # the window of SnapKV does not fit the last layer
        (64, 20, 3, 60, 1, [64, 64, 64]),  # the whole text fits
        (9, 20, 3, 1000, 1, [17, 9, 1]),  # every layer holds something
        (1, 20, 3, 1000, 1, [1, 1, 1]),
    ],
)
def test_a_pyramid_falls_in_equal_steps_and_keeps_its_mean(budget, beta, layers, length, window, expected) -> None:
    assert pyramid(budget, beta, layers, length, window) == expected


def held(trace: Trace) -> np.ndarray:
    """(layers, groups, steps): how many rows are held after each step."""
    return np.stack([trace.kept(step).sum(axis=2) for step in range(len(trace))], axis=2)


def test_rows_wait_until_there_are_enough(tiny) -> None:
    rows = held(replay(tiny("llama-gqa").lm, text("llama-gqa"), TOVA, every=4))
    assert rows[0, 0, :14].tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 6, 7, 8, 9, 6]


def test_a_pyramid_holds_what_it_says(tiny) -> None:
    rows = held(replay(tiny("llama-gqa").lm, text("llama-gqa"), TOVA, budgets="pyramid", beta=3))
    assert rows[:, 0, -1].tolist() == [10, 6, 2]


def test_heads_that_compete_hold_the_budget_on_average_and_never_less_than_the_floor(tiny) -> None:
    rows = held(replay(tiny("llama-gqa").lm, text("llama-gqa"), make_policy("knorm", 10), budgets="adaptive"))
    assert (rows[:, :, 10:].sum(axis=1) == 20).all()
    assert rows[:, :, 10:].min() >= 2 and (rows[:, 0] != rows[:, 1]).any()


def test_only_heads_can_compete_and_what_is_no_option_is_refused(tiny) -> None:
    lm, ids = tiny("llama-gqa").lm, text("llama-gqa")
    with pytest.raises(BadInput, match="TOVA decides for the whole layer"):
        replay(lm, ids, TOVA, budgets="adaptive")
    for wrong, name in (({"budgets": "fair"}, "budgets"), ({"every": 0}, "every"), ({"beta": 0.5}, "beta")):
        with pytest.raises(BadInput, match=f"^{name} must be"):
            replay(lm, ids, TOVA, **wrong)


@pytest.mark.parametrize("options", [{"budgets": "pyramid", "beta": 3}, {"budgets": "adaptive"}, {"every": 3}])
def test_what_is_written_is_what_a_replay_of_it_gives(tiny, options) -> None:
    lm, prompt = tiny("llama-gqa").lm, text("llama-gqa")[:13]
    written = generate(lm, prompt, [KNORM, make_policy("h2o", 6)], max_new_tokens=9, **options)
    for trace, policy in zip(written, [KNORM, make_policy("h2o", 6)], strict=True):
        again = replay(lm, trace.tokens, policy, chunk=4, **options)
        np.testing.assert_array_equal(again.evicted_at, trace.evicted_at)
        np.testing.assert_allclose(again.nll[1:13], trace.nll[1:13], atol=2e-5)


def test_a_trace_tells_how_budgets_were_shared_and_comes_back_from_its_file(tiny) -> None:
    lm, ids = tiny("llama-gqa").lm, text("llama-gqa")
    trace = replay(lm, ids, KNORM, budgets="adaptive", every=2)
    file = io.BytesIO()
    trace.save(file)
    file.seek(0)
    found = Trace.load(file)
    assert (found.budgets, found.every, found.beta) == ("adaptive", 2, 20)
    np.testing.assert_array_equal(found.evicted_at, trace.evicted_at)


def test_memory_is_that_of_the_rows_that_are_held(tiny) -> None:
    lm, ids = tiny("llama-gqa").lm, text("llama-gqa")
    comparison = compare(lm, ids, [KNORM, make_policy("h2o", 6)], budgets="pyramid", beta=3, every=3)
    for cost, trace in zip(costs(comparison)[1:], comparison.traces, strict=True):
        assert cost.memory == held(trace)[:, :, -1].sum() / (3 * 2) * comparison.row_bytes


def test_a_sweep_shares_its_budgets_out_and_leaves_out_what_cannot_compete(tiny) -> None:
    lm, ids = tiny("llama-gqa").lm, text("llama-gqa")
    records = sweep(lm, ids, ["knorm"], [6], sharing="adaptive", every=2)
    nll = replay(lm, ids, KNORM, budgets="adaptive", every=2).nll[1:]
    assert records[-1].nll_sum == pytest.approx(float(nll.sum()), rel=1e-5)
    assert records[-1].text_hash != sweep(lm, ids, ["knorm"], [6])[-1].text_hash  # not to be continued with the other
    with pytest.raises(BadInput, match="TOVA decides for the whole layer"):
        sweep(lm, ids, ["tova"], [6], sharing="adaptive")


@pytest.mark.parametrize("options", [{"budgets": "pyramid", "beta": 3}, {"prefill": "one-shot"}, {"every": 3}])
def test_one_can_look_into_any_run_by_its_schedule(tiny, options) -> None:
    lm, ids = tiny("llama-gqa").lm, text("llama-gqa")
    trace = replay(lm, ids, KNORM, **options)
    attention = attention_of(lm, ids, scripted(trace), layer=1, group=1)
    np.testing.assert_allclose(attention.sum(axis=1), np.ones(N), atol=1e-5)
    np.testing.assert_allclose(attention.sum(axis=0), trace.attention_received[1, 1], atol=1e-4)
