"""What became of a passage until somebody asked for it, as plotly figures for light pages and dark ones."""

import html
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from core.evidence import mean_share_kept, share_kept
from core.haystack import NeedleResult
from core.trace import Trace
from viz.figures import INK, styled, with_legend
from viz.measures import BLUES, COLOURS, DASHES, GREY_TO_BLUE, run_names
from viz.sentences import quoted

COLUMNS = 3  # small multiples side by side
FOUND = {True: "✓", False: "✗"}


def evidence_figure(traces: Sequence[Trace], passage: range, question: int) -> go.Figure:
    """The share of a passage that is kept after each step, in the mean over layers; one line per trace.

    Of a single trace also every layer, as thin lines.

    Args:
        traces: of one prompt, each with its own answer.
        passage: its positions.
        question: position of the question's first token.
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
                name="each layer",
                legendgroup="layers",
                showlegend=layer == 0,
                hovertemplate=f"layer {layer}<br>step %{{x}}<br>%{{y:.0%}} kept<extra></extra>",
            )
    for index, trace in enumerate(traces):
        steps = np.arange(passage.start, len(trace))
        round_, colour = divmod(index, len(COLOURS))
        figure.add_scatter(
            x=steps,
            y=mean_share_kept(trace, passage)[passage.start :],
            mode="lines",
            line={"color": COLOURS[colour], "width": 2.5, "dash": DASHES[round_ % len(DASHES)]},
            name=names[index],
            customdata=[html.escape(quoted(trace, step), quote=False) for step in steps],
            hovertemplate="step %{x}, reading %{customdata}<br>%{y:.0%} of the passage kept",
        )
    _marked(figure, passage, question, traces[0].prompt_length if traces else question)
    with_legend(figure, "How much of the passage is kept", "step (token being read)", "share kept")
    return figure.update_yaxes(tickformat=".0%", range=[0, 1.03])


def evidence_layers_figure(trace: Trace, passage: range, question: int) -> go.Figure:
    """The share of a passage that each layer keeps after each step: layers downwards, steps across."""
    figure = go.Figure(
        go.Heatmap(
            z=share_kept(trace, passage)[:, passage.start :],
            x=np.arange(passage.start, len(trace)),
            colorscale=BLUES,
            zmin=0,
            zmax=1,
            colorbar={"title": {"text": "share kept", "side": "right"}, "thickness": 12, "tickformat": ".0%"},
            hovertemplate="layer %{y}, step %{x}<br>%{z:.0%} of the passage kept<extra></extra>",
        )
    )
    _marked(figure, passage, question, trace.prompt_length)
    title = f"{html.escape(str(trace.policy), quote=False)}<br>how much of the passage each layer keeps"
    styled(figure, title, "step (token being read)", "layer")
    return figure.update_yaxes(autorange="reversed", showgrid=False).update_xaxes(showgrid=False)


def _marked(figure: go.Figure, passage: range, question: int, answer: int) -> None:
    """Where the passage ends and where question and answer begin, as lines with their names beside them."""
    for step, name in ((passage.stop - 1, "passage read"), (question, "question"), (answer, "answer")):
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


def needle_figure(results: Sequence[NeedleResult]) -> go.Figure:
    """Depth × length, one matrix per policy: ✓ found or ✗ not, the colour and the number the share kept.

    A test that has only begun has empty cells.
    """
    policies = list(dict.fromkeys(str(result.policy) for result in results))
    lengths = sorted({result.length for result in results})
    depths = sorted({result.depth for result in results})
    columns = max(1, min(COLUMNS, len(policies)))
    rows = max(1, -(-len(policies) // columns))
    figure = make_subplots(
        rows=rows,
        cols=columns,
        subplot_titles=[html.escape(policy, quote=False) for policy in policies],
        shared_xaxes="all",
        shared_yaxes="all",
        vertical_spacing=0.28 / rows,
        horizontal_spacing=0.04,
    )
    for i, policy in enumerate(policies):
        own = [result for result in results if str(result.policy) == policy]
        share = np.full((len(depths), len(lengths)), np.nan)
        marks = np.full(share.shape, "", object)
        answers = np.full(share.shape, "", object)
        for result in own:
            cell = depths.index(result.depth), lengths.index(result.length)
            share[cell] = result.fate.at_question
            marks[cell] = f"{FOUND[result.found]} {result.fate.at_question:.0%}"
            answers[cell] = html.escape(result.answer, quote=False)
        figure.add_heatmap(
            z=share,
            x=[f"{length:,}" for length in lengths],
            y=[f"{depth:.0%}" for depth in depths],
            text=marks,
            texttemplate="%{text}",
            textfont={"color": "white", "size": 13},
            customdata=answers,
            hovertemplate="%{x} tokens, depth %{y}<br>%{z:.0%} of the fact kept when the question came"
            "<br>answer: %{customdata}<extra></extra>",
            coloraxis="coloraxis",
            xgap=2,
            ygap=2,
            row=i // columns + 1,
            col=i % columns + 1,
        )
    bar = {"title": {"text": "share kept", "side": "right"}, "thickness": 12, "tickformat": ".0%"}
    figure.update_layout(coloraxis={"colorscale": GREY_TO_BLUE, "cmin": 0, "cmax": 1, "colorbar": bar})
    styled(figure, "Is the fact found? ✓ yes, ✗ no, and how much of it was kept when the question came")
    figure.update_xaxes(showgrid=False, type="category", showticklabels=True)
    figure.update_yaxes(showgrid=False, type="category", autorange="reversed")
    figure.update_xaxes(title="length of the text (tokens)", row=rows)
    return figure.update_yaxes(title="depth of the fact", col=1)
