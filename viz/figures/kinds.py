"""Figure: for how many steps each kind of token is kept, beside the paper's numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from core.measures import kinds, paper
from core.measures.kinds import KindLife, lives_of_kinds
from core.trace import Trace
from viz.figures.style import INK, NOTHING, colours_of, run_names, with_legend
from viz.words.catalogue import _
from viz.words.names import named

BESIDE: dict[str, tuple[str, ...]] = {
    kinds.POSSESSIVE: ("possessive ’s",),
    kinds.CLOSING_QUOTE: ("closing quote",),
    kinds.CURRENCY: ("$",),
    kinds.CLOSING_BRACKET: ("closing bracket",),
    kinds.SENTENCE_END: ("full stop",),
    kinds.COMMA: ("comma",),
    kinds.NEWLINE: ("newline",),
    kinds.NUMBER: ("number",),
    kinds.CAPITALISED: ("proper noun", "plural proper noun"),
    kinds.FUNCTION_WORD: ("to", "modal", "determiner", "possessive pronoun", "preposition"),
    kinds.OTHER_WORD: ("noun",),
    kinds.ALL_TOKENS: ("average",),
}
"""The parts of speech in the paper's tables that are drawn beside each of our kinds."""

BUDGETS = tuple(paper.LIVES["average"])
SYMBOLS = ("circle", "diamond", "square", "x")


def kinds_figure(traces: Sequence[Trace]) -> go.Figure:
    """Mean steps kept by kind of token, beside the paper's (tables 2, 5); sorted by the first run that has the kind.

    The paper's numbers are for its budget nearest to a run's; they have their own axis, because its texts are longer.
    """
    lives = [{life.kind: life for life in lives_of_kinds(trace)} for trace in traces]
    found = {kind: life for of_trace in reversed(lives) for kind, life in of_trace.items()}
    rows = sorted(found, key=lambda kind: -found[kind].steps)
    figure = go.Figure().set_subplots(1, 2, shared_yaxes=True, horizontal_spacing=0.04, column_widths=[0.58, 0.42])
    for name, colour, of_trace in zip(run_names(traces), colours_of(traces), lives, strict=True):
        own = [of_trace[kind] for kind in rows if kind in of_trace]
        _add_bars(figure, own, name, colour)
    budgets = {trace.policy.budget for trace in traces if trace.policy.budget is not None}
    papers = sorted({paper_budget(budget) for budget in budgets})
    for budget, symbol in zip(papers, SYMBOLS, strict=False):
        figure.add_scatter(**_papers(rows, budget), marker_symbol=symbol, row=1, col=2)
    figure = with_legend(figure, _("Which tokens live long"), "", "")
    figure.update_xaxes(title=_("steps, here"), rangemode="tozero", row=1, col=1)
    figure.update_xaxes(
        title=_("steps, paper"), rangemode="tozero", nticks=3, tickformat="~s", tickangle=0, row=1, col=2
    )
    kinds_ = [named(kind) for kind in rows]
    names = [
        f"{name} ({found[kind].tokens})".replace("word inside", "word<br>inside")
        for kind, name in zip(rows, kinds_, strict=True)
    ]
    figure.update_yaxes(categoryorder="array", categoryarray=kinds_, range=[len(rows) - 0.4, -0.6])
    figure.update_yaxes(tickmode="array", tickvals=list(range(len(rows))), ticktext=names, automargin=True)
    return figure.update_layout(
        height=190 + len(rows) * (20 + 12 * len(traces)), legend_traceorder="normal", bargap=0.25
    )


def _add_bars(figure: go.Figure, lives: Sequence[KindLife], name: str, colour: str) -> None:
    figure.add_bar(
        x=[life.steps for life in lives],
        y=[named(life.kind) for life in lives],
        orientation="h",
        name=name,
        marker={"color": colour},
        customdata=[[life.tokens, life.kept_to_the_end] for life in lives],
        hovertemplate=_(
            "{kind}<br>{steps} steps kept, the mean of {tokens} tokens<br>{share} kept to the end",
            kind="%{y}",
            steps="%{x:.0f}",
            tokens="%{customdata[0]}",
            share="%{customdata[1]:.0%}",
        ),
    )


def _papers(rows: Sequence[str], budget: int) -> dict[str, Any]:
    """The arguments of a scatter plot of the paper's numbers at one budget."""
    dots = [(kind, name, paper.LIVES[name][budget]) for kind in rows for name in BESIDE.get(kind, ())]
    return {
        "x": [steps for _kind, _name, steps in dots],
        "y": [named(kind) for kind, _name, _steps in dots],
        "customdata": [named(name) for _kind, name, _steps in dots],
        "mode": "markers",
        "marker": {"color": NOTHING, "size": 9, "line": {"color": INK, "width": 2}},
        "name": _("the paper, budget {budget:,}", budget=budget),
        "hovertemplate": _("{kind}<br>{steps} steps kept (tables 2 and 5)", kind="%{customdata}", steps="%{x}"),
    }


def paper_budget(budget: int) -> int:
    """The budget of the paper's tables 2 and 5 that is nearest to this one, by ratio."""
    return min(BUDGETS, key=lambda papers: abs(math.log(papers / budget)))
