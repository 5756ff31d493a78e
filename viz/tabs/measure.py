"""Measure: what kind of tokens survive."""

from typing import Any

import gradio as gr

from core import Trace
from core.kinds import longest_lived_rows
from viz.measures import (
    age_figure,
    early_figure,
    kinds_figure,
    layer_overlap_figure,
    lives_figure,
    recency_figure,
    survival_figure,
)
from viz.tabs.models import QUIETLY


def measure_tab(tab: gr.Tab, trace: gr.State) -> None:
    """What kind of tokens the run in the Explore tab keeps, drawn when the tab is opened."""
    gr.Markdown(
        "### What kind of tokens survive?\n"
        "Of the run that the Explore tab shows. Where the paper gives a number, it stands beside ours; its texts and "
        "models are others, so compare the order rather than the size."
    )
    plots = []
    for _ in range(3):
        with gr.Row():
            plots += [gr.Plot(show_label=False, min_width=320), gr.Plot(show_label=False, min_width=320)]
    plots.append(gr.Plot(show_label=False))
    longest = gr.Dataframe(label="The longest-lived tokens", interactive=False, elem_id="longest-lived")
    tab.select(measure, trace, [*plots, longest], **QUIETLY)


def measure(trace: Trace | None) -> list[Any]:
    """Figures of what the run keeps, and the table of its longest-lived tokens."""
    if trace is None or len(trace) < 2:
        return [gr.skip()] * 8
    figures = (recency_figure, age_figure, early_figure, survival_figure, kinds_figure)
    rows = longest_lived_rows(trace)
    values = [[round(value, 1) if isinstance(value, float) else value for value in row.values()] for row in rows]
    table = {"headers": list(rows[0]), "data": values}
    drawn = [figure([trace]) for figure in figures]
    return [*drawn, layer_overlap_figure(trace), lives_figure(trace), gr.update(value=table)]
