"""What all figures share: colours, layout, and what tokens and runs are called in them.

Blue is kept, orange just evicted, grey evicted, as in the maps. A figure does not know whether its page is light or
dark, so backgrounds are transparent, grey is half transparent, and the blue is readable on both.

Plotly imports its classes when one is first named, which takes long. Type annotations would name them as soon as the
app starts, so the modules here do not evaluate theirs (`from __future__ import annotations`).
"""

from __future__ import annotations

import html
from collections.abc import Sequence

import plotly.graph_objects as go

from core.trace import Trace
from viz.maps import colours
from viz.words.catalogue import _
from viz.words.policies import policy_name, policy_parts
from viz.words.sentences import quoted

KEPT_RGB, EVICTED_RGB, EVICTED_OPACITY = (31, 131, 184), (128, 128, 128), 0.3


def _rgba(red: int, green: int, blue: int, opacity: float) -> str:
    return f"rgba({red},{green},{blue},{opacity})"


def kept(opacity: float) -> str:
    """The blue of kept tokens at this opacity, from 0 to 1."""
    return _rgba(*KEPT_RGB, opacity)


KEPT, EVICTED = f"#{bytes(KEPT_RGB).hex()}", _rgba(*EVICTED_RGB, EVICTED_OPACITY)
JUST_EVICTED = colours.JUST_EVICTED.light
INK = "#7f7f7f"
NOTHING = "rgba(0,0,0,0)"

GRID = "rgba(127,127,127,0.2)"
COLOURS = (KEPT, JUST_EVICTED, "#2e9e6b", "#a565c4", "#b8961a", "#d4477a", INK)  # of the first, second … run
POLICY_COLOURS = {
    "tova": KEPT,
    "h2o": JUST_EVICTED,
    "window+i": "#2a9d6f",
    "window": "#b0478c",
    "tova-head": "#6cb6dd",
    "random": "#8d7b5a",
    "oracle": "#b8961a",
    "full": INK,
    "observed": "#c98b2b",
    "snapkv": "#7a5cc4",
    "decay": "#d46a6a",
    "raas": "#3f9c9c",
    "knorm": "#9a6b4f",
    "keydiff": "#c2477a",
    "rkv": "#5b8c2a",
    "caote": "#4f78d6",
    "expected": "#a3a322",
    "own": "#e06fa8",
}
DASHES = ("solid", "dash", "dot", "dashdot")  # once all colours are used
BLUES = [[0, kept(0.06)], [1, kept(1)]]
GREY_TO_BLUE = [[0, "#7d828b"], [1, KEPT]]  # opaque, so that white numbers on it are readable


def styled(figure: go.Figure, title: str, x: str = "", y: str = "") -> go.Figure:
    """Add what all figures share: a title at the left, a legend under it, axis titles, a faint grid, no background."""
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
    """Like `styled`, but with the title in the legend: so it makes room for the legend's rows on a narrow screen."""
    figure = styled(figure, "", x, y)
    heading = {"text": title, "side": "top", "font": {"size": 15}}
    return figure.update_layout(showlegend=True, legend_title=heading, margin_t=30, hoverlabel={"namelength": -1})


def by_layer(figure: go.Figure) -> go.Figure:
    """Put layer 0 on top and remove the grid, for a heat map whose rows are layers."""
    figure.update_xaxes(showgrid=False)
    return figure.update_yaxes(autorange="reversed", showgrid=False)


def colours_of(traces: Sequence[Trace]) -> list[str]:
    """The colour of each run: its policy's, the same in all figures; by their order where two have the same policy."""
    keys = [trace.policy.key for trace in traces]
    if len(set(keys)) == len(keys) and POLICY_COLOURS.keys() >= set(keys):
        return [POLICY_COLOURS[key] for key in keys]
    return [COLOURS[index % len(COLOURS)] for index in range(len(traces))]


def line_of_run(traces: Sequence[Trace], names: Sequence[str], index: int) -> dict[str, object]:
    """The plotly arguments for the line of run `index`: colour, dash and name."""
    dash = DASHES[index // len(COLOURS) % len(DASHES)]
    line = {"color": colours_of(traces)[index], "width": 2.5, "dash": dash}
    return {"mode": "lines", "line": line, "name": names[index]}


def colour_bar(title: str, tickformat: str = "") -> dict[str, object]:
    """The plotly arguments for the colour bar of a heat map."""
    return {"title": {"text": title, "side": "right"}, "thickness": 12, "tickformat": tickformat}


def in_blues(greatest: float, title: str, tickformat: str = "") -> dict[str, object]:
    """The plotly arguments for a heat map from transparent (0) to blue (`greatest`)."""
    return {"colorscale": BLUES, "zmin": 0, "zmax": greatest, "colorbar": colour_bar(title, tickformat)}


def escaped(text: str) -> str:
    """A user's text, escaped, because plotly reads texts as HTML."""
    return html.escape(text, quote=False)


def token_name(trace: Trace, position: int) -> str:
    """A token in quotation marks, escaped for plotly."""
    return escaped(quoted(trace, position))


def run_name(trace: Trace) -> str:
    """A run's policy and budget, escaped for plotly."""
    return escaped(policy_name(trace.policy))


def run_names(traces: Sequence[Trace], *, in_lines: bool = False) -> list[str]:
    """The `run_name` of each, numbered if two are the same; `in_lines` puts the budget below the policy."""
    names = [
        "<br>".join(escaped(part) for part in policy_parts(trace.policy)) if in_lines else run_name(trace)
        for trace in traces
    ]
    if len(set(names)) == len(names):
        return names
    return [_("{number}: {run}", number=number, run=name) for number, name in enumerate(names, 1)]


def short_names(traces: Sequence[Trace]) -> list[str]:
    """The policies without their budgets if these are all the same and no policy occurs twice; else as `run_names`."""
    labels = [policy_parts(trace.policy)[0] for trace in traces]
    same = len({trace.policy.budget for trace in traces}) == 1
    return labels if same and len({*labels}) == len(labels) else run_names(traces)
