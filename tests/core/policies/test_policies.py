"""Settings of the policies, and what they hold every row to be worth."""

import math
from dataclasses import FrozenInstanceError, fields

import numpy as np
import pytest

from core import make_policy
from core.errors import BadInput, UnknownPolicy, UserError
from core.policies import POLICIES, Step, settings_of

FINITE = [key for key in POLICIES if key != "full"]


def step(positions, *, position=None, attention=None, layer=0):
    positions = np.array(positions)
    layers = np.full((len(positions), 1), layer)
    return Step(layers, positions.max() if position is None else position, positions, attention)


def importance(policy, at, memory=None):
    return policy.importance(at, np.zeros(at.positions.shape) if memory is None else memory)


def test_every_policy_of_the_paper_is_there_under_its_key():
    papers = {"full", "window", "window+i", "h2o", "tova", "tova-head"}
    assert papers <= POLICIES.keys()
    assert {key for key in papers if POLICIES[key].scope == "kv_head"} == {"h2o", "tova-head"}
    assert {key for key in papers if POLICIES[key].reads_attention} == {"h2o", "tova", "tova-head"}
    for key, policy in POLICIES.items():
        assert policy.key == key and policy.label and policy.paper


@pytest.mark.parametrize("key", FINITE)
@pytest.mark.parametrize(
    "budget", [0, -1, -(2**70), None, "64", "", 6.0, 6.5, math.nan, math.inf, True, [6], np.float32(6)]
)
def test_budgets_that_are_none(key, budget):
    with pytest.raises(BadInput, match="budget"):
        make_policy(key, budget)


@pytest.mark.parametrize("key", FINITE)
@pytest.mark.parametrize("budget", [5, 1000, np.int64(64)])
def test_budgets_that_are(key, budget):
    assert make_policy(key, budget).budget == budget
    assert make_policy(key, budget=budget) == make_policy(key, budget)


@pytest.mark.parametrize("key", ["TOVA", "", "lru", "window+4", "Window"])
def test_a_policy_that_does_not_exist_is_refused_with_those_that_do(key):
    with pytest.raises(UnknownPolicy, match=r"tova.*window.*full"):
        make_policy(key, 5)


def test_the_full_model_takes_no_budget():
    assert make_policy("full").budget is None
    with pytest.raises(BadInput, match="budget"):
        make_policy("full", 5)


@pytest.mark.parametrize(("budget", "n_sink"), [(4, 4), (1, 1), (4, 5), (3, 4)])
def test_sinks_that_leave_no_room_are_refused_with_both_numbers(budget, n_sink):
    with pytest.raises(BadInput, match=rf"{n_sink}.*{budget}"):
        make_policy("window+i", budget, n_sink=n_sink)


def test_sinks_are_four_unless_told():
    assert make_policy("window+i", 5).n_sink == 4
    with pytest.raises(BadInput):
        make_policy("window+i", 4)
    assert make_policy("window+i", 1, n_sink=0).n_sink == 0


@pytest.mark.parametrize(
    ("key", "settings"),
    [
        ("window+i", {"n_sink": -1}),
        ("window+i", {"n_sink": 1.5}),
        ("window+i", {"n_sink": "4"}),
        ("window+i", {"n_sink": None}),
        ("random", {"seed": -1}),
        ("random", {"seed": 0.5}),
        ("random", {"seed": None}),
        ("window", {"n_sink": 4}),
        ("tova", {"seed": 1}),
        ("full", {"n_sink": 4}),
        ("h2o", {"label": "mine"}),
    ],
)
def test_settings_that_cannot_be_used(key, settings):
    with pytest.raises(BadInput, match=next(iter(settings))):
        make_policy(key, *([] if key == "full" else [9]), **settings)


@pytest.mark.parametrize("key", POLICIES)
def test_every_error_is_one_for_the_user_and_settings_are_frozen(key):
    assert issubclass(BadInput, UserError)
    policy = make_policy(key) if key == "full" else make_policy(key, 9)
    with pytest.raises(FrozenInstanceError):
        policy.budget = 3
    recorded = settings_of(policy)
    assert (recorded.key, recorded.label, recorded.scope) == (key, policy.label, policy.scope)
    assert make_policy(recorded.key, recorded.budget, **recorded.settings) == policy
    for setting in fields(policy):
        if setting.metadata:  # what the page makes a slider of
            assert setting.metadata["label"]
            assert setting.metadata["minimum"] <= getattr(policy, setting.name)


def test_slots_in_any_order_get_the_importance_of_the_row_they_hold():
    rng = np.random.default_rng(0)
    positions, attention = np.arange(9)[None], rng.random((1, 3, 9), np.float32)
    memory = rng.random((1, 9))
    order = rng.permutation(9)
    for key in ("tova", "tova-head", "h2o", "window", "window+i", "random", "observed", "decay", "raas", "knorm"):
        policy = make_policy(key, 8)
        straight = importance(policy, step(positions, attention=attention), memory)
        shuffled = importance(policy, step(positions[:, order], attention=attention[..., order]), memory[:, order])
        np.testing.assert_allclose(shuffled, straight[:, order])


def test_window_and_window_plus_i():
    at = step([[7, 2, 0, 5]])
    assert np.argsort(importance(make_policy("window", 3), at)[0]).tolist() == [2, 1, 3, 0]
    worth = importance(make_policy("window+i", 3, n_sink=2), at)[0]
    assert worth[2] == np.inf
    assert np.argsort(worth).tolist() == [1, 3, 0, 2]


@pytest.mark.parametrize(
    ("budget", "n_recent"), [(1, 0), (2, 1), (3, 1), (4, 2), (5, 2)], ids=lambda number: str(number)
)
def test_h2o_spares_half_the_budget_by_position(budget, n_recent):
    positions = [*range(budget), 90]  # old rows, and the newest
    worth = importance(make_policy("h2o", budget), step([positions]), np.arange(budget + 1.0)[None])[0]
    assert np.isinf(worth).sum() == min(n_recent, 1)
    positions = [*range(100 - budget, 101)]  # all of them recent
    worth = importance(make_policy("h2o", budget), step([positions]), np.arange(budget + 1.0)[None])[0]
    assert np.isinf(worth).tolist() == [position > 100 - n_recent for position in positions]


def test_h2o_sums_attention_over_the_query_heads_of_the_group():
    memory = np.array([[1.0, 0.0], [0.0, 2.0]])
    attention = np.array([[[0.25, 0.75], [0.5, 0.5]], [[1, 0], [0.75, 0.25]]], np.float32)
    make_policy("h2o", 1).observe(step([[0, 1], [0, 1]], attention=attention), memory)
    np.testing.assert_allclose(memory, [[1.75, 1.25], [1.75, 2.25]])


@pytest.mark.parametrize("key", ["tova", "tova-head"])
def test_tova_means_over_the_query_heads_of_the_group_and_remembers_nothing(key):
    attention = np.array([[[0.25, 0.75], [0.5, 0.5]], [[1, 0], [0.75, 0.25]]], np.float32)
    at, memory = step([[0, 1], [0, 1]], attention=attention), np.zeros((2, 2))
    policy = make_policy(key, 1)
    policy.observe(at, memory)
    assert not memory.any()
    np.testing.assert_allclose(policy.importance(at, memory), [[0.375, 0.625], [0.875, 0.125]])


def test_random_is_uniform_over_the_rows_and_changes_with_seed_layer_and_step():
    positions = np.arange(10)[None]

    def victims(seed=0, layer=0, steps=range(10, 2010)):
        policy = make_policy("random", 9, seed=seed)
        return np.array([importance(policy, step(positions, position=t, layer=layer)).argmin() for t in steps])

    chosen = victims()
    counts = np.bincount(chosen, minlength=10)
    assert ((counts - 200) ** 2 / 200).sum() < 27.9  # chi-square with 9 degrees of freedom, one in a thousand
    np.testing.assert_array_equal(chosen, victims())
    for other in (victims(seed=1), victims(layer=1), victims(steps=range(11, 2011))):
        assert 100 < (chosen == other).sum() < 300  # a tenth, as if drawn anew
