"""What forgetting costs, as a figure and in sentences, on a comparison small enough to check by hand."""

from dataclasses import replace

import numpy as np
import pytest

from core.measures.costs import Comparison, Loss, greatest_losses, tokens_of_half
from core.policies import make_policy, settings_of
from core.trace import NEVER, Trace
from tests.traces import HOSTILE, trace_of
from viz.figures.losses import losses_figure
from viz.figures.style import run_names, short_names
from viz.words.cost_sentences import cost_sentences

PIECES = ("The", " harbour", HOSTILE[0], ",", " the")
LIFE = [[[NEVER, 2, 3, 4, NEVER]]]
WHOLE = settings_of(make_policy("full"))


def read(nll: list[float], life=LIFE, **settings) -> Trace:
    return trace_of(life, PIECES, nll=np.array([np.nan, *nll], np.float32), **settings)


def beside(*traces: Trace) -> Comparison:
    full = replace(read([1, 1, 1, 1], [[[NEVER] * 5]]), policy=WHOLE)
    empty = np.zeros((len(traces), len(full)), np.float32)
    return Comparison(full, traces, kl=empty, agrees=empty > 0, seconds=(1.0,) * (len(traces) + 1), row_bytes=1)


COMPARED = beside(read([1, 1.5, 5, 1.5]), read([0.5, 3, 2, 1], policy="window"))


def test_the_greatest_losses_are_of_all_policies() -> None:
    assert greatest_losses(COMPARED, 3) == [Loss(0, 3, 4.0), Loss(1, 2, 2.0), Loss(1, 3, 1.0)]
    assert len(greatest_losses(COMPARED)) == 5, "what costs nothing is no loss"


@pytest.mark.parametrize(
    ("delta", "tokens"), [([0.5, 4, 0.5], 1), ([1, 1, 1, 1], 2), ([1, -9, 1, 1], 2), ([-1, 0], 0), ([2, 1, 1.5], 2)]
)
def test_half_is_lost_on_the_fewest_tokens(delta: list[float], tokens: int) -> None:
    assert tokens_of_half(np.array([np.nan, *delta], np.float32)) == tokens


def test_the_figure_adds_up_what_each_policy_loses() -> None:
    tova, window = losses_figure(COMPARED).data
    assert (tova.name, window.name) == ("TOVA, budget 2", "Window, budget 2")
    np.testing.assert_allclose(tova.y, [0, 0, 0.5, 4.5, 5])
    np.testing.assert_allclose(window.y, [0, -0.5, 1.5, 2.5, 2.5])
    assert tova.customdata[3] == ["“,”", "+4.00"] and "<" not in tova.customdata[2][0]


def test_the_figure_marks_where_forgetting_begins_if_that_is_one_place() -> None:
    assert [line.x0 for line in losses_figure(COMPARED).layout.shapes] == [2]
    for other in (read([1] * 4, policy="window", budget=3), read([1] * 4, policy="window", budget=9)):
        assert not losses_figure(beside(COMPARED.traces[0], other)).layout.shapes
    assert not losses_figure(beside(other)).layout.shapes


def test_the_sentences_are_told_from_the_data() -> None:
    assert cost_sentences(COMPARED, short_names(COMPARED.traces)) == [
        "What forgetting costs, in nats a token: TOVA 1.25; Window 0.62.",
        "TOVA loses half of it on 1 of 4 tokens, most at “,” (token 3): 4.0 nats.",
    ]
    better = beside(read([0.5] * 4))
    assert cost_sentences(better, ["TOVA"]) == ["What forgetting costs, in nats a token: TOVA -0.50."]
    (kept,) = cost_sentences(beside(read([1] * 4, [[[NEVER] * 5]], budget=8)), ["TOVA"])
    assert kept.startswith("Nothing had to be forgotten")


def test_a_short_name_tells_policies_apart() -> None:
    tova, other = COMPARED.traces[0], read([1] * 4, budget=3)
    assert short_names(COMPARED.traces) == ["TOVA", "Window"]
    for same in ((tova, other), (tova, tova)):
        assert short_names(same) == run_names(same) and len({*short_names(same)}) == 2
