"""What survives, in numbers: small traces by hand, and random ones against the obvious loops."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import BadInput
from core.measures import survival, tables
from core.measures.overlap import head_overlap, layer_overlap, trace_overlap
from core.trace import NEVER, Trace, recorded
from tests.traces import random_trace, tokens_of, trace_of

PIECES = ("The", " harbour", " light", ",", " the")
# two layers, five tokens, budget 2: after step t each layer holds two rows
BY_HAND = trace_of([[[NEVER, 2, 3, 4, NEVER]], [[2, 3, NEVER, 4, NEVER]]], PIECES)
RANDOM = [random_trace(1), random_trace(2, groups=2), random_trace(3, layers=1, n=25, budget=3)]


def window_of(n: int, budget: int) -> Trace:
    return trace_of([[[p + budget if p + budget < n else NEVER for p in range(n)]]], ("x",) * n, "window", budget)


def full_of(n: int) -> Trace:
    trace = trace_of([[[NEVER] * n]], ("x",) * n)
    return replace(trace, policy=replace(trace.policy, key="full", label="Full", budget=None))


def test_recency_by_hand() -> None:
    # kept after step 2: 0 and 2 in layer 0, 1 and 2 in layer 1; after 3: 0, 3 and 2, 3; after 4: 0, 4 and 2, 4
    assert survival.recent_share(BY_HAND).tolist() == [[1, 1, 0.5, 0.5, 0.5], [1, 1, 1, 1, 0.5]]
    assert survival.mean_recent_share(BY_HAND).tolist() == pytest.approx([0.5, 5 / 6])


@pytest.mark.parametrize("trace", RANDOM)
def test_recency_is_the_complement_of_what_is_not_recent(trace: Trace) -> None:
    share = survival.recent_share(trace)
    for step in range(len(trace)):
        assert share[:, step].mean() == pytest.approx(1 - survival.not_recent_share(trace, step))


def test_recency_of_window_and_of_the_full_model_is_whole() -> None:
    assert (survival.recent_share(window_of(12, 4)) == 1).all()
    assert (survival.recent_share(full_of(5)) == 1).all()


def recorded_run(seed: int, n: int = 30) -> Trace:
    """Evictions at random steps, none or many at a time, as other people's caches may do."""
    rng = np.random.default_rng(seed)
    evicted_at = np.where(rng.random((2, 3, n)) < 0.3, NEVER, rng.integers(np.arange(n), n, (2, 3, n)))
    return trace_of(evicted_at, ("x",) * n, policy=recorded("a cache"))


@pytest.mark.parametrize("seed", range(3))
def test_the_recent_positions_of_a_recorded_run_are_as_many_as_its_rows(seed: int) -> None:
    trace = recorded_run(seed)
    share = survival.recent_share(trace)
    for step in range(len(trace)):
        recent = rows = 0
        for life in trace.evicted_at.reshape(6, -1).tolist():
            kept = [p for p in range(step + 1) if life[p] > step]
            recent += sum(step - len(kept) < p for p in kept)
            rows += len(kept)
        assert 1 - survival.not_recent_share(trace, step) == pytest.approx(recent / rows if rows else 1)
    assert [survival.not_recent_share(trace, len(trace) - 1)] == pytest.approx(
        [np.average(1 - share[:, -1], weights=trace.kept(len(trace) - 1).sum(axis=(1, 2)))]
    )


@pytest.mark.parametrize("seed", range(3))
def test_the_recency_of_each_layer_of_a_recorded_run(seed: int) -> None:
    trace = recorded_run(seed)
    for layer in range(2):
        alone = replace(trace, evicted_at=trace.evicted_at[[layer]])
        expected = [1 - survival.not_recent_share(alone, step) for step in range(len(trace))]
        assert survival.recent_share(trace)[layer].tolist() == pytest.approx(expected)


def test_a_recorded_run_is_measured_from_its_first_eviction_on() -> None:
    lives = [[[9, 5, NEVER, 7, *[NEVER] * 6]]]
    trace = trace_of(lives, ("x",) * 10, policy=recorded())
    assert survival.at_work_from(trace) == 5
    assert survival.at_work_from(replace(trace, evicted_at=np.full((1, 1, 10), NEVER, np.int32))) == 9
    full = full_of(10)
    assert survival.recent_share(trace)[0, [4, 5, 7, 9]].tolist() == pytest.approx([1, 4 / 5, 5 / 6, 6 / 7])
    assert trace_overlap([trace, full])[0, 1] == pytest.approx(np.mean([5 / 6, 6 / 7, 6 / 8, 7 / 9, 7 / 10]))


def test_a_policy_is_at_work_once_it_may_evict() -> None:
    trace = random_trace(4, n=20, budget=6)
    assert survival.at_work_from(trace) == 6
    assert survival.at_work_from(replace(trace, prefill="one-shot", prompt_length=11)) == 10
    assert survival.at_work_from(replace(trace, prefill="one-shot", prompt_length=3)) == 6
    assert survival.at_work_from(full_of(5)) == 4
    assert survival.at_work_from(window_of(5, 9)) == 4


def test_ages_by_hand() -> None:
    # layer 0 holds ages 2, 0 after step 2; 3, 0 after 3; 4, 0 after 4; layer 1: 1, 0; 1, 0; 2, 0
    sixths = survival.age_distribution(BY_HAND) * 6
    assert sixths.tolist() == [pytest.approx([3, 0, 1, 1, 1]), pytest.approx([3, 2, 1, 0, 0])]


@pytest.mark.parametrize("trace", RANDOM)
def test_ages_are_those_of_all_kept_rows(trace: Trace) -> None:
    counts = np.zeros((len(trace.evicted_at), len(trace)))
    for step in range(trace.policy.budget, len(trace)):
        for layer, _, position in np.argwhere(trace.kept(step)):
            counts[layer, step - position] += 1
    assert np.allclose(survival.age_distribution(trace), counts / counts.sum(axis=1, keepdims=True))


def test_windows_ages_are_uniform() -> None:
    assert survival.age_distribution(window_of(12, 4))[0].tolist() == [0.25] * 4 + [0] * 8


def test_early_tokens() -> None:
    assert survival.early_steps_kept(BY_HAND).tolist() == [[5, 1, 1, 1, 1], [2, 2, 3, 1, 1]]
    assert survival.early_steps_kept(random_trace(1, groups=2)).shape == (3, survival.N_EARLY)
    first = tables.early_rows([BY_HAND])[0]
    assert first == {
        **{"policy": "TOVA", "budget": 2, "position": 0, "token": "The", "mean steps kept": 3.5, "of steps": 5},
        **{"kept to the end by": 1, "of deciders": 2},
    }


def test_survival_by_hand() -> None:
    # layer 0: evicted at the ages 1, 1, 1; censored after the ages 4 and 0.
    # age 0: none of 5; age 1: 3 of 4, for the last token was seen at age 0 only; later: none of 1
    curves = survival.survival(BY_HAND)
    assert curves.by_layer[0].tolist() == [1, 0.25, 0.25, 0.25, 0.25]
    # layer 1: evicted at 2, 2, 1; censored after 2 and 0. 0 of 5, 1 of 4, 2 of 3, and nobody was seen any longer
    assert curves.by_layer[1, :3].tolist() == pytest.approx([1, 0.75, 0.25])
    assert np.isnan(curves.by_layer[1, 3:]).all()
    assert curves.at_risk.tolist() == [10, 8, 4, 1, 1]
    assert curves.overall.tolist() == pytest.approx([1, 0.5, 0.25, 0.25, 0.25])
    assert survival.median_age(curves.overall) == 1 and survival.median_age(np.ones(5)) is None


def test_a_token_may_be_forgotten_at_once() -> None:
    at_once = trace_of([[[NEVER, 1, 2]]], ("a", "b", "c"), budget=1)
    assert survival.survival(at_once).overall[0] == pytest.approx(1 / 3)


def test_what_is_censored_is_not_taken_for_evicted() -> None:
    assert (survival.survival(full_of(6)).overall == 1).all()
    window = survival.survival(window_of(12, 4)).overall
    assert window.tolist() == [1] * 4 + [0] * 8


@settings(deadline=None)
@given(st.integers(0, 999), st.integers(1, 3), st.integers(1, 6), st.integers(2, 25))
def test_survival_is_the_product_of_the_chances_at_every_age(seed: int, groups: int, budget: int, n: int) -> None:
    trace = random_trace(seed, layers=2, groups=groups, n=n, budget=budget)
    curves = survival.survival(trace)
    for kept, deciders in ((curves.overall, trace.evicted_at), (curves.by_layer[1], trace.evicted_at[1:])):
        chance = 1.0
        for age in range(n):
            seen = evicted = 0
            for life in deciders.reshape(-1, n):
                for position, at in enumerate(life.tolist()):
                    if position + age < n and at - position >= age:
                        seen += 1
                        evicted += at - position == age
            if seen:
                chance *= 1 - evicted / seen
            assert kept[age] == pytest.approx(chance) if seen or chance == 0 else np.isnan(kept[age])


def jaccard(one: Trace, a: tuple[int, int], other: Trace, b: tuple[int, int], start: int) -> float:
    ratios = []
    for step in range(start, len(one)):
        left, right = (set(np.flatnonzero(t.kept(step)[where])) for t, where in ((one, a), (other, b)))
        ratios.append(len(left & right) / len(left | right))
    return float(np.mean(ratios))


def test_overlap_by_hand() -> None:
    # {0, 2} and {1, 2}; {0, 3} and {2, 3}; {0, 4} and {2, 4}
    third = pytest.approx(1 / 3)
    assert layer_overlap(BY_HAND).tolist() == [[1, third], [third, 1]]
    [row] = tables.layer_overlap_rows(BY_HAND)
    assert row == {"policy": "TOVA", "budget": 2, "layer": 1, "other layer": 0, "overlap (Jaccard)": third}


def test_overlap_of_layers_heads_and_runs_on_random_traces() -> None:
    trace, start = random_trace(5, layers=2, groups=2, n=20, budget=4), 4
    heads = head_overlap(trace)
    assert heads[1, 0, 1] == pytest.approx(jaccard(trace, (1, 0), trace, (1, 1), start))
    pairs = [jaccard(trace, (0, a), trace, (1, b), start) for a in range(2) for b in range(2)]
    assert layer_overlap(trace)[0, 1] == pytest.approx(np.mean(pairs))

    same = tokens_of(trace.tokens.pieces)
    whole = replace(random_trace(6, layers=2, n=20, budget=7), tokens=same)
    overlap = trace_overlap([trace, whole])
    mixed = [jaccard(trace, (layer, g), whole, (layer, 0), 7) for layer in range(2) for g in range(2)]
    assert overlap[0, 1] == overlap[1, 0] == pytest.approx(np.mean(mixed))
    assert overlap[0, 0] == overlap[1, 1] == 1
    assert tables.overlap_rows([trace, whole])[0]["overlap (Jaccard)"] == overlap[0, 1]


def test_runs_that_cannot_be_compared_are_refused() -> None:
    with pytest.raises(BadInput, match="different tokens"):
        trace_overlap([BY_HAND, random_trace(1)])
    with pytest.raises(BadInput, match="numbers of layers"):
        trace_overlap([BY_HAND, trace_of([[[NEVER] * 5]], PIECES, budget=5)])
    with pytest.raises(BadInput, match="at least one"):
        trace_overlap([])


def test_rows_are_plain_and_agree_with_the_arrays() -> None:
    traces = [RANDOM[0], full_of(7)]
    recency = tables.recency_rows(traces)
    assert len(recency) == 3 + 1
    assert recency[1]["recent at the end"] == survival.recent_share(RANDOM[0])[1, -1]
    ages = tables.age_rows([BY_HAND])
    assert [row["age"] for row in ages] == [0, 1, 2, 3, 4] and ages[-1]["up to this age"] == pytest.approx(1)
    lives = tables.survival_rows(traces)
    assert {row["age"] for row in lives if row["budget"] == 8} <= {1, 2, 4, 8, 16, 32}
    assert lives[2]["layer"] is None and lives[2]["still kept"] == survival.survival(RANDOM[0]).overall[4]
    steps = tables.recency_step_rows([BY_HAND])
    assert [row["recent, mean over layers"] for row in steps] == [0.75, 0.75, 0.5]
    assert (steps[1]["step"], steps[1]["lowest layer"], steps[1]["highest layer"]) == (3, 0.5, 1)
    early = tables.early_layer_rows([BY_HAND])
    assert [row["mean steps kept"] for row in early if row["layer"] == 1] == [2, 2, 3, 1, 1]
    heads = tables.head_overlap_rows(RANDOM[1])
    assert [(row["layer"], row["KV head"], row["other"]) for row in heads] == [(0, 1, 0), (1, 1, 0), (2, 1, 0)]
    assert heads[2]["overlap (Jaccard)"] == head_overlap(RANDOM[1])[2, 1, 0]
    assert tables.head_overlap_rows(BY_HAND) == []
    life = tables.life_rows(BY_HAND, 1)
    assert [(row["steps kept"], row["evicted at step"]) for row in life] == [
        (2, 2),
        (2, 3),
        (3, None),
        (1, 4),
        (1, None),
    ]
    assert [row["KV head"] for row in tables.life_rows(RANDOM[1], 0)] == [0] * 40 + [1] * 40
    plain = (str, int, float, type(None))
    every = (*recency, *ages, *lives, *steps, *early, *heads, *life)
    assert all(type(value) in plain for row in every for value in row.values())
