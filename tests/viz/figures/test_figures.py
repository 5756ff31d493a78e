"""Figures, sentences, headlines and measures, on traces small enough to check by hand."""

import json
from dataclasses import replace

import numpy as np
import pytest

from core.experiments.records import Point
from core.measures import costs, survival
from core.policies import make_policy, settings_of
from core.trace import NEVER, PolicySettings
from tests.traces import HOSTILE, random_trace, trace_of
from viz.figures.life import LONGEST_LIFE, head_figure, token_figure
from viz.figures.sweep import sweep_figure
from viz.words.headlines import headline
from viz.words.sentences import life, why

# two layers, five tokens, budget 2: after step t each layer holds two rows
BY_HAND = trace_of([[[NEVER, 2, 3, 4, NEVER]], [[2, 3, NEVER, 4, NEVER]]], ("The", " harbour", " light", ",", " the"))


def test_measures_by_hand() -> None:
    assert costs.perplexity(BY_HAND) == pytest.approx(np.e)
    assert survival.lifespan(BY_HAND).tolist() == [[[5, 1, 1, 1, 1]], [[2, 2, 3, 1, 1]]]
    assert survival.kept_to_the_end(BY_HAND)[:, 0, 0].tolist() == [True, False]
    # after step 4 four rows are kept; tokens 0 and 2 are not among the last two positions
    assert survival.not_recent_share(BY_HAND, 4) == 0.5


def test_a_window_keeps_nothing_old() -> None:
    n, budget = 9, 3
    window = trace_of([[[p + budget if p + budget < n else NEVER for p in range(n)]]], ("x",) * n, "window", budget)
    assert all(survival.not_recent_share(window, step) == 0 for step in range(n))


def test_why_says_when_and_why() -> None:
    assert why(BY_HAND, 0, 0, 1) == (
        "Layer 0 forgot “ harbour” while reading “ light” (step 2): least attended of 3 rows, 0.12; next lowest 0.25."
    )
    assert why(BY_HAND, 0, 0, 0) == (
        "Layer 0 still holds “The” at the end (step 4), 4 steps after reading it. "
        "It evicted 3 others since, each the least important to the policy at its step."
    )
    assert why(BY_HAND, 0, 0, 4).endswith(" It evicted 1 other since, which was less important to the policy.")
    assert "kept for 4 of 5 steps on average; still held at the end by 1 of 2 layers" in life(BY_HAND, 0)


def test_a_policy_that_a_newcomer_adds_gets_a_sentence_too() -> None:
    trace = replace(BY_HAND, policy=PolicySettings("mine", "Mine", "layer", 2))
    assert "least important of 3 rows, 0.12" in why(trace, 0, 0, 1)


def test_a_headline_says_what_to_see_in_the_map() -> None:
    assert headline(BY_HAND) == "2 rows in each of 2 layers · 50% of them not recent · first token in 1 layer"
    everything_fits = trace_of([[[NEVER] * 3]], ("a", "b", "c"), budget=8)
    assert headline(everything_fits).startswith("3 rows in each of 1 layers · everything fits")
    by_head = random_trace(3, groups=2)
    held = int((by_head.evicted_at[:, :, 0] == NEVER).sum())
    assert "8 rows in each of 6 KV heads" in headline(by_head)
    assert ("first token forgotten" if held == 0 else f"first token in {held} KV heads") in headline(by_head)
    full = replace(BY_HAND, policy=settings_of(make_policy("full")))
    assert headline(full) == "forgets nothing: the ordinary model"


def test_the_head_figure_of_a_long_text_shows_some_of_its_tokens() -> None:
    n = 2 * LONGEST_LIFE + 1
    evicted_at = np.arange(n) + 5
    evicted_at[9] = NEVER
    evicted_at[-5:] = NEVER
    trace = trace_of(evicted_at[None, None], tuple("x" * n), budget=5)
    figure = head_figure(trace, 0)
    ticks = figure.layout.xaxis
    assert [cell.split()[0] for cell in np.asarray(figure.data[0].x)[list(ticks.tickvals)]] == list(ticks.ticktext)
    cells = figure.data[0]
    assert cells.x[1] == "3 “x”"  # every third
    z = np.asarray(cells.z)
    assert z.shape == (683, 683)
    assert (z[3:, 3] == 3).all() and z[-1, 2] == 1


def test_the_head_figure_shows_every_step() -> None:
    trace = random_trace(2)
    z = np.asarray(head_figure(trace, 1).data[0].z)
    for step in range(len(trace)):
        assert ((z[step] == 3) == trace.kept(step)[1, 0]).all()


def test_the_token_figure_shows_how_long_each_layer_kept_it() -> None:
    bars = token_figure(BY_HAND, 1).data[0]
    assert list(bars.y) == [1, 2]
    assert bars.customdata[0] == "evicted at step 2, reading “ light”"


@pytest.mark.parametrize("figure", [lambda t: head_figure(t, 0), lambda t: token_figure(t, 0)])
def test_figures_take_no_markup_from_a_token(figure) -> None:
    trace = trace_of([[[NEVER] * len(HOSTILE)]], HOSTILE, budget=9)
    made = json.loads(figure(trace).to_json())
    assert "<img" not in json.dumps(made["data"]) and "<b>" not in json.dumps(made["data"])


def test_the_sweep_figure_has_a_curve_per_policy_and_the_full_model_as_a_line() -> None:
    points = [Point("full", None, 9, 20.0, 1.0)]
    points += [Point(policy, budget, 9, 100.0 / budget, 1.0) for budget in (4, 2) for policy in ("tova", "baseline")]
    full, tova, baseline = sweep_figure(points).data
    assert (list(full.x), list(full.y)) == ([2, 4], [20.0, 20.0])
    assert (list(tova.x), list(tova.y)) == ([2, 4], [50.0, 25.0])
    assert baseline.name == "Short context"


def test_a_sweep_that_has_only_begun_can_be_drawn() -> None:
    assert len(sweep_figure([Point("full", None, 9, 20.0, 1.0)]).data) == 1
