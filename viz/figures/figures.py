"""Plotly figures of a trace that stand alone, in the page as in a notebook.

Blue is kept, orange evicted a moment ago, grey evicted: as in the retention map. A figure does not know whether its
page is light or dark, so backgrounds are transparent, grey is half transparent, and the blue reads on both.
"""

import html
import itertools
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from core.experiments.records import BASELINE, FULL, LABELS, Point
from core.measures.survival import lifespan
from core.trace import NEVER, Floats, Trace
from viz.words.lesson_words import Language
from viz.words.say import named, policy_name, say
from viz.words.sentences import quoted

KEPT, JUST_EVICTED, EVICTED = "#1f83b8", "#e8730c", "rgba(128,128,128,0.3)"
LONGEST_LIFE = 1024  # tokens of which each has a row and a column of its own in the picture of a life
FADE = 12  # steps for which an eviction counts as recent
INK = "#7f7f7f"
NOTHING = "rgba(0,0,0,0)"
GRID = "rgba(127,127,127,0.2)"
STATES = ("not yet read", "evicted", "just evicted", "kept")


def retention_figure(trace: Trace, step: int, language: Language = "en") -> go.Figure:
    """Which tokens every decider holds after a step: layers (and KV heads) downwards, tokens across.

    Raises:
        BadInput: the step is outside the trace.
    """
    kept = trace.kept(step)
    just = ~kept & (step - FADE < trace.evicted_at) & (trace.evicted_at <= step)
    read = np.arange(len(trace)) <= step
    states = np.where(kept, 3, np.where(just, 2, np.where(read, 1, 0))).astype(np.uint8)
    layers, groups, n = states.shape
    of = "layer {layer} · KV head {group}" if groups > 1 else "layer {layer}"
    rows = [say(language, of, layer=layer, group=group) for layer in range(layers) for group in range(groups)]
    figure = go.Figure(_states(states.reshape(layers * groups, n), _labels(trace, language), rows, language))
    hover = say(language, "{row}<br>token {token}<br>{state}", row="%{y}", token="%{x}", state="%{text}")
    figure.update_traces(hovertemplate=hover + "<extra></extra>", text=_names(states, n, language))
    title = f"{_title(trace, language)}<br>{say(language, 'what is kept after step {step}', step=step)}"
    figure = _styled(figure, title, say(language, "token"), say(language, "layer"))
    return figure.update_xaxes(**_by_position(n))


def head_figure(
    trace: Trace, layer: int, group: int = 0, attention: Floats | None = None, language: Language = "en"
) -> go.Figure:
    """One decider's whole life: steps downwards, positions across (Oren et al. 2024, figure 8).

    Args:
        trace: of a run.
        layer: from 0.
        group: the KV head, from 0; 0 if the layer decides as one.
        attention: (n, n), what the query of each step (row) paid to each token (column); then kept rows are coloured
            by it, on a logarithmic scale, instead of by a single colour.
        language: of the words.

    Of a text of more than `LONGEST_LIFE` tokens only every second, third … token is drawn.
    """
    every = -(-len(trace) // LONGEST_LIFE)
    position = np.arange(0, len(trace), every)
    step, n = position[:, None], len(position)
    evicted_at = trace.evicted_at[layer, group, ::every]
    states = np.where(position > step, 0, np.where(step < evicted_at, 3, 1)).astype(np.uint8)
    labels = _labels(trace, language)[::every]
    if attention is None:
        data = _states(states, labels, labels, language, shown=(1, 3))
        hover = say(language, "after reading {reading}<br>token {token}", reading="%{y}", token="%{x}")
        data.update(hovertemplate=hover + "<extra></extra>")
    else:
        attended = (position <= step) & (step <= evicted_at)
        data = go.Heatmap(
            z=np.where(attended, np.log10(np.maximum(attention[::every, ::every], 1e-6)), np.nan).astype(np.float32),
            x=labels,
            y=labels,
            colorscale=[[0, "rgba(31,131,184,0.1)"], [1, "rgba(31,131,184,1)"]],
            zmin=-5,
            zmax=0,
            colorbar={
                "title": say(language, "attention"),
                "tickvals": [-5, -3, -1, 0],
                "ticktext": ["10⁻⁵", "10⁻³", "0.1", "1"],
            },
            hovertemplate=say(
                language,
                "query {query}<br>token {token}<br>log₁₀ attention {logarithm}",
                query="%{y}",
                token="%{x}",
                logarithm="%{z:.2f}",
            )
            + "<extra></extra>",
        )
    figure = go.Figure(data)
    figure.add_scatter(
        x=labels, y=labels, mode="lines", line={"color": INK, "width": 1}, hoverinfo="skip", showlegend=False
    )
    if trace.policy.budget is not None and trace.policy.budget < len(trace):
        budget = trace.policy.budget
        figure.add_scatter(
            x=labels[: n - budget // every],
            y=labels[budget // every :],
            mode="lines",
            line={"color": JUST_EVICTED, "width": 1.5, "dash": "dot"},
            name=say(language, "{budget} tokens ago: the limit of Window", budget=budget),
        )
    of_head = trace.policy.scope == "kv_head"
    life = "the life of layer {layer}, KV head {group}" if of_head else "the life of layer {layer}"
    some = say(language, ", one token in {every}", every=every) if every > 1 else ""
    title = f"{_title(trace, language)}<br>{say(language, life, layer=layer, group=group)}{some}"
    figure = _styled(figure, title, say(language, "token (position)"), say(language, "step (token being read)"))
    ticks = _by_position(n, every)
    return figure.update_xaxes(**ticks).update_yaxes(**ticks)


def token_figure(trace: Trace, position: int, language: Language = "en") -> go.Figure:
    """One token's life: for how many steps each layer (and KV head) kept it."""
    evicted_at = trace.evicted_at[..., position].T
    groups, layers = evicted_at.shape
    steps = lifespan(trace)[..., position].T

    def fate(at: int) -> str:
        if at == NEVER:
            return say(language, "kept to the end")
        return say(language, "evicted at step {step}, reading {token}", step=at, token=_escaped(trace, at, language))

    fates = [[fate(at) for at in row] for row in evicted_at.tolist()]
    of = "layer {layer} · KV head {group}" if groups > 1 else "layer {layer}"
    figure = go.Figure()
    for group in range(groups):
        forgotten = evicted_at[group] != NEVER
        figure.add_bar(
            x=np.arange(layers),
            y=steps[group],
            name=say(language, "KV head {group}", group=group),
            marker={
                "color": np.where(forgotten, EVICTED, KEPT),
                "line": {"color": np.where(forgotten, INK, KEPT), "width": 1},
            },
            customdata=fates[group],
            hovertemplate=say(language, of, layer="%{x}", group=group)
            + f"<br>{say(language, 'kept for {steps} steps', steps='%{y}')}<br>%{{customdata}}<extra></extra>",
            showlegend=False,
        )
    for name, colour in (("kept to the end", KEPT), ("evicted", EVICTED)):
        figure.add_bar(x=[None], y=[None], name=say(language, name), marker={"color": colour})
    life = say(
        language,
        "the life of token {position}, {token}",
        position=position,
        token=_escaped(trace, position, language),
    )
    title = f"{_title(trace, language)}<br>{life}"
    return _styled(figure, title, say(language, "layer"), say(language, "steps kept")).update_yaxes(autorange=True)


POLICY_COLOURS = {
    "tova": "#1f83b8",
    "h2o": "#e8730c",
    "window+i": "#2a9d6f",
    "window": "#b0478c",
    "tova-head": "#6cb6dd",
    "random": "#8d7b5a",
}
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x", "star")


def sweep_figure(points: Sequence[Point], title: str | None = None, language: Language = "en") -> go.Figure:
    """Perplexity against budget, one curve per policy, the full model as a line (Oren et al. 2024, figure 3)."""
    title = title or say(language, "Perplexity against budget")
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
                name=say(language, "Full model: {perplexity:.1f}", perplexity=curve[0].perplexity),
                mode="lines",
                line={"color": INK, "dash": "dash"},
                hoverinfo="skip",
            )
            continue
        ordered, name = sorted(curve, key=lambda point: point.budget or 0), named(LABELS[policy], language)
        hover = say(language, "budget {budget}<br>perplexity {perplexity}", budget="%{x}", perplexity="%{y:.2f}")
        figure.add_scatter(
            x=[point.budget for point in ordered],
            y=[point.perplexity for point in ordered],
            name=name,
            mode="lines+markers",
            line={"color": POLICY_COLOURS.get(policy, INK), "dash": "dot" if policy == BASELINE else "solid"},
            marker={"symbol": symbol, "size": 9},
            hovertemplate=f"{name}<br>{hover}<extra></extra>",
        )
    with_legend(figure, title, say(language, "budget (rows per layer)"), say(language, "perplexity"))
    figure.update_xaxes(type="log", tickmode="array", tickvals=budgets, ticktext=[f"{budget:,}" for budget in budgets])
    found = [point.perplexity for point in points] or [1]
    ticks = "D1" if max(found) < 30 * min(found) else 1  # all digits, or powers of ten alone
    return figure.update_yaxes(type="log", autorange=True, dtick=ticks, tickformat="~r")


def _states(
    states: np.ndarray, x: list[str], y: list[str], language: Language, shown: tuple[int, ...] = (0, 1, 2, 3)
) -> go.Heatmap:
    colours = [colour if i in shown else NOTHING for i, colour in enumerate((NOTHING, EVICTED, JUST_EVICTED, KEPT))]
    scale = [[edge / 4, colour] for i, colour in enumerate(colours) for edge in (i, i + 1)]
    return go.Heatmap(
        z=states,
        x=x,
        y=y,
        zmin=-0.5,
        zmax=3.5,
        colorscale=scale,
        colorbar={"tickvals": shown, "ticktext": [say(language, STATES[state]) for state in shown], "thickness": 12},
    )


def _names(states: np.ndarray, n: int, language: Language) -> np.ndarray:
    return np.asarray([say(language, state) for state in STATES])[states.reshape(-1, n)]


def _labels(trace: Trace, language: Language) -> list[str]:
    """Every token with its position, which makes it unique; plotly takes labels for markup, so they are escaped."""
    return [f"{position} {_escaped(trace, position, language)}" for position in range(len(trace))]


def _escaped(trace: Trace, position: int, language: Language) -> str:
    return html.escape(quoted(trace, position, language), quote=False)


def _title(trace: Trace, language: Language) -> str:
    return html.escape(policy_name(trace.policy, language), quote=False)


def styled(figure: go.Figure, title: str, x: str = "", y: str = "") -> go.Figure:
    """What all figures have in common: a title at the left, a legend under it, a faint grid and no background."""
    figure.update_layout(
        title={
            "text": title,
            "font": {"size": 15},
            "y": 1,
            "yanchor": "top",
            "pad": {"t": 24, "l": 10},
            "x": 0,
        },
        paper_bgcolor=NOTHING,
        plot_bgcolor=NOTHING,
        font={"color": INK, "size": 13},
        margin={"l": 60, "r": 20, "b": 55, "t": 88},
        legend={"orientation": "h", "y": 1.01, "yanchor": "bottom", "x": 0},
        bargap=0.15,
    )
    figure.update_xaxes(title=x, gridcolor=GRID, zeroline=False)
    return figure.update_yaxes(title=y, gridcolor=GRID, zeroline=False)


def with_legend(figure: go.Figure, title: str, x: str, y: str) -> go.Figure:
    """The title as the legend's, so that it makes room for as many rows as the legend takes on a narrow screen."""
    figure = styled(figure, "", x, y)
    heading = {"text": title, "side": "top", "font": {"size": 15}}
    return figure.update_layout(showlegend=True, legend_title=heading, margin_t=30, hoverlabel={"namelength": -1})


def _styled(figure: go.Figure, title: str, x: str, y: str) -> go.Figure:
    """The first layer, token or step on top."""
    return styled(figure, title, x, y).update_yaxes(autorange="reversed")


def _by_position(n: int, apart: int = 1) -> dict[str, object]:
    """The ticks of an axis of n tokens or steps, so many positions apart, whose labels would be too long."""
    every = next((step for step in (1, 2, 5, 10, 20, 50, 100, 200, 500) if n / step <= 14), 1000)
    ticks = list(range(0, n, every))
    return {"tickmode": "array", "tickvals": ticks, "ticktext": [str(tick * apart) for tick in ticks]}
