"""What became of a passage until somebody asked for it, as plotly figures for light pages and dark ones."""

import html
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from core.experiments.haystack import NeedleResult
from core.measures.evidence import mean_share_kept, share_kept
from core.trace import Trace
from viz.figures.figures import INK, styled, with_legend
from viz.figures.measures import BLUES, COLOURS, DASHES, GREY_TO_BLUE, run_names
from viz.words.lesson_words import Language
from viz.words.say import policy_name, say
from viz.words.sentences import quoted

COLUMNS = 3  # small multiples side by side
FOUND = {True: "✓", False: "✗"}


def evidence_figure(traces: Sequence[Trace], passage: range, question: int, language: Language = "en") -> go.Figure:
    """The share of a passage that is kept after each step, in the mean over layers; one line per trace.

    Of a single trace also every layer, as thin lines.

    Args:
        traces: of one prompt, each with its own answer.
        passage: its positions.
        question: position of the question's first token.
        language: of the words.
    """
    figure, names = go.Figure(), run_names(traces, language)
    if len(traces) == 1:
        for layer, share in enumerate(share_kept(traces[0], passage)):
            figure.add_scatter(
                x=np.arange(passage.start, len(share)),
                y=share[passage.start :],
                mode="lines",
                line={"color": INK, "width": 1},
                opacity=0.6,
                name=say(language, "each layer"),
                legendgroup="layers",
                showlegend=layer == 0,
                hovertemplate=say(
                    language, "layer {layer}<br>step {step}<br>{share} kept", layer=layer, step="%{x}", share="%{y:.0%}"
                )
                + "<extra></extra>",
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
            customdata=[html.escape(quoted(trace, step, language), quote=False) for step in steps],
            hovertemplate=say(
                language,
                "step {step}, reading {token}<br>{share} of the passage kept",
                step="%{x}",
                token="%{customdata}",
                share="%{y:.0%}",
            ),
        )
    _marked(figure, passage, question, traces[0].prompt_length if traces else question, language)
    step, share = say(language, "step (token being read)"), say(language, "share kept")
    with_legend(figure, say(language, "How much of the passage is kept"), step, share)
    return figure.update_yaxes(tickformat=".0%", range=[0, 1.03])


def evidence_layers_figure(trace: Trace, passage: range, question: int, language: Language = "en") -> go.Figure:
    """The share of a passage that each layer keeps after each step: layers downwards, steps across."""
    figure = go.Figure(
        go.Heatmap(
            z=share_kept(trace, passage)[:, passage.start :],
            x=np.arange(passage.start, len(trace)),
            colorscale=BLUES,
            zmin=0,
            zmax=1,
            colorbar=_share_kept(language),
            hovertemplate=say(
                language,
                "layer {layer}, step {step}<br>{share} of the passage kept",
                layer="%{y}",
                step="%{x}",
                share="%{z:.0%}",
            )
            + "<extra></extra>",
        )
    )
    _marked(figure, passage, question, trace.prompt_length, language)
    policy = html.escape(policy_name(trace.policy, language), quote=False)
    title = f"{policy}<br>{say(language, 'how much of the passage each layer keeps')}"
    styled(figure, title, say(language, "step (token being read)"), say(language, "layer"))
    return figure.update_yaxes(autorange="reversed", showgrid=False).update_xaxes(showgrid=False)


def _share_kept(language: Language) -> dict[str, object]:
    return {"title": {"text": say(language, "share kept"), "side": "right"}, "thickness": 12, "tickformat": ".0%"}


def _marked(figure: go.Figure, passage: range, question: int, answer: int, language: Language) -> None:
    """Where the passage ends and where question and answer begin, as lines with their names beside them."""
    for step, name in ((passage.stop - 1, "passage read"), (question, "question"), (answer, "answer")):
        figure.add_vline(x=step, line={"color": INK, "width": 1.5, "dash": "dot"})
        figure.add_annotation(
            x=step,
            y=1,
            yref="paper",
            text=say(language, name),
            textangle=-90,
            xanchor="right",
            yanchor="top",
            showarrow=False,
            font={"color": INK, "size": 12},
            bgcolor="rgba(127,127,127,0.25)",
        )


def needle_figure(results: Sequence[NeedleResult], language: Language = "en") -> go.Figure:
    """Depth × length, one matrix per policy: ✓ found or ✗ not, the colour and the number the share kept.

    A test that has only begun has empty cells.
    """
    policies = list({str(result.policy): result.policy for result in results}.values())
    lengths = sorted({result.length for result in results})
    depths = sorted({result.depth for result in results})
    columns = max(1, min(COLUMNS, len(policies)))
    rows = max(1, -(-len(policies) // columns))
    figure = make_subplots(
        rows=rows,
        cols=columns,
        subplot_titles=[html.escape(policy_name(policy, language), quote=False) for policy in policies],
        shared_xaxes="all",
        shared_yaxes="all",
        vertical_spacing=0.28 / rows,
        horizontal_spacing=0.04,
    )
    for i, policy in enumerate(policies):
        own = [result for result in results if str(result.policy) == str(policy)]
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
            hovertemplate=say(
                language,
                "{tokens} tokens, depth {depth}<br>{share} of the fact kept when the question came<br>answer: {answer}",
                tokens="%{x}",
                depth="%{y}",
                share="%{z:.0%}",
                answer="%{customdata}",
            )
            + "<extra></extra>",
            coloraxis="coloraxis",
            xgap=2,
            ygap=2,
            row=i // columns + 1,
            col=i % columns + 1,
        )
    bar = _share_kept(language)
    figure.update_layout(coloraxis={"colorscale": GREY_TO_BLUE, "cmin": 0, "cmax": 1, "colorbar": bar})
    title = "Is the fact found? ✓ yes, ✗ no, and how much of it was kept when the question came"
    styled(figure, say(language, title))
    figure.update_xaxes(showgrid=False, type="category", showticklabels=True)
    figure.update_yaxes(showgrid=False, type="category", autorange="reversed")
    figure.update_xaxes(title=say(language, "length of the text (tokens)"), row=rows)
    return figure.update_yaxes(title=say(language, "depth of the fact"), col=1)
