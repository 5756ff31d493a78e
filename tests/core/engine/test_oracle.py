"""The oracle itself: equal to the models' own attention when it keeps everything, and right on examples by hand."""

import math

import numpy as np
import pytest
import torch

from tests.conftest import TINY, TODAY, N, text
from tests.oracle import NEVER, Oracle
from tests.oracle_policies import (
    Row,
    Sight,
    average_pool,
    caote,
    expected,
    greatest_pool,
    margin,
    mean_and_half_variance,
    ranks,
    redundancy,
    rkv,
    turned,
    turned_on_average,
)


@pytest.mark.parametrize("name", [*TINY, *TODAY])
def test_an_oracle_that_evicts_nothing_is_the_model_itself(tiny, name):
    ids = text(name)
    oracle = Oracle("full").read(tiny(name).reference("oracle"), ids)
    with torch.inference_mode():
        logits = tiny(name).reference("eager")(torch.tensor([ids]), use_cache=False).logits[0]
    # transformers' eager attention takes its softmax in float32
    np.testing.assert_allclose(torch.stack(oracle.logits), logits, atol=1e-5)
    own = torch.nn.functional.cross_entropy(logits[:-1], torch.tensor(ids[1:]), reduction="none")
    np.testing.assert_allclose(oracle.nll(ids)[1:], own, atol=1e-5)
    assert np.all(np.array(oracle.lives("evicted_at")) == NEVER)
    assert np.shape(oracle.lives("evicted_at"))[2] == N


def watch(
    oracle: Oracle, *steps: list[list[float]], kv_heads: int = 1, keys: list[list[float]] | None = None
) -> list[list[int]]:
    """One layer; each step gives, per query head, the attention (up to a factor) to every row so far, evicted or not.

    The keys are unit vectors, so that the logarithms of those weights can be the query, unless others are given.
    Returns (groups, n) evicted_at.
    """
    for oracle.step, weights in enumerate(steps):
        query = [[math.log(w) for w in head] + [0.0] * (len(steps) - len(head)) for head in weights]
        row = [float(position == oracle.step) for position in range(len(steps))]
        key = keys[oracle.step] if keys else row
        oracle.attend(0, query, [key] * kv_heads, [row] * kv_heads, scaling=1.0, window=math.inf)
    return oracle.lives("evicted_at")[0]


def test_full_evicts_nothing():
    assert watch(Oracle("full"), [[1]], [[5, 1]], [[5, 1, 2]]) == [[NEVER, NEVER, NEVER]]


def test_window_evicts_the_oldest():
    assert watch(Oracle("window", budget=2), [[1]], [[5, 1]], [[5, 1, 2]]) == [[2, NEVER, NEVER]]


def test_window_plus_i_evicts_the_oldest_that_is_no_sink():
    assert watch(Oracle("window+i", budget=2, n_sink=1), [[1]], [[1, 5]], [[1, 5, 2]]) == [[NEVER, 2, NEVER]]


def test_h2o_spares_the_recent_half_and_evicts_the_least_accumulated_attention():
    # row 0 gathers 1 + 1/10 + 1/25, row 1 gathers 9/10 + 22/25; row 2 has least, but is recent
    assert watch(Oracle("h2o", budget=2), [[1]], [[1, 9]], [[1, 22, 0.5]]) == [[2, NEVER, NEVER]]
    # the same newest row, but now row 1 has least
    assert watch(Oracle("h2o", budget=2), [[1]], [[9, 1]], [[1, 5, 0.5]]) == [[NEVER, 2, NEVER]]


def test_h2o_with_a_budget_of_one_spares_nobody():
    assert watch(Oracle("h2o", budget=1), [[1]], [[9, 1]]) == [[NEVER, 1]]


def test_tova_evicts_what_the_current_query_attends_to_least():
    assert watch(Oracle("tova", budget=2), [[1]], [[5, 1]], [[5, 1, 2]]) == [[NEVER, 2, NEVER]]
    assert watch(Oracle("tova", budget=2), [[1]], [[5, 1]], [[1, 5, 2]]) == [[2, NEVER, NEVER]]
    assert watch(Oracle("tova", budget=2), [[1]], [[5, 1]], [[5, 2, 1]]) == [[NEVER, NEVER, 2]]


def test_ties_go_to_the_oldest():
    assert watch(Oracle("tova", budget=2), [[1]], [[5, 1]], [[2, 2, 2]]) == [[2, NEVER, NEVER]]


def test_a_sink_takes_its_part_and_a_cap_bends_the_logits():
    oracle = Oracle("full")
    for oracle.step in range(2):
        key = [float(oracle.step == 0), float(oracle.step == 1)]
        query = [[math.log(2), math.log(5)]]
        output = oracle.attend(0, query, [key], [[*key, 1.0]], scaling=1.0, window=math.inf, sinks=[math.log(3)])
    assert output == [pytest.approx([2 / 10, 5 / 10, 7 / 10])]  # a value has a number more than a key
    assert oracle.lives("received")[0][0] == pytest.approx([2 / 5 + 2 / 10, 5 / 10])
    output = Oracle("full").attend(0, [[8.0]], [[1.0]], [[1.0]], 1.0, math.inf, cap=2.0, sinks=[0.0])
    assert output[0][0] == pytest.approx(1 / (1 + math.exp(-2 * math.tanh(4))))


def test_an_evicted_row_is_not_attended_to_again():
    oracle = Oracle("tova", budget=1)
    assert watch(oracle, [[1]], [[1, 3]], [[96, 1, 3]]) == [[1, 2, NEVER]]
    assert oracle.lives("received")[0][0] == pytest.approx([1 + 1 / 4, 3 / 4 + 1 / 4, 3 / 4])


def test_tova_averages_over_the_layer_and_tova_head_over_each_group():
    steps = [[[1], [1]], [[1, 1], [1, 1]], [[1, 5, 4], [6, 1, 3]]]
    assert watch(Oracle("tova", budget=2), *steps, kv_heads=2) == [[NEVER, 2, NEVER]]
    assert watch(Oracle("tova-head", budget=2), *steps, kv_heads=2) == [[2, NEVER, NEVER], [NEVER, 2, NEVER]]
    assert watch(Oracle("tova-head", budget=2), *steps, kv_heads=1) == [[NEVER, 2, NEVER]]


def test_random_evicts_by_the_draw():
    draws = {0: 0.3, 1: 0.1, 2: 0.2}
    oracle = Oracle("random", budget=2, draw=lambda layer, step, position: draws[position])
    assert watch(oracle, [[1]], [[5, 1]], [[5, 1, 2]]) == [[NEVER, 2, NEVER]]


def test_one_shot_reads_the_prompt_whole_and_then_evicts_down_to_the_budget():
    oracle = Oracle("tova", budget=1, one_shot=3)
    assert watch(oracle, [[1]], [[1, 3]], [[1, 4, 3]], [[1, 9, 1, 3]]) == [[2, NEVER, 2, 3]]
    assert oracle.lives("importance")[0][0] == pytest.approx([1 / 8, math.nan, 3 / 8, 1 / 4], nan_ok=True)
    assert oracle.lives("runner_up")[0][0] == pytest.approx([4 / 8, math.nan, 4 / 8, 3 / 4], nan_ok=True)


# ---- the policies beyond the paper's


def when_evicted(oracle: Oracle, position: int) -> tuple[float, float]:
    """Importance of the first group's row when it went, and of the runner-up."""
    row = oracle.rows[0][0][position]
    return row.importance, row.runner_up


def sight(
    *, n: int = 0, keys: list[list[float]] = (), values: list[list[float]] = (), attention: list[float] = (), **more
) -> Sight:
    """What one KV head with one query head has before it, all rows of the text so far held."""
    n = n or max(len(keys), len(values), len(attention))
    output = [sum(a * v for a, v in zip(attention, column, strict=False)) for column in zip(*values, strict=True)]
    whole = {"settings": {}} | more
    return Sight(
        n - 1, rows=[Row(i, {}, {}) for i in range(n)], attention=[attention], keys=[keys], values=[values],
        output=[output], kv_head=[0], **whole
    )  # fmt: skip


EVEN = [[[1] * (step + 1)] for step in range(9)]  # steps whose queries attend to all rows alike


def test_knorm_evicts_the_longest_key():
    oracle = Oracle("knorm", budget=2)
    assert watch(oracle, *EVEN[:3], keys=[[2, 0, 0], [0, 2, -3], [0, 0, 1]]) == [[NEVER, 2, NEVER]]
    assert when_evicted(oracle, 1) == pytest.approx((-math.sqrt(13), -2))


def test_keydiff_evicts_the_key_most_like_the_mean_of_all_scaled_to_one_length():
    oracle = Oracle("keydiff", budget=2)
    # the mean is (2, 1) / 3; a long second key would turn it, were it not scaled
    assert watch(oracle, *EVEN[:3], keys=[[1, 0, 0], [0, 9, 0], [1, 0, 0]]) == [[2, NEVER, NEVER]]
    assert when_evicted(oracle, 0) == pytest.approx((-2 / math.sqrt(5), -2 / math.sqrt(5)))


def test_observed_divides_by_the_queries_that_could_see_the_row():
    oracle = Oracle("observed", budget=2)
    # row 0 got 1 + 9/10 + 1/10 of three queries, row 1 1/10 + 2/10 of two, row 2 7/10 of its own
    assert watch(oracle, [[1]], [[9, 1]], [[1, 2, 7]]) == [[NEVER, 2, NEVER]]
    assert when_evicted(oracle, 1) == pytest.approx((0.15, 2 / 3))


def test_snapkv_pools_with_zeros_beyond_the_ends_and_the_votes_count_as_they_were_cast():
    oracle = Oracle("snapkv", budget=4, settings={"window": 2, "kernel": 3})
    steps = [*EVEN[:3], [[6, 1, 1, 2]], [[1, 1, 3, 3, 2]], [[2, 1, 9, 3, 2, 2]]]
    assert watch(oracle, *steps) == [[5, NEVER, 4, NEVER, NEVER, NEVER]]
    # votes of steps 3 and 4 for rows 0 to 2: means 0.35, 0.1, 0.2
    assert when_evicted(oracle, 2) == pytest.approx(((0.1 + 0.2) / 3, (0.35 + 0.1) / 3))
    # of steps 4 and 5 for rows 0, 1, 3: 0.15, 0.1, 0.3, though row 2 had a share of step 4
    assert when_evicted(oracle, 0) == pytest.approx((0.25 / 3, 0.4 / 3))


def test_snapkv_means_over_the_groups_heads():
    oracle = Oracle("snapkv", budget=2, settings={"window": 1, "kernel": 1})
    assert watch(oracle, [[1], [1]], [[1, 1], [1, 1]], [[1, 5, 4], [6, 1, 3]]) == [[NEVER, 2, NEVER]]
    assert when_evicted(oracle, 1) == pytest.approx((0.3, 0.35))


def test_pools():
    assert average_pool([3, 0, 6], 3) == [1, 3, 2]
    assert average_pool([3, 6], 5) == [9 / 5, 9 / 5]
    assert average_pool([3, 6], 1) == [3, 6]
    assert greatest_pool([-3, -5, -4, -9], 3) == [-3, -3, -4, -4]  # beyond the ends there is nothing, not 0


def test_decay_fades_what_was_once_attended_to():
    oracle = Oracle("decay", budget=2, settings={"alpha": 50})
    # relative to the step's greatest: row 0 gets 1, 1/4, 1/10, row 1 gets 1, 1/10
    assert watch(oracle, [[1]], [[1, 4]], [[1, 1, 10]]) == [[2, NEVER, NEVER]]
    assert when_evicted(oracle, 0) == pytest.approx((0.25, 0.5))


def test_raas_evicts_who_was_longest_ago_among_the_share():
    oracle = Oracle("raas", budget=2)
    # of three rows two are half, rounded up: the newest never was
    assert watch(oracle, [[1]], [[1, 3]], [[6, 3, 1]]) == [[NEVER, NEVER, 2]]
    assert when_evicted(oracle, 2) == pytest.approx((0 + 0.1, 2 + 0.3))
    oracle = Oracle("raas", budget=2)
    # row 0 is again, row 1 was at step 1 and is not now
    assert watch(oracle, [[1]], [[1, 3]], [[2, 1, 7]]) == [[NEVER, 2, NEVER]]
    assert when_evicted(oracle, 1) == pytest.approx((1 + 0.1, 2 + 0.2))


def test_raas_counts_everyone_who_ties_with_the_last_of_the_share():
    oracle = Oracle("raas", budget=2, settings={"share": 1})
    assert watch(oracle, *EVEN[:3]) == [[2, NEVER, NEVER]]
    assert when_evicted(oracle, 0) == pytest.approx((2 + 1 / 3, 2 + 1 / 3))


def test_rkvs_redundancy_spares_the_newest_of_the_alike_and_the_oldest_where_none_is():
    # cosines, rows from above:  0 .8 .6 -1 | .8 0 .96 -.8 | .6 .96 0 -.6 | -1 -.8 -.6 0
    # without the newest alike:  0 .8 0 -1  | .8 0 0 -.8   | .6 0 0 -.6
    # and the last, which is like nobody, without the oldest:                0 -.8 -.6 0
    at = sight(keys=[[1, 0], [8, 6], [0.3, 0.4], [-1, 0]])
    exps = [math.exp(mean) for mean in (1.4 / 4, 0 / 4, -0.6 / 4, -2.4 / 4)]
    assert redundancy(at) == pytest.approx([e / sum(exps) for e in exps])
    assert min(at.margins) == pytest.approx(0.1)


RKV = {"mix": 50, "window": 1, "kernel": 1}


def test_rkv_votes_over_the_rows_older_than_the_window_alone():
    oracle = Oracle("rkv", budget=2, settings=RKV)
    assert watch(oracle, *EVEN[:2], [[1, 3, 5]]) == [[2, NEVER, NEVER]]
    # keys that are nothing alike are equally redundant, a third each
    assert when_evicted(oracle, 0) == pytest.approx((1 / 4 / 2 - 1 / 3 / 2, 3 / 4 / 2 - 1 / 3 / 2))


def test_rkv_takes_the_greatest_logit_of_the_heads_and_the_greatest_vote_of_the_neighbours():
    steps = [[[1], [1]], [[1, 1], [1, 1]], [[1, 3, 5], [4, 1, 1]]]
    oracle = Oracle("rkv", budget=2, settings=RKV)
    assert watch(oracle, *steps) == [[NEVER, 2, NEVER]]
    assert when_evicted(oracle, 1) == pytest.approx((3 / 7 / 2 - 1 / 3 / 2, 4 / 7 / 2 - 1 / 3 / 2))
    oracle = Oracle("rkv", budget=2, settings=RKV | {"kernel": 3})
    assert watch(oracle, *steps) == [[2, NEVER, NEVER]]
    assert when_evicted(oracle, 0) == pytest.approx((4 / 7 / 2 - 1 / 3 / 2, 4 / 7 / 2 - 1 / 3 / 2))


def test_rkv_means_the_votes_of_the_window_over_the_rows_that_are_old_now():
    oracle = Oracle("rkv", budget=3, settings=RKV | {"window": 2})
    # row 2 is in the window now: the vote of step 2 is 1 : 3, that of step 3 is 2 : 3
    assert watch(oracle, *EVEN[:2], [[1, 3, 9]], [[2, 3, 7, 7]]) == [[3, NEVER, NEVER, NEVER]]
    votes = (1 / 4 + 2 / 5) / 2, (3 / 4 + 3 / 5) / 2
    assert when_evicted(oracle, 0) == pytest.approx([vote / 2 - 1 / 4 / 2 for vote in votes])


def test_rkv_gets_no_vote_from_a_query_with_a_sliding_window_that_cannot_see_the_row():
    old = [Row(i, {}, {}, logits=logits) for i, logits in enumerate([[0, -math.inf], [math.log(3), -math.inf]])]
    at = sight(keys=[[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], settings=RKV | {"window": 2})
    at.rows[:2] = old
    assert rkv(at)[:2] == pytest.approx([1 / 4 / 2 / 2 - 1 / 4 / 2, 3 / 4 / 2 / 2 - 1 / 4 / 2])


@pytest.mark.parametrize("key", ["snapkv", "rkv"])
def test_where_the_window_spares_every_row_the_oldest_goes(key):
    assert watch(Oracle(key, budget=2, settings={"window": 3, "kernel": 3}), *EVEN[:5]) == [[2, 3, 4, NEVER, NEVER]]


def test_rkv_evicts_the_redundant():
    # row 0 is like nobody; of the others, all alike, each spares the newest: row 1 counts 2, row 2 counts 1
    oracle = Oracle("rkv", budget=3, settings=RKV | {"mix": 0})
    keys = [[0, 1, 0, 0], [1, 0, 0, 0], [2, 0, 0, 0], [3, 0, 0, 0]]
    assert watch(oracle, *EVEN[:4], keys=keys) == [[NEVER, 3, NEVER, NEVER]]
    exps = [math.exp(mean) for mean in (0, 2 / 4, 1 / 4, 0)]
    assert when_evicted(oracle, 1) == pytest.approx((-exps[1] / sum(exps), -exps[2] / sum(exps)))


@pytest.mark.parametrize("to_sink", [0, 0.4])
def test_caote_is_how_far_the_output_moves_without_the_row(to_sink):
    values = [[1.0, 0], [0, 1], [3, 2]]
    attention = [a * (1 - to_sink) for a in (0.2, 0.3, 0.5)]
    at = sight(attention=attention, values=values)
    for gone, importance in enumerate(caote(at)):
        rest = sum(attention) - attention[gone] + to_sink
        others = [(a / rest, v) for j, (a, v) in enumerate(zip(attention, values, strict=True)) if j != gone]
        without = [sum(a * v[i] for a, v in others) for i in range(2)]
        assert importance == pytest.approx(math.dist(at.output[0], without))


def test_caote_never_evicts_the_only_row_that_is_attended_to():
    assert caote(sight(attention=[1.0, 0.0], values=[[1, 0], [0, 1]])) == [math.inf, 0]


def test_expected_takes_mean_and_variance_of_the_logits_over_the_queries():
    # logits 2 and 6, over the root of 2
    assert mean_and_half_variance([2, 0], [[1, 5], [3, -7]]) == pytest.approx(4 / math.sqrt(2) + 1)
    assert mean_and_half_variance([2, 0], []) == 0


def test_expected_leaves_the_sinks_out_and_counts_the_length_of_the_value():
    at = sight(
        keys=[[9], [math.log(3)], [0]], values=[[1], [2], [-5]], settings={"n_sink": 1}, foreseen=[[[7], [1], [1]]]
    )
    assert expected(at) == pytest.approx([math.inf, 3 / 4 * 2, 1 / 4 * 5])
    at = sight(keys=[[9], [3]], values=[[1], [2]], settings={"n_sink": 1}, foreseen=[[[7]]])
    assert expected(at) == [math.inf, 2]


def test_expected_turns_every_query_to_the_positions_to_come():
    oracle = Oracle("expected", settings={"n_sink": 0, "future": 2})
    oracle.rope = {"theta": 100.0, "part": 1.0}
    query = [1.0, 2, 3, 4]
    for oracle.step in range(3):
        oracle.note_queries(0, [turned(query, oracle.step, **oracle.rope)])
    mean = [(a + b) / 2 for a, b in zip(*(turned(query, at, **oracle.rope) for at in (3, 4)), strict=True)]
    for foreseen in oracle.foreseen(0, 0):
        assert foreseen == pytest.approx(mean)
    assert turned_on_average([1.0, 0], (0, math.pi), theta=5, part=1) == pytest.approx([0, 0])
    assert turned_on_average([1.0, 0, 0, 0, 7], (0, math.pi), theta=5, part=0.4) == pytest.approx([0, 0, 0, 0, 7])


def test_keys_that_are_told_late_where_they_stand_are_compared_as_they_are_held():
    key = [1.0, 2, 3, 4]
    for positions, held in [("original", turned(key, 3, 100, 1)), ("in-cache", key), ("log-gap", key)]:
        oracle = Oracle("keydiff", positions=positions)
        oracle.rope = {"theta": 100.0, "part": 1.0}
        assert oracle.held(turned(key, 3, 100, 1), 3) == pytest.approx(held)


# ---- build your own


def test_ranks_are_from_0_to_1_and_ties_share_their_mean():
    assert ranks([5, 1, 5, 0]) == pytest.approx([5 / 6, 1 / 3, 5 / 6, 0])


@pytest.mark.parametrize(
    ("key", "preset"),
    [
        ("tova", {"gamma": 0, "w_attention": 3}),
        ("tova-head", {"gamma": 0, "w_attention": 3, "per_head": 1}),
        ("h2o", {"gamma": 100, "w_attention": 1, "n_recent": 2, "per_head": 1}),
        ("window", {"w_recent": 1}),
        ("window+i", {"w_recent": 1, "n_sink": 2}),
        ("knorm", {"w_keys": 1, "per_head": 1}),
    ],
)
def test_an_own_policy_can_be_each_of_the_others(key, preset):
    rng = np.random.default_rng(0)
    steps = [rng.random((4, step + 1)).tolist() for step in range(12)]
    keys = np.diag(rng.random(12) + 1).tolist()
    one = watch(Oracle(key, budget=5, n_sink=2), *steps, kv_heads=2, keys=keys)
    assert watch(Oracle("own", budget=5, settings=preset), *steps, kv_heads=2, keys=keys) == one


def test_an_own_policy_adds_weighted_ranks():
    oracle = Oracle("own", budget=2, settings={"gamma": 50, "w_attention": 1, "w_recent": 2, "w_keys": 3})
    watch(oracle, [[1]], [[1, 1]], [[1, 1, 1]], keys=[[0, 0, 1], [0, 3, 0], [2, 0, 0]])
    # memory 1 / 4 + 1 / 4 + 1 / 3, 1 / 4 + 1 / 3, 1 / 3; keys of length 1, 3, 2
    worth = [1 * 1 + 2 * 0 + 3 * 1, 1 * 0.5 + 2 * 0.5 + 3 * 0, 1 * 0 + 2 * 1 + 3 * 0.5]
    assert oracle.lives("evicted_at")[0] == [[NEVER, 2, NEVER]]
    assert when_evicted(oracle, 1) == (worth[1], worth[2])


# ---- how many rows stay


def pyramid(budget: int, n_layers: int, length: int, policy: str = "tova", **more) -> list[float]:
    return Oracle(policy, budget, budgets="pyramid", n_layers=n_layers, length=length, **more).layer_budgets()


def test_a_pyramid_goes_from_almost_twice_the_budget_to_a_twentieth():
    assert pyramid(20, 3, 100) == [39, 20, 1]
    assert pyramid(64, 30, 1000)[::29] == [125, 3]  # 124.8 and 3.2
    assert pyramid(10, 4, 100, beta=4) == [18, 12, 8, 2]  # 17.5, 12.5, 7.5, 2.5: Python rounds halves to even
    assert pyramid(20, 1, 100) == [20]


def test_no_layer_of_a_pyramid_has_more_rows_than_the_text():
    assert pyramid(20, 3, 30) == [30, 20, 10]
    assert pyramid(20, 3, 20) == [20, 20, 20]
    assert pyramid(20, 3, 15) == [20, 20, 20]


def test_a_pyramid_whose_smallest_layer_a_policy_cannot_work_with_is_none():
    assert pyramid(9, 3, 100) == [17, 9, 1]  # not 0.45
    assert pyramid(11, 3, 100)[2] == 1
    for policy, settings in [("expected", {"n_sink": 10}), ("own", {"n_sink": 4, "n_recent": 6})]:
        assert pyramid(20, 3, 30, policy, settings=settings) == [20, 20, 20]
        assert pyramid(20, 3, 29, policy, settings=settings) == [29, 20, 11]
    for policy in ("snapkv", "rkv"):  # a window may fill a layer
        assert pyramid(20, 3, 30, policy, settings={"window": 11}) == [20, 20, 20]
        assert pyramid(20, 3, 30, policy, settings={"window": 10}) == [30, 20, 10]
    assert pyramid(20, 3, 30, "window+i", n_sink=10) == [20, 20, 20]
    assert pyramid(20, 3, 30, "window+i", n_sink=9) == [30, 20, 10]


def test_h2o_spares_half_of_what_its_layer_has():
    oracle = Oracle("h2o", 4, budgets="pyramid", beta=4, length=100, n_layers=2)
    assert oracle.layer_budgets() == [7, 1]
    oracle.step = 9
    spared = [[oracle.importance(layer, Row(i, {}, {}), 0) == math.inf for i in range(10)] for layer in (0, 1)]
    assert [sum(of_layer) for of_layer in spared] == [3, 0]


def test_the_rows_with_the_lowest_importance_of_the_layer_go_when_its_heads_compete():
    steps = [[[1], [1]], [[1, 1], [1, 1]], [[1, 1, 8], [3, 4, 3]], [[1, 1, 4, 6], [2, 2, 5, 1]]]
    oracle = Oracle("tova-head", budget=2, budgets="adaptive")
    assert watch(oracle, *steps, kv_heads=2) == [[2, 2, NEVER, NEVER], [3, NEVER, NEVER, 3]]
    assert [row.importance for row in oracle.rows[0][1]] == pytest.approx([0.2, math.nan, math.nan, 0.1], nan_ok=True)
    assert [row.runner_up for row in oracle.rows[0][1]] == pytest.approx([0.2, math.nan, math.nan, 0.2], nan_ok=True)


def evict(importances: list[list[float]], budget: int, floor: int) -> list[list[bool]]:
    """Of each head's rows, which go."""
    oracle = Oracle("tova-head")
    deciders = [sight(n=len(of_head)) for of_head in importances]
    oracle.evict(deciders, importances, budget, floor)
    return [[row.evicted_at != NEVER for row in decider.rows] for decider in deciders]


def test_no_head_falls_below_its_floor():
    assert evict([[1, 2, 3], [4, 5, 6]], 2, 1) == [[True, True, False], [False, False, False]]
    assert evict([[1, 2, 3], [4, 5, 6]], 2, 2) == [[True, False, False], [True, False, False]]


@pytest.mark.parametrize(("budget", "floor"), [(1, 1), (5, 1), (9, 1), (10, 2), (35, 7)])
def test_the_floor_is_a_fifth_of_the_budget_and_at_least_one(budget, floor):
    oracle = Oracle("knorm", budget, budgets="adaptive")
    # the first head's keys are all longer than any of the second's
    for oracle.step in range(4 * budget):
        keys = [[10.0 + oracle.step], [1.0 + oracle.step / 1000]]
        oracle.attend(0, [[1.0], [1.0]], keys, keys, scaling=1.0, window=math.inf)
    held = [sum(life == NEVER for life in group) for group in oracle.lives("evicted_at")[0]]
    assert held == [floor, 2 * budget - floor]


def test_ties_between_heads_go_to_the_oldest_and_then_to_the_first_head():
    assert evict([[1, 5], [1]], 1, 0) == [[True, False], [False]]
    assert evict([[5, 1], [1]], 1, 0) == [[False, False], [True]]


def test_rows_go_when_there_are_so_many_too_many():
    assert watch(Oracle("window", budget=2, every=3), *EVEN[:8]) == [[4, 4, 4, 7, 7, 7, NEVER, NEVER]]
    assert watch(Oracle("tova", budget=2, every=2), [[1]], [[2, 1]], [[1, 2, 3]], [[4, 3, 2, 1]]) == [
        [NEVER, NEVER, 3, 3]
    ]


def test_after_a_prompt_read_at_once_everything_goes_that_is_too_much_and_then_as_told():
    assert watch(Oracle("window", budget=2, every=3, one_shot=4), *EVEN[:7]) == [[3, 3, 6, 6, 6, NEVER, NEVER]]
    steps = [[[1] * (step + 1)] * 2 for step in range(4)]
    oracle = Oracle("tova-head", budget=2, every=3, one_shot=3, budgets="adaptive")
    assert watch(oracle, *steps, kv_heads=2) == [[2, NEVER, NEVER, NEVER]] * 2


# ---- how narrow a choice was


def test_the_margin_is_in_units_in_which_rounding_is_alike_everywhere():
    assert margin("tova", [1e-9], [2e-9, 0.5, math.inf]) == pytest.approx(0.5)
    assert margin("knorm", [-4], [-3, -1]) == pytest.approx(0.25)
    assert margin("keydiff", [-0.9], [-0.8, 0.1]) == pytest.approx(0.1)
    assert margin("raas", [7.25], [7.5, 9]) == pytest.approx(0.25)
    assert margin("tova", [0], [1e-50]) == 0  # in float32 both are zero
    assert margin("own", [1], [1, 2]) == math.inf


def test_the_same_number_is_no_narrow_choice():
    assert margin("tova", [0, 0], [0, 0, 1]) == 1
    assert margin("rkv", [0.25], [0.25, math.inf]) == math.inf


def test_a_narrow_rank_or_share_is_told():
    close = 1 + 1e-9
    oracle = Oracle("own", budget=9, settings={"w_attention": 1})
    watch(oracle, [[1]], [[1, close]])
    assert oracle.closest == math.inf  # nobody had to go
    oracle = Oracle("own", budget=2, settings={"w_attention": 1})
    watch(oracle, [[1]], [[1, 2]], [[3, 1, close]])
    assert oracle.closest == pytest.approx(1e-9, rel=0.01)
    oracle = Oracle("raas", budget=9)
    watch(oracle, [[1]], [[1, close]])
    assert oracle.closest == pytest.approx(1e-9, rel=0.01)
