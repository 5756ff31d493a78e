"""The oracle itself: equal to the models' own attention when it keeps everything, and right on examples by hand."""

import math

import numpy as np
import pytest
import torch

from tests.conftest import TINY, N, text
from tests.oracle import NEVER, Oracle


@pytest.mark.parametrize("name", TINY)
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


def watch(oracle: Oracle, *steps: list[list[float]], kv_heads: int = 1) -> list[list[int]]:
    """One layer; each step gives, per query head, the attention (up to a factor) to every row so far, evicted or not.

    The keys are unit vectors, so that the logarithms of those weights can be the query. Returns (groups, n) evicted_at.
    """
    for oracle.step, weights in enumerate(steps):
        query = [[math.log(w) for w in head] + [0.0] * (len(steps) - len(head)) for head in weights]
        row = [float(position == oracle.step) for position in range(len(steps))]
        oracle.attend(0, query, [row] * kv_heads, [row] * kv_heads, scaling=1.0, window=math.inf)
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
