"""What kind of tokens survive, as plotly figures, with the paper's own figures beside ours where it gives one.

Several runs share a figure as lines of different colours, always in the order given. Figures stand alone and read on
a light page as on a dark one, like those in `viz.figures`. A number of the paper's is marked as such, with its table
or figure: Oren et al. 2024, arXiv 2401.06104 v2.
"""

import html
import math
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from core import kinds, survival
from core.survival import Reals
from core.trace import Trace
from viz.figures import EVICTED, INK, JUST_EVICTED, KEPT, plain_layout
from viz.sentences import quoted

COLOURS = (KEPT, JUST_EVICTED, "#2e9e6b", "#a565c4", "#b8961a", "#d4477a", INK)
DASHES = ("solid", "dash", "dot", "dashdot")  # once all colours are used
BLUES = [[0, "rgba(31,131,184,0.06)"], [1, "rgba(31,131,184,1)"]]
GREY_TO_BLUE = [[0, "#7d828b"], [1, KEPT]]  # opaque: white numbers read on it
GRID = "rgba(127,127,127,0.2)"
PANEL_CELLS = 600_000  # of all layers' small lives together: about 0.8 MB on their way to the browser

RECENT = "the share of kept rows that are among the last <i>budget</i> tokens"
PAPER_RECENCY = (0.73, 0.76)
PAPER_RECENT = "Grey: 73–76 %, as the paper reports (section 7.3) without defining recent"
PAPER_BUDGETS = (256, 512, 1024, 2048)
# Mean steps kept at these budgets, by part of speech: tables 2 and 5 (LLaMA-2-7B on PG-19).
PAPER_LIVES: dict[str, dict[str, tuple[int, int, int, int]]] = {
    kinds.POSSESSIVE: {"possessive ’s": (1134, 1393, 1736, 2061)},
    kinds.CLOSING_QUOTE: {"closing quote": (845, 1101, 1413, 1774)},
    kinds.CURRENCY: {"$": (329, 724, 1276, 2123)},
    kinds.CLOSING_BRACKET: {"closing bracket": (379, 670, 1161, 1558)},
    kinds.SENTENCE_END: {"full stop": (350, 645, 1117, 1677)},
    kinds.COMMA: {"comma": (236, 453, 840, 1454)},
    kinds.NEWLINE: {"newline": (303, 550, 969, 1538)},
    kinds.NUMBER: {"number": (301, 537, 940, 1557)},
    kinds.CAPITALISED: {"proper noun": (270, 517, 951, 1613), "plural proper noun": (321, 578, 1042, 1671)},
    kinds.FUNCTION_WORD: {
        "to": (182, 368, 734, 1363),
        "modal": (177, 378, 754, 1392),
        "determiner": (190, 379, 734, 1363),
        "possessive pronoun": (189, 383, 745, 1386),
        "preposition": (190, 385, 760, 1408),
    },
    kinds.OTHER_WORD: {"noun": (270, 527, 983, 1628)},
    kinds.ALL_TOKENS: {"average": (249, 481, 897, 1537)},
}


def recency_figure(traces: Sequence[Trace]) -> go.Figure:
    """The share of kept rows that are among the last `budget` tokens, after every step; the mean over layers.

    Of a single run also the span from its lowest to its highest layer. The paper's share is a band.
    """
    figure = go.Figure()
    for index, trace in enumerate(traces):
        if trace.policy.budget is None:
            continue
        start = survival.at_work_from(trace)
        share, steps = survival.recent_share(trace)[:, start:], np.arange(start, len(trace))
        if len(traces) == 1:
            figure.add_scatter(
                x=np.concatenate([steps, steps[::-1]]),
                y=np.concatenate([share.max(axis=0), share.min(axis=0)[::-1]]),
                fill="toself",
                fillcolor="rgba(31,131,184,0.18)",
                line={"width": 0},
                hoverinfo="skip",
                name="from the lowest layer to the highest",
            )
        figure.add_scatter(
            x=steps,
            y=share.mean(axis=0),
            customdata=_labels(trace, steps),
            hovertemplate="step %{x}, %{customdata}<br>%{y:.0%} of the rows are recent",
            **_line(trace, index),
        )
    _paper_band(figure)
    figure = _styled(figure, f"Recency: {RECENT}<br>{PAPER_RECENT}", "step", "")
    return figure.update_yaxes(tickformat=".0%", rangemode="tozero")


def recency_by_layer_figure(traces: Sequence[Trace]) -> go.Figure:
    """The same by layer, in the mean over the steps at which the policy is at work."""
    figure = go.Figure()
    for index, trace in enumerate(traces):
        if trace.policy.budget is not None:
            share = survival.mean_recent_share(trace)
            hover = "layer %{x}<br>%{y:.0%} of the rows are recent"
            figure.add_scatter(x=np.arange(len(share)), y=share, hovertemplate=hover, **_line(trace, index, "+markers"))
    _paper_band(figure)
    title = f"Recency by layer, mean over steps: {RECENT}<br>{PAPER_RECENT}"
    return _styled(figure, title, "layer", "").update_yaxes(tickformat=".0%", rangemode="tozero")


def age_figure(traces: Sequence[Trace]) -> go.Figure:
    """The share of kept rows that are at most so old, in the mean over layers, against Window's.

    Ages are in multiples of the budget, which makes Window the same line for every budget.
    """
    figure, oldest = go.Figure(), 1.5
    for index, trace in enumerate(traces):
        budget = trace.policy.budget
        if budget is None:
            continue
        up_to = survival.age_distribution(trace).mean(axis=0).cumsum()
        ages = np.arange(1, len(trace) + 1)  # the rows younger than that
        oldest = max(oldest, (np.searchsorted(up_to, 0.99) + 1) / budget)
        figure.add_scatter(
            x=np.concatenate([[0], ages / budget]),
            y=np.concatenate([[0], up_to]),
            customdata=np.concatenate([[0], ages]),
            hovertemplate="%{y:.0%} of the rows are younger than %{customdata} steps,<br>%{x:.2f} times the budget",
            **_line(trace, index),
        )
    figure.add_scatter(
        x=[0, 1, oldest],
        y=[0, 1, 1],
        mode="lines",
        line={"color": INK, "width": 1.5, "dash": "dot"},
        name="Window",
        hoverinfo="skip",
    )
    title = "The ages of kept rows<br>at 1, the share that Window would keep too: the recent rows"
    figure = _styled(figure, title, "younger than … times the budget", "share of kept rows")
    return figure.update_xaxes(range=[0, oldest]).update_yaxes(tickformat=".0%", range=[0, 1.03])


def early_figure(traces: Sequence[Trace]) -> go.Figure:
    """For how many steps the first tokens were kept, in the mean over layers (figure 9 of the paper)."""
    figure = go.Figure()
    for index, trace in enumerate(traces):
        steps = survival.early_steps_kept(trace).mean(axis=0)
        positions = np.arange(len(steps))
        figure.add_scatter(
            x=positions,
            y=steps,
            customdata=np.stack([_labels(trace, positions), len(trace) - positions], axis=1),
            hovertemplate="token %{x}, %{customdata[0]}<br>kept for %{y:.0f} of %{customdata[1]} steps",
            **_line(trace, index, "+markers"),
        )
    title = (
        "The first tokens: mean number of steps kept<br>"
        "The paper (figure 9): the first is kept to the end at every size, the other early ones go far sooner."
    )
    figure = _styled(figure, title, "token (position)", "steps kept").update_yaxes(rangemode="tozero")
    return _token_ticks(figure, traces)


def early_layers_figure(trace: Trace) -> go.Figure:
    """For how many steps every layer kept each of the first tokens."""
    steps = survival.early_steps_kept(trace)
    positions = np.arange(steps.shape[1])
    figure = go.Figure(
        go.Heatmap(
            z=steps.astype(np.float32),
            customdata=np.broadcast_to(_labels(trace, positions), steps.shape),
            hovertemplate="layer %{y}<br>token %{x}, %{customdata}<br>kept for %{z:.0f} steps<extra></extra>",
            **_blue(zmax=len(trace), title="steps kept"),
        )
    )
    kept = trace.evicted_at[:, :, 0] >= len(trace)
    unit = "KV heads" if trace.policy.scope == "kv_head" else "layers"
    title = f"{_name(trace)}<br>the first token is kept to the end in {int(kept.sum())} of {kept.size} {unit}"
    return _token_ticks(_by_layer(_styled(figure, title, "token (position)", "layer")), [trace])


def survival_figure(traces: Sequence[Trace]) -> go.Figure:
    """The probability that a token is still kept at an age, over all layers."""
    figure = go.Figure()
    for index, trace in enumerate(traces):
        curves = survival.survival(trace)
        figure.add_scatter(
            x=np.arange(len(trace)),
            y=curves.overall,
            customdata=curves.at_risk,
            hovertemplate="%{y:.1%} of the tokens are still kept %{x} steps after they were read"
            "<br>%{customdata} cases known to last as long",
            line_shape="hv",
            **_line(trace, index),
        )
    title = (
        "Survival: the probability that a token is still kept<br>"
        "Tokens kept to the end of the text count for as long as they were seen (Kaplan and Meier)."
    )
    figure = _styled(figure, title, "age: steps since the token was read", "")
    return figure.update_yaxes(tickformat=".0%", range=[0, 1.03])


def survival_layers_figure(trace: Trace) -> go.Figure:
    """The probability that a token is still kept at an age, for every layer."""
    kept = survival.survival(trace).by_layer
    figure = go.Figure(
        go.Heatmap(
            z=kept.astype(np.float32),
            hovertemplate="layer %{y}<br>%{z:.0%} still kept %{x} steps after they were read<extra></extra>",
            **_blue(zmax=1, title="still kept", tickformat=".0%"),
        )
    )
    if trace.policy.budget is not None and trace.policy.budget < len(trace):
        figure.add_vline(
            trace.policy.budget - 0.5,
            line={"color": JUST_EVICTED, "width": 1.5, "dash": "dot"},
            annotation={"text": "Window ends here", "font": {"color": JUST_EVICTED, "size": 11}, "yanchor": "bottom"},
        )
    title = f"{_name(trace)}<br>the probability that a token is still kept, by layer"
    return _by_layer(_styled(figure, title, "age: steps since the token was read", "layer"))


def kinds_figure(traces: Sequence[Trace]) -> go.Figure:
    """Mean steps kept by kind of token, the longest-lived of the first run on top, beside the paper's (tables 2, 5).

    The paper's column is of the budget nearest to a run's; it has an axis of its own, because its texts are longer.
    """
    lives = [{life.kind: life for life in kinds.lives_of_kinds(trace)} for trace in traces]
    found = {kind: life for of_trace in reversed(lives) for kind, life in of_trace.items()}
    rows = sorted(found, key=lambda kind: -found[kind].steps)
    budgets = sorted({paper_budget(trace.policy.budget) for trace in traces if trace.policy.budget is not None})
    figure = make_subplots(1, 2, shared_yaxes=True, horizontal_spacing=0.04, column_widths=[0.58, 0.42])
    for index, (trace, of_trace) in enumerate(zip(traces, lives, strict=True)):
        own = [of_trace[kind] for kind in rows if kind in of_trace]
        figure.add_bar(
            x=[life.steps for life in own],
            y=[life.kind for life in own],
            orientation="h",
            name=_name(trace),
            marker={"color": COLOURS[index % len(COLOURS)]},
            customdata=[[life.tokens, life.kept_to_the_end] for life in own],
            hovertemplate="%{y}<br>%{x:.0f} steps kept, the mean of %{customdata[0]} tokens"
            "<br>%{customdata[1]:.0%} kept to the end",
        )
    for budget, symbol in zip(budgets, ("circle", "diamond", "square", "x"), strict=False):
        column = PAPER_BUDGETS.index(budget)
        dots = [(kind, name, steps[column]) for kind in rows for name, steps in PAPER_LIVES.get(kind, {}).items()]
        figure.add_scatter(
            x=[steps for _, _, steps in dots],
            y=[kind for kind, _, _ in dots],
            customdata=[name for _, name, _ in dots],
            mode="markers",
            marker={"color": "rgba(0,0,0,0)", "symbol": symbol, "size": 9, "line": {"color": INK, "width": 2}},
            name=f"the paper (tables 2 and 5), budget {budget:,}",
            hovertemplate="%{customdata}<br>%{x} steps kept (tables 2 and 5)",
            **{"row": 1, "col": 2},
        )
    figure = _styled(figure, "Which tokens live long<br>mean number of steps kept, by kind of token", "", "")
    figure.update_xaxes(title="steps kept, here", rangemode="tozero", row=1, col=1)
    figure.update_xaxes(title="steps kept, in the paper", rangemode="tozero", row=1, col=2)
    names = [f"{kind} ({found[kind].tokens})".replace("word inside", "word<br>inside") for kind in rows]
    figure.update_yaxes(categoryorder="array", categoryarray=rows, range=[len(rows) - 0.4, -0.6])
    figure.update_yaxes(tickmode="array", tickvals=list(range(len(rows))), ticktext=names, automargin=True)
    return figure.update_layout(height=190 + len(rows) * (20 + 12 * len(traces)), legend_traceorder="normal")


def paper_budget(budget: int) -> int:
    """The budget of the paper's tables 2 and 5 that is nearest to this one, by ratio."""
    return min(PAPER_BUDGETS, key=lambda papers: abs(math.log(papers / budget)))


def lives_figure(trace: Trace) -> go.Figure:
    """The life of every layer, small: positions across, steps downwards (figure 8 of the paper).

    The trace of number i is layer i's, so that a click tells which one it was. A layer whose KV heads decide for
    themselves is the darker the more of them keep a token. Long texts are drawn coarser.
    """
    layers, n = len(trace.evicted_at), len(trace)
    # As few empty places as can be, in a grid a little wider than high.
    columns = min(range(min(4, layers), 9), key=lambda wide: (-layers % wide, abs(wide - math.sqrt(1.25 * layers))))
    rows = math.ceil(layers / columns)
    side = min(n, math.isqrt(PANEL_CELLS // layers))
    edges = np.linspace(0, n, side + 1).astype(int)
    figure = make_subplots(
        rows,
        columns,
        shared_xaxes=True,
        shared_yaxes=True,
        horizontal_spacing=0.012,
        vertical_spacing=0.16 / rows,
        subplot_titles=[f"layer {layer}" for layer in range(layers)],
    )
    colours = [[0, "rgba(0,0,0,0)"], [0.5 / 101, "rgba(0,0,0,0)"], [0.5 / 101, EVICTED], [1, KEPT]]
    for layer in range(layers):
        figure.add_heatmap(
            z=_small_life(trace, layer, edges),
            x=edges[:-1],
            y=edges[1:] - 1,
            zmin=0,
            zmax=101,
            colorscale=colours,
            showscale=False,
            name=f"layer {layer}",
            hovertemplate=f"layer {layer}<br>token %{{x}}, after step %{{y}}<extra></extra>",
            row=layer // columns + 1,
            col=layer % columns + 1,
        )
        budget = trace.policy.budget
        if budget is not None and budget < n:
            window = {"x0": 0, "y0": budget, "x1": n - 1 - budget, "y1": n - 1}
            line = {"color": JUST_EVICTED, "width": 1, "dash": "dot"}
            figure.add_shape(type="line", line=line, **window, row=layer // columns + 1, col=layer % columns + 1)
    figure = _styled(
        figure,
        f"{_name(trace)}<br>the life of every layer: tokens across, steps downwards; dotted: the limit of Window",
        "",
        "",
    )
    figure.update_annotations(font={"size": 11, "color": INK}, yshift=-3)
    figure.update_xaxes(range=[-0.5, n - 0.5], showgrid=False, nticks=3)
    figure.update_yaxes(range=[n - 0.5, -0.5], showgrid=False, nticks=3)
    return figure.update_layout(height=110 + 150 * rows)


def _small_life(trace: Trace, layer: int, edges: np.ndarray) -> np.ndarray:
    """(side, side) uint8, steps down and tokens across: 0 not yet read; 1 … 101 the root of the share kept."""
    step, position = edges[1:, None] - 1, np.arange(len(trace))
    read = position <= step
    kept = (read & (step < trace.evicted_at[layer][:, None])).mean(axis=0)
    tokens = np.add.reduceat(read, edges[:-1], axis=1, dtype=np.int64)
    share = np.add.reduceat(kept, edges[:-1], axis=1) / np.maximum(tokens, 1)
    # The root lets a single long-lived token among many be seen.
    return np.where(tokens > 0, 1 + np.rint(100 * np.sqrt(share)), 0).astype(np.uint8)


def layer_overlap_figure(trace: Trace) -> go.Figure:
    """How far any two layers keep the same tokens."""
    overlap = survival.layer_overlap(trace)
    names = [f"layer {layer}" for layer in range(len(overlap))]
    return _overlap_figure(overlap, names, f"{_name(trace)}<br>how far two layers keep the same tokens")


def head_overlap_figure(trace: Trace, layer: int) -> go.Figure:
    """How far any two KV heads of a layer keep the same tokens."""
    overlap = survival.head_overlap(trace)[layer]
    names = [f"KV head {head}" for head in range(len(overlap))]
    title = f"{_name(trace)}<br>how far two KV heads of layer {layer} keep the same tokens"
    return _overlap_figure(overlap, names, title)


def trace_overlap_figure(traces: Sequence[Trace]) -> go.Figure:
    """How far any two runs over the same tokens keep the same of them, in the mean over layers.

    Raises:
        BadInput: the runs are over different tokens or have different numbers of layers.
    """
    overlap = survival.trace_overlap(traces)
    return _overlap_figure(
        overlap, [_name(trace) for trace in traces], "Agreement<br>how far two runs keep the same tokens"
    )


def _overlap_figure(overlap: Reals, names: list[str], title: str) -> go.Figure:
    few = len(names) <= 10
    ticks = {"tickmode": "array", "tickvals": list(range(len(names))), "ticktext": names} if few else {"nticks": 12}
    figure = go.Figure(
        go.Heatmap(
            z=overlap.astype(np.float32),
            customdata=[[f"{one} and {other}" for other in names] for one in names],
            texttemplate="%{z:.0%}" if few else None,
            textfont={"color": "white"},
            hovertemplate="%{customdata}<br>%{z:.0%} of what either keeps is kept by both<extra></extra>",
            **_blue(zmax=1, title="overlap", tickformat=".0%") | ({"colorscale": GREY_TO_BLUE} if few else {}),
        )
    )
    axis = "" if few else "layer"
    figure = _styled(figure, title, axis, axis)
    figure.update_xaxes(showgrid=False, constrain="domain", automargin=True, **ticks)
    return figure.update_yaxes(
        autorange="reversed", showgrid=False, scaleanchor="x", constrain="domain", automargin=True, **ticks
    )


def _paper_band(figure: go.Figure) -> None:
    low, high = PAPER_RECENCY
    figure.add_hrect(low, high, fillcolor=INK, opacity=0.35, line_width=0, layer="below")


def _line(trace: Trace, index: int, more: str = "") -> dict[str, object]:
    round_, colour = divmod(index, len(COLOURS))
    line = {"color": COLOURS[colour], "width": 2.5, "dash": DASHES[round_ % len(DASHES)]}
    return {"mode": f"lines{more}", "line": line, "name": _name(trace)}


def _blue(zmax: float, title: str, tickformat: str = "") -> dict[str, object]:
    bar = {"title": title, "thickness": 12, "tickformat": tickformat}
    return {"colorscale": BLUES, "zmin": 0, "zmax": zmax, "colorbar": bar}


def _by_layer(figure: go.Figure) -> go.Figure:
    figure.update_xaxes(showgrid=False)
    return figure.update_yaxes(autorange="reversed", showgrid=False)


def _token_ticks(figure: go.Figure, traces: Sequence[Trace]) -> go.Figure:
    """The tokens themselves below their positions, if all runs read the same."""
    labels = [_labels(trace, range(min(survival.N_EARLY, len(trace)))) for trace in traces]
    if labels and all(own == labels[0] for own in labels):
        names = [f"{label} {position}" for position, label in enumerate(labels[0])]
        figure.update_xaxes(tickmode="array", tickvals=list(range(len(names))), ticktext=names, tickangle=-60)
        figure.update_layout(margin={"b": 110})
    return figure


def _labels(trace: Trace, positions: Sequence[int] | np.ndarray) -> list[str]:
    """The tokens at these positions; plotly takes text for markup, so they are escaped."""
    return [html.escape(quoted(trace, int(position)), quote=False) for position in positions]


def _name(trace: Trace) -> str:
    return html.escape(str(trace.policy), quote=False)


def _styled(figure: go.Figure, title: str, x: str, y: str) -> go.Figure:
    named = [trace for trace in figure.data if trace.type != "heatmap"]  # the legend's entries
    figure.update_layout(
        plain_layout(title),
        font_size=13,
        margin_t=84 + 18 * math.ceil(len(named) / 3),
        showlegend=True,
        bargap=0.25,
        hoverlabel={"namelength": -1},
    )
    figure.update_xaxes(title=x, gridcolor=GRID, zeroline=False)
    return figure.update_yaxes(title=y, gridcolor=GRID, zeroline=False)
