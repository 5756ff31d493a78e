"""Figures: how much of a marked passage is kept, from reading it to the end of the answer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from core.measures.evidence import mean_share_kept, share_kept
from core.trace import Trace
from viz.figures.style import INK, by_layer, in_blues, line_of_run, run_name, run_names, styled, token_name, with_legend
from viz.words.catalogue import _


def evidence_figure(traces: Sequence[Trace], passage: range, question: int) -> go.Figure:
    """The share of a passage that is kept after each step, averaged over layers; one line per trace.

    A single trace also has a thin line for each layer.

    Args:
        traces: runs on the same prompt, each with its own answer.
        passage: the positions of its tokens.
        question: the position of the question's first token.
    """
    figure, names = go.Figure(), run_names(traces)
    if len(traces) == 1:
        for layer, share in enumerate(share_kept(traces[0], passage)):
            figure.add_scatter(
                x=np.arange(passage.start, len(share)),
                y=share[passage.start :],
                mode="lines",
                line={"color": INK, "width": 1},
                opacity=0.6,
                name=_("each layer"),
                legendgroup="layers",
                showlegend=layer == 0,
                hovertemplate=_(
                    "layer {layer}<br>step {step}<br>{share} kept", layer=layer, step="%{x}", share="%{y:.0%}"
                )
                + "<extra></extra>",
            )
    for index, trace in enumerate(traces):
        steps = np.arange(passage.start, len(trace))
        figure.add_scatter(
            x=steps,
            y=mean_share_kept(trace, passage)[passage.start :],
            customdata=[token_name(trace, step) for step in steps.tolist()],
            hovertemplate=_(
                "step {step}, reading {token}<br>{share} of the passage kept",
                step="%{x}",
                token="%{customdata}",
                share="%{y:.0%}",
            ),
            **line_of_run(traces, names, index),
        )
    _marked(figure, passage, question, traces[0].prompt_length if traces else question)
    step, share = _("step (token being read)"), _("share kept")
    with_legend(figure, _("How much of the passage is kept"), step, share)
    return figure.update_yaxes(tickformat=".0%", range=[0, 1.03])


def evidence_layers_figure(trace: Trace, passage: range, question: int) -> go.Figure:
    """Heat map of the share of a passage that each layer (downwards) keeps after each step (across)."""
    figure = go.Figure(
        go.Heatmap(
            z=share_kept(trace, passage)[:, passage.start :],
            x=np.arange(passage.start, len(trace)),
            hovertemplate=_(
                "layer {layer}, step {step}<br>{share} of the passage kept", layer="%{y}", step="%{x}", share="%{z:.0%}"
            )
            + "<extra></extra>",
            **in_blues(1, _("share kept"), ".0%"),
        )
    )
    _marked(figure, passage, question, trace.prompt_length)
    what = _("how much of the passage each layer keeps")
    title = f"{run_name(trace)}<br>{what}"
    return by_layer(styled(figure, title, _("step (token being read)"), _("layer")))


def _marked(figure: go.Figure, passage: range, question: int, answer: int) -> None:
    """Add named lines at the steps where the passage ends and where question and answer begin."""
    for step, name in ((passage.stop - 1, _("passage read")), (question, _("question")), (answer, _("answer"))):
        figure.add_vline(x=step, line={"color": INK, "width": 1.5, "dash": "dot"})
        figure.add_annotation(
            x=step,
            y=1,
            yref="paper",
            text=name,
            textangle=-90,
            xanchor="right",
            yanchor="top",
            showarrow=False,
            font={"color": INK, "size": 12},
            bgcolor="rgba(127,127,127,0.25)",
        )
