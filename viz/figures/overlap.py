"""Heat maps: how far layers, KV heads and runs agree on what they keep (`core.measures.overlap`)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from core.measures.overlap import head_overlap, layer_overlap, trace_overlap
from core.measures.survival import Reals
from core.trace import Trace
from viz.figures.style import GREY_TO_BLUE, in_blues, run_name, run_names, styled
from viz.words.catalogue import _


def layer_overlap_figure(trace: Trace) -> go.Figure:
    """(layers × layers): how far each two layers keep the same tokens."""
    overlap = layer_overlap(trace)
    names = [_("layer {layer}", layer=layer) for layer in range(len(overlap))]
    of_layers = _("agreement of its layers")
    return _overlap_figure(overlap, names, f"{run_name(trace)}<br>{of_layers}")


def head_overlap_figure(trace: Trace, layer: int) -> go.Figure:
    """(KV heads × KV heads): how far each two KV heads of a layer keep the same tokens."""
    overlap = head_overlap(trace)[layer]
    names = [_("KV head {group}", group=head) for head in range(len(overlap))]
    of_layer = _("agreement of the KV heads of layer {layer}", layer=layer)
    return _overlap_figure(overlap, names, f"{run_name(trace)}<br>{of_layer}")


def trace_overlap_figure(traces: Sequence[Trace]) -> go.Figure:
    """(runs × runs): how far each two runs over the same tokens keep the same of them, averaged over layers.

    Raises:
        BadInput: no runs, or runs over different tokens or with different numbers of layers.
    """
    overlap, names = trace_overlap(traces), run_names(traces)
    short = run_names(traces, in_lines=True)
    return _overlap_figure(overlap, names, _("Agreement of the runs"), short)


def _overlap_figure(overlap: Reals, names: list[str], title: str, short: list[str] | None = None) -> go.Figure:
    few = len(names) <= 10
    ticktext = short or names
    ticks = {"tickmode": "array", "tickvals": list(range(len(names))), "ticktext": ticktext} if few else {"nticks": 12}
    figure = go.Figure(
        go.Heatmap(
            z=overlap.astype(np.float32),
            customdata=[[_("{one} and {other}", one=one, other=other) for other in names] for one in names],
            texttemplate="%{z:.0%}" if few else None,
            textfont={"color": "white"},
            hovertemplate="%{customdata}<br>"
            + _("{share} of what either keeps is kept by both", share="%{z:.0%}")
            + "<extra></extra>",
            **in_blues(1, _("overlap"), ".0%") | ({"colorscale": GREY_TO_BLUE} if few else {}),
        )
    )
    axis = "" if few else _("layer")
    figure = styled(figure, title, axis, axis)
    if few:
        figure.update_layout(height=150 + 45 * len(names), margin_t=88 if "<br>" in title else 60)
    figure.update_xaxes(showgrid=False, automargin=True, **ticks)
    return figure.update_yaxes(autorange="reversed", showgrid=False, automargin=True, **ticks)
