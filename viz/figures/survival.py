"""Figures: how likely a token is to be still kept at each age (`core.measures.survival.survival`)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from core.measures.survival import survival
from core.trace import Trace
from viz.figures.style import JUST_EVICTED, by_layer, in_blues, line_of_run, run_name, run_names, styled, with_legend
from viz.words.catalogue import _


def survival_figure(traces: Sequence[Trace]) -> go.Figure:
    """The probability that a token is still kept at each age, over all layers; one line per run."""
    figure, names = go.Figure(), run_names(traces)
    hover = _(
        "{share} of the tokens are still kept {age} steps after they were read<br>{cases} cases known to last as long",
        share="%{y:.1%}",
        age="%{x}",
        cases="%{customdata}",
    )
    for index, trace in enumerate(traces):
        curves = survival(trace)
        figure.add_scatter(
            x=np.arange(len(trace)),
            y=curves.overall,
            customdata=curves.at_risk,
            hovertemplate=hover,
            line_shape="hv",
            **line_of_run(traces, names, index),
        )
    title, age = _("Survival"), _("age: steps since the token was read")
    figure = with_legend(figure, title, age, _("still kept"))
    return figure.update_yaxes(tickformat=".0%", range=[0, 1.03])


def survival_layers_figure(trace: Trace) -> go.Figure:
    """Heat map of the probability that a token is still kept, by age (across) and layer (downwards)."""
    kept = survival(trace).by_layer
    figure = go.Figure(
        go.Heatmap(
            z=kept.astype(np.float32),
            hovertemplate=_(
                "layer {layer}<br>{share} still kept {age} steps after they were read",
                layer="%{y}",
                share="%{z:.0%}",
                age="%{x}",
            )
            + "<extra></extra>",
            **in_blues(1, _("still kept"), ".0%"),
        )
    )
    if trace.policy.budget is not None and trace.policy.budget < len(trace):
        figure.add_vline(
            trace.policy.budget - 0.5,
            line={"color": JUST_EVICTED, "width": 1.5, "dash": "dot"},
            annotation={
                "text": _("Window ends here"),
                "font": {"color": JUST_EVICTED, "size": 11},
                "yanchor": "bottom",
            },
        )
    what = _("tokens still kept, by age and layer")
    title = f"{run_name(trace)}<br>{what}"
    return by_layer(styled(figure, title, _("age: steps since the token was read"), _("layer")))
