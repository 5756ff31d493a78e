"""Figure: where in a text forgetting costs most."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from core.measures.costs import Comparison, delta_nll
from viz.figures.style import INK, line_of_run, run_names, token_name, with_legend
from viz.words.catalogue import _


def losses_figure(comparison: Comparison) -> go.Figure:
    """How many nats each policy has lost up to each token, beside the full model: the steeper, the more it costs there.

    If all have the same budget, a dotted line is where it is full and forgetting begins.
    """
    figure, names = go.Figure(), run_names(comparison.traces)
    tokens = [token_name(comparison.full, position) for position in range(len(comparison))]
    for index, delta in enumerate(np.nan_to_num(delta_nll(comparison))):
        figure.add_scatter(
            x=np.arange(len(delta)),
            y=delta.cumsum(dtype=np.float64),
            customdata=[[token, f"{nats:+.2f}"] for token, nats in zip(tokens, delta.tolist(), strict=True)],
            hovertemplate=_(
                "token {position}, {token}<br>{nats} nats here, {sum} up to here",
                position="%{x}",
                token="%{customdata[0]}",
                nats="%{customdata[1]}",
                sum="%{y:.1f}",
            ),
            **line_of_run(comparison.traces, names, index),
        )
    budgets = {trace.policy.budget for trace in comparison.traces}
    full_at = budgets.pop() if len(budgets) == 1 else None
    if full_at is not None and full_at < len(comparison):
        figure.add_vline(full_at, line={"color": INK, "width": 1.5, "dash": "dot"})
        figure.add_annotation(
            x=full_at,
            y=1,
            yref="paper",
            text=_("the budget is full"),
            xanchor="left",
            yanchor="top",
            showarrow=False,
            font={"color": INK, "size": 12},
        )
    return with_legend(figure, _("Lost up to each token"), _("token"), _("nats more than the full model"))
