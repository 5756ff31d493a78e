"""Figures: for how many steps the first tokens of a text are kept."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from core.measures.survival import N_EARLY, early_steps_kept
from core.trace import Trace
from viz.figures.style import by_layer, in_blues, line_of_run, run_name, run_names, styled, token_name, with_legend
from viz.words.catalogue import _


def early_figure(traces: Sequence[Trace]) -> go.Figure:
    """For how many steps the first tokens were kept, averaged over layers; one line per run (the paper's figure 9)."""
    figure, names = go.Figure(), run_names(traces)
    same = len({tuple(_early(trace)) for trace in traces}) == 1
    hover = _(
        "token {token}<br>kept for {steps} of {all} steps",
        token="%{customdata[0]}",
        steps="%{y:.0f}",
        all="%{customdata[1]}",
    )
    for index, trace in enumerate(traces):
        steps = early_steps_kept(trace).mean(axis=0)
        positions = np.arange(len(steps))
        figure.add_scatter(
            x=_early(trace) if same else positions,
            y=steps,
            customdata=np.stack([_early(trace), len(trace) - positions], axis=1),
            hovertemplate=hover,
            **line_of_run(traces, names, index) | {"mode": "lines+markers"},
        )
    title, token = _("The first tokens"), _("token (position)")
    figure = with_legend(figure, title, token, _("mean steps kept"))
    return figure.update_xaxes(tickangle=-60, automargin=True).update_yaxes(rangemode="tozero")


def early_layers_figure(trace: Trace) -> go.Figure:
    """Heat map: for how many steps each layer kept each of the first tokens."""
    figure = go.Figure(
        go.Heatmap(
            z=early_steps_kept(trace).astype(np.float32),
            x=_early(trace),
            hovertemplate=_(
                "layer {layer}<br>token {token}<br>kept for {steps} steps", layer="%{y}", token="%{x}", steps="%{z:.0f}"
            )
            + "<extra></extra>",
            **in_blues(len(trace), _("steps kept")),
        )
    )
    what = _("the first tokens, by layer")
    figure = styled(figure, f"{run_name(trace)}<br>{what}", _("token (position)"), _("layer"))
    return by_layer(figure).update_xaxes(tickangle=-60, automargin=True)


def _early(trace: Trace) -> list[str]:
    """Labels of the first tokens, with their positions, so that no two are the same."""
    return [f"{token_name(trace, position)} {position}" for position in range(min(N_EARLY, len(trace)))]
