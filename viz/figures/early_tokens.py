"""For how long the first tokens of a text are kept."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from core.measures.survival import N_EARLY, early_steps_kept
from core.trace import Trace
from viz.figures.style import by_layer, in_blues, line_of_run, run_name, run_names, styled, token_name, with_legend
from viz.words.lesson_words import Language
from viz.words.run_sentence import first_token_kept
from viz.words.say import say


def early_figure(traces: Sequence[Trace], language: Language = "en") -> go.Figure:
    """For how many steps the first tokens were kept, in the mean over layers (figure 9 of the paper)."""
    figure, names = go.Figure(), run_names(traces, language)
    same = len({tuple(_early(trace, language)) for trace in traces}) == 1
    hover = say(
        language,
        "token {token}<br>kept for {steps} of {all} steps",
        token="%{customdata[0]}",
        steps="%{y:.0f}",
        all="%{customdata[1]}",
    )
    for index, trace in enumerate(traces):
        steps = early_steps_kept(trace).mean(axis=0)
        positions = np.arange(len(steps))
        figure.add_scatter(
            x=_early(trace, language) if same else positions,
            y=steps,
            customdata=np.stack([_early(trace, language), len(trace) - positions], axis=1),
            hovertemplate=hover,
            **line_of_run(names, index) | {"mode": "lines+markers"},
        )
    title, token = say(language, "The first tokens"), say(language, "token (position)")
    figure = with_legend(figure, title, token, say(language, "mean steps kept"))
    return figure.update_xaxes(tickangle=-60, automargin=True).update_yaxes(rangemode="tozero")


def early_layers_figure(trace: Trace, language: Language = "en") -> go.Figure:
    """For how many steps every layer kept each of the first tokens."""
    figure = go.Figure(
        go.Heatmap(
            z=early_steps_kept(trace).astype(np.float32),
            x=_early(trace, language),
            hovertemplate=say(
                language,
                "layer {layer}<br>token {token}<br>kept for {steps} steps",
                layer="%{y}",
                token="%{x}",
                steps="%{z:.0f}",
            )
            + "<extra></extra>",
            **in_blues(len(trace), say(language, "steps kept")),
        )
    )
    first = say(language, "first token kept to the end in {share}", share=first_token_kept(trace, language))
    figure = styled(
        figure, f"{run_name(trace, language)}<br>{first}", say(language, "token (position)"), say(language, "layer")
    )
    return by_layer(figure).update_xaxes(tickangle=-60, automargin=True)


def _early(trace: Trace, language: Language) -> list[str]:
    """The first tokens, each with its position, which makes it unique."""
    return [f"{token_name(trace, position, language)} {position}" for position in range(min(N_EARLY, len(trace)))]
