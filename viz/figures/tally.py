"""Figure: how often stories were judged better, equal or worse than the full model's, beside the paper's numbers."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from core.experiments.records import LABELS
from core.experiments.votes import Tally, Verdict
from core.measures.paper import VERDICT_PERCENT
from core.messages import Message
from viz.figures.style import EVICTED, JUST_EVICTED, KEPT, escaped, styled
from viz.words.catalogue import _, ngettext, told

VERDICT_NAMES: dict[Verdict, str] = {"win": Message("better"), "tie": Message("tie"), "loss": Message("worse")}
VERDICT_COLOURS: dict[Verdict, str] = {"win": KEPT, "tie": EVICTED, "loss": JUST_EVICTED}
ROW = 62  # pixels
BAR = 0.42  # of a row's height; the name is above the bar, so that a phone's full width is left for the bar


def tally_figure(tallies: Sequence[Tally]) -> go.Figure:
    """One stacked bar per tally (better, tie, worse), above the three of the paper.

    The intervals are those of `Tally.interval`: of “better” around the right end of its part, of “worse” around the
    left end of its part. The paper gives none.
    """
    several = len({tally.model for tally in tallies}) > 1
    names = [_label(tally, several) for tally in tallies]
    papers = [_("<i>The paper: TOVA, budget {budget:,}</i>", budget=budget) for budget in VERDICT_PERCENT]
    places = list(range(len(names) + len(papers)))
    figure = go.Figure()
    for i, (verdict, name) in enumerate(VERDICT_NAMES.items()):
        shares = [100 * tally.share(verdict) for tally in tallies] + [own[i] for own in VERDICT_PERCENT.values()]
        figure.add_bar(
            x=shares,
            y=places,
            orientation="h",
            name=told(name),
            marker={"color": VERDICT_COLOURS[verdict], "opacity": [1.0] * len(names) + [0.55] * len(papers)},
            text=[f"{share:.0f} %" if share >= 4 else "" for share in shares],
            textposition="inside",
            insidetextanchor="middle",
            textangle=0,
            customdata=[_spoken(tally, verdict) for tally in tallies] + [_("the paper, section 6")] * len(papers),
            hovertemplate=_("{verdict}: {share} %", verdict=told(name), share="%{x:.0f}")
            + "<br>%{customdata}<extra></extra>",
        )
    for verdict in ("win", "loss"):
        figure.add_scatter(**_intervals(tallies, verdict))
    for place, name in zip(places, names + papers, strict=True):
        figure.add_annotation(
            text=name, x=0, y=place - 0.3, xanchor="left", yanchor="bottom", showarrow=False, align="left", xshift=-2
        )
    title = _("A policy's story, judged beside the full model's<br>Pale: the paper (13B model, GPT-4; section 6)")
    styled(figure, title).update_layout(
        barmode="stack", bargap=1 - BAR, margin={"t": 100, "l": 24, "r": 24}, height=160 + ROW * len(places)
    )
    figure.update_layout(legend_traceorder="normal")
    figure.update_xaxes(range=[0, 100.5], ticksuffix=" %", showgrid=False, nticks=6)
    return figure.update_yaxes(range=[len(places) - 0.6, -0.75], showticklabels=False, showgrid=False)


def _label(tally: Tally, several_models: bool) -> str:
    """The label of a row, escaped for plotly, because a model's or judge's name may be any text."""
    votes, pairs = (
        ngettext("{n:,} vote", "{n:,} votes", tally.votes),
        ngettext("{n:,} pair", "{n:,} pairs", tally.pairs),
    )
    policy, model = LABELS.get(tally.policy, tally.policy), tally.model.rstrip("/").rsplit("/", 1)[-1]
    if several_models:
        whose = _("{policy}, budget {budget:,}, {model}", policy=policy, budget=tally.budget, model=model)
    else:
        whose = _("{policy}, budget {budget:,}", policy=policy, budget=tally.budget)
    counted = _("{votes} on {pairs}", votes=votes, pairs=pairs)
    if tally.judge:
        counted = _("{judge}: {votes} on {pairs}", judge=tally.judge, votes=votes, pairs=pairs)
    return " · ".join(escaped(_short(part)) for part in (whose, counted))


def _short(label: str) -> str:
    return label if len(label) <= 44 else label[:43] + "…"


def _spoken(tally: Tally, verdict: Verdict) -> str:
    low, high = tally.interval(verdict)
    return _("95 % interval: {low:.0%} to {high:.0%}, counting pairs rather than votes", low=low, high=high)


def _intervals(tallies: Sequence[Tally], verdict: Verdict) -> dict[str, object]:
    """The plotly arguments for one verdict's intervals: “win” above each bar, “loss” below it."""
    ends = [tally.interval(verdict) for tally in tallies]
    shares = [tally.share(verdict) for tally in tallies]
    x = shares if verdict == "win" else [1 - share for share in shares]
    outwards = [high - share for (_, high), share in zip(ends, shares, strict=True)]
    inwards = [share - low for (low, _), share in zip(ends, shares, strict=True)]
    right, left = (outwards, inwards) if verdict == "win" else (inwards, outwards)
    side = (BAR / 2 + 0.06) * (-1 if verdict == "win" else 1)
    return {
        "x": [100 * share for share in x],
        "y": [place + side for place in range(len(tallies))],
        "mode": "markers",
        "name": _("95 % intervals"),
        "marker": {"color": VERDICT_COLOURS[verdict], "size": 6},
        "error_x": {
            "type": "data",
            "array": [100 * share for share in right],
            "arrayminus": [100 * share for share in left],
            "color": VERDICT_COLOURS[verdict],
            "thickness": 2,
            "width": 4,
        },
        "hoverinfo": "skip",
        "showlegend": bool(tallies) and verdict == "win",
    }
