"""Figures: what one layer or KV head keeps, step by step, and for how long each layer keeps one token."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from core.measures.survival import lifespan
from core.trace import NEVER, Floats, Trace
from viz.figures.style import EVICTED, INK, JUST_EVICTED, KEPT, NOTHING, kept, run_name, styled, token_name
from viz.words.catalogue import _

LONGEST_LIFE = 1024  # tokens at most that have a row and a column each
NOT_READ, HAS_EVICTED, KEEPS = 0, 1, 3  # values of a cell; the gap at 2 keeps the two colours apart


def head_figure(trace: Trace, layer: int, group: int = 0, attention: Floats | None = None) -> go.Figure:
    """What one decider keeps: steps downwards, positions across (Oren et al. 2024, figure 8).

    Of a text with more than `LONGEST_LIFE` tokens, only every second (or third …) token is drawn.

    Args:
        trace: the run.
        layer: from 0.
        group: the KV head, from 0; 0 if the layer decides as one.
        attention: (n, n), what the query of each step (row) pays to each token (column). If given, attended rows are
            coloured by it on a logarithmic scale; else kept rows have a single colour.
    """
    every = -(-len(trace) // LONGEST_LIFE)
    labels = [f"{position} {token_name(trace, position)}" for position in range(0, len(trace), every)]
    evicted_at = trace.evicted_at[layer, group, ::every]
    position = np.arange(0, len(trace), every)
    step = position[:, None]
    if attention is None:
        read = np.where(step < evicted_at, KEEPS, HAS_EVICTED)
        cells = _kept_or_not(np.where(position <= step, read, NOT_READ).astype(np.uint8))
    else:
        attended = (position <= step) & (step <= evicted_at)
        cells = _attention(np.where(attended, attention[::every, ::every], np.nan))
    figure = go.Figure(go.Heatmap(x=labels, y=labels, **cells))
    figure.add_scatter(
        x=labels, y=labels, mode="lines", line={"color": INK, "width": 1}, hoverinfo="skip", showlegend=False
    )
    _add_limit_of_window(figure, trace, labels, every)
    if trace.policy.scope == "kv_head":
        life = _("the life of layer {layer}, KV head {group}", layer=layer, group=group)
    else:
        life = _("the life of layer {layer}", layer=layer)
    some = _(", one token in {every}", every=every) if every > 1 else ""
    title = f"{run_name(trace)}<br>{life}{some}"
    styled(figure, title, _("token (position)"), _("step (token being read)"))
    ticks = _by_position(len(labels), every)
    return figure.update_xaxes(**ticks).update_yaxes(**ticks, autorange="reversed")


def _kept_or_not(states: NDArray[np.uint8]) -> dict[str, Any]:
    """The heat map's arguments: one colour for kept, one for evicted, none for not yet read."""
    hover = _("after reading {reading}<br>token {token}", reading="%{y}", token="%{x}")
    bands = enumerate((NOTHING, EVICTED, NOTHING, KEPT))
    return {
        "z": states,
        "zmin": -0.5,
        "zmax": 3.5,
        "colorscale": [[edge / 4, colour] for band, colour in bands for edge in (band, band + 1)],
        "colorbar": {
            "tickvals": (HAS_EVICTED, KEEPS),
            "ticktext": [_("evicted"), _("kept")],
            "thickness": 12,
        },
        "hovertemplate": hover + "<extra></extra>",
    }


def _attention(attention: Floats) -> dict[str, Any]:
    """The heat map's arguments: coloured by attention on a logarithmic scale, no colour for NaN."""
    hover = _(
        "query {query}<br>token {token}<br>log₁₀ attention {logarithm}",
        query="%{y}",
        token="%{x}",
        logarithm="%{z:.2f}",
    )
    return {
        "z": np.log10(np.maximum(attention, 1e-6)).astype(np.float32),
        "zmin": -5,
        "zmax": 0,
        "colorscale": [[0, kept(0.1)], [1, kept(1)]],
        "colorbar": {
            "title": _("attention"),
            "tickvals": [-5, -3, -1, 0],
            "ticktext": ["10⁻⁵", "10⁻³", "0.1", "1"],
        },
        "hovertemplate": hover + "<extra></extra>",
    }


def _add_limit_of_window(figure: go.Figure, trace: Trace, labels: list[str], every: int) -> None:
    """Add a dotted line at tokens read `budget` steps ago, which Window has just evicted, if the text is that long."""
    budget = trace.policy.budget
    if budget is None or budget >= len(trace):
        return
    figure.add_scatter(
        x=labels[: len(labels) - budget // every],
        y=labels[budget // every :],
        mode="lines",
        line={"color": JUST_EVICTED, "width": 1.5, "dash": "dot"},
        name=_("{budget} tokens ago: the limit of Window", budget=budget),
    )


def _by_position(n: int, apart: int) -> dict[str, object]:
    """Ticks that show positions, because the labels are too long; n tokens, `apart` positions between neighbours."""
    every = next((step for step in (1, 2, 5, 10, 20, 50, 100, 200, 500) if n / step <= 14), 1000)
    ticks = list(range(0, n, every))
    return {"tickmode": "array", "tickvals": ticks, "ticktext": [str(tick * apart) for tick in ticks]}


def token_figure(trace: Trace, position: int) -> go.Figure:
    """For how many steps each layer (and KV head) kept one token."""
    evicted_at = trace.evicted_at[..., position].T
    groups, layers = evicted_at.shape
    steps = lifespan(trace)[..., position].T

    def fate(at: int) -> str:
        if at == NEVER:
            return _("kept to the end")
        reading = token_name(trace, at)
        return _("evicted at step {step}, reading {token}", step=at, token=reading)

    figure = go.Figure()
    for group in range(groups):
        forgotten = evicted_at[group] != NEVER
        of_head = _("layer {layer} · KV head {group}", layer="%{x}", group=group)
        decider = of_head if groups > 1 else _("layer {layer}", layer="%{x}")
        kept = _("kept for {steps} steps", steps="%{y}")
        figure.add_bar(
            x=np.arange(layers),
            y=steps[group],
            name=_("KV head {group}", group=group),
            marker={
                "color": np.where(forgotten, EVICTED, KEPT),
                "line": {"color": np.where(forgotten, INK, KEPT), "width": 1},
            },
            customdata=[fate(at) for at in evicted_at[group].tolist()],
            hovertemplate=f"{decider}<br>{kept}<br>%{{customdata}}<extra></extra>",
            showlegend=False,
        )
    for name, colour in ((_("kept to the end"), KEPT), (_("evicted"), EVICTED)):
        figure.add_bar(x=[None], y=[None], name=name, marker={"color": colour})
    token = token_name(trace, position)
    life = _("the life of token {position}, {token}", position=position, token=token)
    return styled(figure, f"{run_name(trace)}<br>{life}", _("layer"), _("steps kept"))
