"""Figures: perplexity against budget, of a user's sweep and of the paper."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import plotly.graph_objects as go

from core.experiments.records import BASELINE, FULL, Point
from core.measures import paper
from viz.figures.style import INK, POLICY_COLOURS, with_legend
from viz.words.catalogue import _
from viz.words.policies import policy_label

SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x", "star")


def sweep_figure(points: Sequence[Point], title: str | None = None) -> go.Figure:
    """Perplexity against budget, one curve per policy, the full model as a line (Oren et al. 2024, figure 3)."""
    title = title or _("Perplexity against budget")
    figure = go.Figure()
    budgets = sorted({point.budget for point in points if point.budget is not None}) or [1]
    curves: dict[str, list[Point]] = {}
    for point in points:
        curves.setdefault(point.policy, []).append(point)
    for (policy, curve), symbol in zip(curves.items(), itertools.cycle(SYMBOLS)):
        if policy == FULL:
            figure.add_scatter(
                x=[min(budgets), max(budgets)],
                y=[curve[0].perplexity] * 2,
                name=_("Full model: {perplexity:.1f}", perplexity=curve[0].perplexity),
                mode="lines",
                line={"color": INK, "dash": "dash"},
                hoverinfo="skip",
            )
            continue
        ordered, name = sorted(curve, key=lambda point: point.budget or 0), policy_label(policy)
        hover = _("budget {budget}<br>perplexity {perplexity}", budget="%{x}", perplexity="%{y:.2f}")
        figure.add_scatter(
            x=[point.budget for point in ordered],
            y=[point.perplexity for point in ordered],
            name=name,
            mode="lines+markers",
            line={"color": POLICY_COLOURS.get(policy, INK), "dash": "dot" if policy == BASELINE else "solid"},
            marker={"symbol": symbol, "size": 9},
            hovertemplate=f"{name}<br>{hover}<extra></extra>",
        )
    with_legend(figure, title, _("budget (rows per layer)"), _("perplexity"))
    figure.update_xaxes(type="log", tickmode="array", tickvals=budgets, ticktext=[f"{budget:,}" for budget in budgets])
    found = [point.perplexity for point in points] or [1]
    ticks = "D1" if max(found) < 30 * min(found) else 1  # label every digit, or only powers of ten
    return figure.update_yaxes(type="log", autorange=True, dtick=ticks, tickformat="~r")


def paper_sweep_figure() -> go.Figure:
    """The paper's table 3, drawn as in `sweep_figure`."""
    points = [Point(FULL, None, 0, paper.FULL_PERPLEXITY, 0.0)]
    points += [
        Point(policy, budget, 0, perplexity, 0.0)
        for policy, of_budget in paper.PERPLEXITIES.items()
        for budget, perplexity in of_budget.items()
    ]
    return sweep_figure(points, _("The paper: LLaMA-2-7B on PG-19 (table 3)"))
