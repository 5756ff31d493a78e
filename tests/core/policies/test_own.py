"""Policies of one's own, and schedules: a preset evicts what the named policy evicts, a schedule what it says."""

import numpy as np
import pytest

from core import make_policy, presets, replay, scripted
from core.errors import BadInput
from core.policies.own import doubled_ranks
from core.trace import NEVER
from tests.conftest import TINY, N, text


def test_equal_rows_share_the_mean_of_their_ranks():
    np.testing.assert_array_equal(
        doubled_ranks(np.array([[5.0, 2.0, 5.0, 9.0], [1.0, 1.0, 1.0, 1.0]])), [[3, 0, 3, 6], [3] * 4]
    )
    np.testing.assert_array_equal(doubled_ranks(np.array([[3.0]])), [[0]])


@pytest.mark.parametrize("key", presets(6))
@pytest.mark.parametrize("name", TINY)
def test_a_preset_evicts_exactly_what_the_named_policy_evicts(tiny, name, key):
    lm, ids = tiny(name).lm, text(name)
    of_budgets = {6: ({"chunk": 7}, {"every": 3}), 9: ({"chunk": 1}, {"prefill": "one-shot"})}
    for budget, ways in of_budgets.items():
        named = make_policy(key, budget)
        own = make_policy("own", budget, **presets(budget)[key])
        assert own.scope == named.scope
        for options in ways:
            expected, found = replay(lm, ids, named, **options), replay(lm, ids, own, **options)
            np.testing.assert_array_equal(found.evicted_at, expected.evicted_at)
            np.testing.assert_allclose(found.nll, expected.nll, atol=2e-5)


def test_weights_that_are_all_zero_and_spared_rows_that_fill_the_budget_are_refused():
    with pytest.raises(BadInput, match="All weights are zero"):
        make_policy("own", 8, w_attention=0, w_recent=0, w_keys=0)
    with pytest.raises(BadInput, match="4 first and 4 last rows spared leave no room for others in a budget of 8"):
        make_policy("own", 8, n_sink=4, n_recent=4)


SOME = [
    ("tova", {}),
    ("rkv", {"window": 3, "kernel": 3}),
    ("knorm", {}),
]


@pytest.mark.parametrize(("key", "settings"), SOME)
@pytest.mark.parametrize(
    "options", [{}, {"prefill": "one-shot"}, {"budgets": "pyramid"}, {"budgets": "adaptive", "every": 3}]
)
def test_a_schedule_repeats_the_run_that_it_is_from(tiny, key, settings, options):
    lm, ids = tiny("llama-gqa").lm, text("llama-gqa")
    if key == "tova" and options.get("budgets") == "adaptive":
        options = {"every": 3}
    first = replay(lm, ids, make_policy(key, 6, **settings), chunk=5, **options)
    again = replay(lm, ids, scripted(first), chunk=5)
    np.testing.assert_array_equal(again.evicted_at, first.evicted_at)
    np.testing.assert_allclose(again.nll, first.nll, atol=2e-5)
    assert again.policy.scope == first.policy.scope
    most = max(first.kept(step).sum(axis=2).max() for step in range(N))
    assert again.policy.budget == most
    np.testing.assert_array_equal(replay(lm, ids, scripted(first.evicted_at), chunk=1).evicted_at, first.evicted_at)


def test_an_impossible_schedule_is_refused_and_the_place_is_named(tiny):
    possible = np.full((3, 2, N), NEVER)
    possible[1, 0, 4] = 9
    for step, reason in (
        (3, "token 4 is to go at step 3: it is read at step 4"),
        (N, f"token 4 is to go at step {N}.*the last step is {N - 1}"),
    ):
        wrong = possible.copy()
        wrong[1, 0, 4] = step
        with pytest.raises(BadInput, match=f"In layer 1, group 0, {reason}"):
            scripted(wrong)
    with pytest.raises(BadInput, match=r"In layer 0, group 0, the schedule holds 9 rows after step 8.*budget of 8"):
        scripted(possible, budget=8)
    for shapeless in (possible[0], possible * 1.0, "tova", None):
        with pytest.raises(BadInput, match="layers, groups, tokens"):
            scripted(shapeless)
    with pytest.raises(BadInput, match="budget must be a whole number"):
        scripted(possible, budget="8")
    lm, ids = tiny("llama-gqa").lm, text("llama-gqa")
    with pytest.raises(BadInput, match=r"This schedule is for 3 × 2 × .* here there are 3 × 2 × 10"):
        replay(lm, ids[:10], scripted(possible))
    with pytest.raises(BadInput, match="already says which rows go"):
        replay(lm, ids, scripted(possible), every=2)
    trace = replay(lm, ids, make_policy("tova", 5))
    with pytest.raises(BadInput, match="that of another text"):
        replay(lm, ids[::-1], scripted(trace))
