"""Figures: how many of the kept rows are recent, beside the paper's share, and how old they are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from core.measures import paper, survival
from core.trace import Trace
from viz.figures.style import INK, kept, line_of_run, run_names, token_name, with_legend
from viz.words.catalogue import _


def recency_figure(traces: Sequence[Trace]) -> go.Figure:
    """The share of kept rows that are among the last `budget` tokens, after every step, averaged over layers.

    A single run also shows the range from its lowest to its highest layer. The full model is left out. A recorded run
    has no budget: there it is as many of the last tokens as a decider holds rows.
    """
    figure, names = go.Figure(), run_names(traces)
    recent = _("{share} of the rows are recent", share="%{y:.0%}")
    for index, trace in enumerate(traces):
        if trace.policy.keeps_all:
            continue
        start = survival.at_work_from(trace)
        share, steps = survival.recent_share(trace)[:, start:], np.arange(start, len(trace))
        if len(traces) == 1:
            figure.add_scatter(
                x=np.concatenate([steps, steps[::-1]]),
                y=np.concatenate([share.max(axis=0), share.min(axis=0)[::-1]]),
                fill="toself",
                fillcolor=kept(0.18),
                line={"width": 0},
                hoverinfo="skip",
                name=_("from the lowest layer to the highest"),
            )
        figure.add_scatter(
            x=steps,
            y=share.mean(axis=0),
            customdata=[token_name(trace, step) for step in steps.tolist()],
            hovertemplate=_("step {step}, {token}", step="%{x}", token="%{customdata}") + f"<br>{recent}",
            **line_of_run(traces, names, index),
        )
    title = _("Recency after every step")
    return _shares(with_legend(figure, title, _("step"), _("recent rows")))


def recency_by_layer_figure(traces: Sequence[Trace]) -> go.Figure:
    """The recent share of each layer, averaged over the steps since the budget was reached."""
    figure, names = go.Figure(), run_names(traces)
    recent = _("{share} of the rows are recent", share="%{y:.0%}")
    hover = _("layer {layer}", layer="%{x}") + f"<br>{recent}"
    for index, trace in enumerate(traces):
        if not trace.policy.keeps_all:
            share = survival.mean_recent_share(trace)
            figure.add_scatter(
                x=np.arange(len(share)),
                y=share,
                hovertemplate=hover,
                **line_of_run(traces, names, index) | {"mode": "lines+markers"},
            )
    title = _("Recency by layer")
    return _shares(with_legend(figure, title, _("layer"), _("recent rows")))


def _shares(figure: go.Figure) -> go.Figure:
    """Add the paper's share as a band, and label the y axis in percent."""
    low, high = paper.RECENT_PERCENT
    figure.add_hrect(low / 100, high / 100, fillcolor=INK, opacity=0.35, line_width=0, layer="below")
    # Named in the legend, because on the band the name would lie under the lines.
    figure.add_scatter(
        x=[None],
        y=[None],
        mode="markers",
        marker={"symbol": "square", "size": 13, "color": INK, "opacity": 0.5},
        name=_("the paper: {low:.0f}–{high:.0f} %", low=low, high=high),
    )
    return figure.update_yaxes(tickformat=".0%", range=[0, 1.03])


def age_figure(traces: Sequence[Trace]) -> go.Figure:
    """The share of kept rows that are younger than an age, averaged over layers, beside Window's.

    Ages are in multiples of the budget, so that Window has the same line for every budget. Where runs have none to be
    multiplied, that is said.
    """
    figure, oldest, names = go.Figure(), 1.5, run_names(traces)
    younger = _(
        "{share} of the rows are younger than {age} steps,<br>{times} times the budget",
        share="%{y:.0%}",
        age="%{customdata}",
        times="%{x:.2f}",
    )
    for index, trace in enumerate(traces):
        budget = trace.policy.budget
        if budget is None:
            continue
        up_to = survival.age_distribution(trace).mean(axis=0).cumsum()
        ages = np.arange(1, len(trace) + 1)  # up_to[i] is the share younger than ages[i]
        oldest = max(oldest, (np.searchsorted(up_to, 0.99) + 1) / budget)
        figure.add_scatter(
            x=np.concatenate([[0], ages / budget]),
            y=np.concatenate([[0], up_to]),
            customdata=np.concatenate([[0], ages]),
            hovertemplate=younger,
            **line_of_run(traces, names, index),
        )
    figure.add_scatter(
        x=[0, 1, oldest],
        y=[0, 1, 1],
        mode="lines",
        line={"color": INK, "width": 1.5, "dash": "dot"},
        name=_("Window, any budget"),
        hoverinfo="skip",
    )
    title, age = _("The ages of kept rows"), _("younger than … times the budget")
    figure = with_legend(figure, title, age, _("share of kept rows"))
    if any(trace.policy.is_recorded for trace in traces):
        figure.add_annotation(
            text=_("A recorded run has no line here:<br>its budget is not known."),
            **{"x": 1, "y": 0.02, "xref": "paper", "yref": "paper", "xanchor": "right", "yanchor": "bottom"},
            showarrow=False,
            align="right",
        )
    return figure.update_xaxes(range=[0, oldest]).update_yaxes(tickformat=".0%", range=[0, 1.03])
