"""Figure: whether a fact hidden in a text is found, at every depth and length."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from core.experiments.haystack import NeedleResult, by_policy
from viz.figures.style import GREY_TO_BLUE, colour_bar, escaped, styled
from viz.words.catalogue import _
from viz.words.policies import policy_name

SIDE_BY_SIDE = 3  # matrices, one per policy
FOUND = {True: "✓", False: "✗"}


def needle_figure(results: Sequence[NeedleResult]) -> go.Figure:
    """One matrix of depth × length per policy: ✓ if the fact was found, else ✗; colour and number are the share kept.

    Cells that have no result yet are empty.
    """
    policies = by_policy(results)
    lengths = sorted({result.length for result in results})
    depths = sorted({result.depth for result in results})
    columns = max(1, min(SIDE_BY_SIDE, len(policies)))
    rows = max(1, -(-len(policies) // columns))
    figure = go.Figure().set_subplots(
        rows=rows,
        cols=columns,
        subplot_titles=[escaped(policy_name(own[0].policy)) for own in policies],
        shared_xaxes="all",
        shared_yaxes="all",
        vertical_spacing=0.28 / rows,
        horizontal_spacing=0.04,
    )
    for i, own in enumerate(policies):
        share = np.full((len(depths), len(lengths)), np.nan)
        marks = np.full(share.shape, "", object)
        answers = np.full(share.shape, "", object)
        for result in own:
            cell = depths.index(result.depth), lengths.index(result.length)
            share[cell] = result.fate.at_question
            marks[cell] = f"{FOUND[result.found]} {result.fate.at_question:.0%}"
            answers[cell] = escaped(result.answer)
        figure.add_heatmap(
            z=share,
            x=[f"{length:,}" for length in lengths],
            y=[f"{depth:.0%}" for depth in depths],
            text=marks,
            texttemplate="%{text}",
            textfont={"color": "white", "size": 13},
            customdata=answers,
            hovertemplate=_(
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
    bar = colour_bar(_("share kept"), ".0%")
    figure.update_layout(coloraxis={"colorscale": GREY_TO_BLUE, "cmin": 0, "cmax": 1, "colorbar": bar})
    styled(figure, _("Is the fact found? ✓ yes, ✗ no, and how much of it was kept when the question came"))
    figure.update_xaxes(showgrid=False, type="category", showticklabels=True)
    figure.update_yaxes(showgrid=False, type="category", autorange="reversed")
    figure.update_xaxes(title=_("length of the text (tokens)"), row=rows)
    return figure.update_yaxes(title=_("depth of the fact"), col=1)
