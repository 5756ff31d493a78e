"""What kind of tokens survive, as plotly figures, with the paper's own figures beside ours where it gives one.

Several runs share a figure as lines of different colours, always in the order given. Figures stand alone and read on
a light page as on a dark one, like those in `viz.figures.figures`. A number of the paper's is marked as such, with its
table or figure: Oren et al. 2024, arXiv 2401.06104 v2.
"""

import html
import math
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from core.measures import kinds, survival
from core.measures.overlap import head_overlap, layer_overlap, trace_overlap
from core.measures.survival import Reals
from core.trace import Trace
from viz.figures.figures import INK, JUST_EVICTED, KEPT, styled, with_legend
from viz.words.lesson_words import Language
from viz.words.say import named, policy_name, policy_parts, say
from viz.words.sentences import quoted

COLOURS = (KEPT, JUST_EVICTED, "#2e9e6b", "#a565c4", "#b8961a", "#d4477a", INK)
DASHES = ("solid", "dash", "dot", "dashdot")  # once all colours are used
BLUES = [[0, "rgba(31,131,184,0.06)"], [1, "rgba(31,131,184,1)"]]
GREY_TO_BLUE = [[0, "#7d828b"], [1, KEPT]]  # opaque: white numbers read on it

PAPER_RECENCY = (0.73, 0.76)  # section 7.3, without a definition of recent
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


def recency_figure(traces: Sequence[Trace], language: Language = "en") -> go.Figure:
    """The share of kept rows that are among the last `budget` tokens, after every step; the mean over layers.

    Of a single run also the span from its lowest to its highest layer. The paper's share is a band.
    """
    figure, names = go.Figure(), run_names(traces, language)
    recent = say(language, "{share} of the rows are recent", share="%{y:.0%}")
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
                name=say(language, "from the lowest layer to the highest"),
            )
        figure.add_scatter(
            x=steps,
            y=share.mean(axis=0),
            customdata=_labels(trace, steps, language),
            hovertemplate=say(language, "step {step}, {token}", step="%{x}", token="%{customdata}") + f"<br>{recent}",
            **_line(names, index),
        )
    title = say(language, "Recency after every step")
    return _shares(with_legend(figure, title, say(language, "step"), say(language, "recent rows")), language)


def recency_by_layer_figure(traces: Sequence[Trace], language: Language = "en") -> go.Figure:
    """The same by layer, in the mean over the steps at which the policy is at work."""
    figure, names = go.Figure(), run_names(traces, language)
    recent = say(language, "{share} of the rows are recent", share="%{y:.0%}")
    hover = f"{say(language, 'layer {layer}', layer='%{x}')}<br>{recent}"
    for index, trace in enumerate(traces):
        if trace.policy.budget is not None:
            share = survival.mean_recent_share(trace)
            figure.add_scatter(x=np.arange(len(share)), y=share, hovertemplate=hover, **_line(names, index, "+markers"))
    title = say(language, "Recency by layer")
    return _shares(with_legend(figure, title, say(language, "layer"), say(language, "recent rows")), language)


def _shares(figure: go.Figure, language: Language) -> go.Figure:
    """Shares of recent rows, with the paper's as a band."""
    low, high = PAPER_RECENCY
    figure.add_hrect(low, high, fillcolor=INK, opacity=0.35, line_width=0, layer="below")
    # It stands beside the lines in the legend: on the band it would lie under them.
    figure.add_scatter(
        x=[None],
        y=[None],
        mode="markers",
        marker={"symbol": "square", "size": 13, "color": INK, "opacity": 0.5},
        name=say(language, "the paper: {low:.0f}–{high:.0f} %", low=100 * low, high=100 * high),
    )
    return figure.update_yaxes(tickformat=".0%", range=[0, 1.03])


def age_figure(traces: Sequence[Trace], language: Language = "en") -> go.Figure:
    """The share of kept rows that are at most so old, in the mean over layers, against Window's.

    Ages are in multiples of the budget, which makes Window the same line for every budget.
    """
    figure, oldest, names = go.Figure(), 1.5, run_names(traces, language)
    younger = say(
        language,
        "{share} of the rows are younger than {age} steps,<br>{times} times the budget",
        share="%{y:.0%}",
        age="%{customdata}",
        times="%{x:.2f}",
    )
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
            hovertemplate=younger,
            **_line(names, index),
        )
    figure.add_scatter(
        x=[0, 1, oldest],
        y=[0, 1, 1],
        mode="lines",
        line={"color": INK, "width": 1.5, "dash": "dot"},
        name=say(language, "Window, any budget"),
        hoverinfo="skip",
    )
    title, age = say(language, "The ages of kept rows"), say(language, "younger than … times the budget")
    figure = with_legend(figure, title, age, say(language, "share of kept rows"))
    return figure.update_xaxes(range=[0, oldest]).update_yaxes(tickformat=".0%", range=[0, 1.03])


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
        steps = survival.early_steps_kept(trace).mean(axis=0)
        positions = np.arange(len(steps))
        figure.add_scatter(
            x=_early(trace, language) if same else positions,
            y=steps,
            customdata=np.stack([_early(trace, language), len(trace) - positions], axis=1),
            hovertemplate=hover,
            **_line(names, index, "+markers"),
        )
    title, token = say(language, "The first tokens"), say(language, "token (position)")
    figure = with_legend(figure, title, token, say(language, "mean steps kept"))
    return figure.update_xaxes(tickangle=-60, automargin=True).update_yaxes(rangemode="tozero")


def early_layers_figure(trace: Trace, language: Language = "en") -> go.Figure:
    """For how many steps every layer kept each of the first tokens."""
    figure = go.Figure(
        go.Heatmap(
            z=survival.early_steps_kept(trace).astype(np.float32),
            x=_early(trace, language),
            hovertemplate=say(
                language,
                "layer {layer}<br>token {token}<br>kept for {steps} steps",
                layer="%{y}",
                token="%{x}",
                steps="%{z:.0f}",
            )
            + "<extra></extra>",
            **_blue(zmax=len(trace), title=say(language, "steps kept")),
        )
    )
    first = say(language, "first token kept to the end in {share}", share=first_token_kept(trace, language))
    figure = styled(
        figure, f"{_name(trace, language)}<br>{first}", say(language, "token (position)"), say(language, "layer")
    )
    return _by_layer(figure).update_xaxes(tickangle=-60, automargin=True)


def survival_figure(traces: Sequence[Trace], language: Language = "en") -> go.Figure:
    """The probability that a token is still kept at an age, over all layers."""
    figure, names = go.Figure(), run_names(traces, language)
    hover = say(
        language,
        "{share} of the tokens are still kept {age} steps after they were read<br>{cases} cases known to last as long",
        share="%{y:.1%}",
        age="%{x}",
        cases="%{customdata}",
    )
    for index, trace in enumerate(traces):
        curves = survival.survival(trace)
        figure.add_scatter(
            x=np.arange(len(trace)),
            y=curves.overall,
            customdata=curves.at_risk,
            hovertemplate=hover,
            line_shape="hv",
            **_line(names, index),
        )
    title, age = say(language, "Survival"), say(language, "age: steps since the token was read")
    figure = with_legend(figure, title, age, say(language, "still kept"))
    return figure.update_yaxes(tickformat=".0%", range=[0, 1.03])


def survival_layers_figure(trace: Trace, language: Language = "en") -> go.Figure:
    """The probability that a token is still kept at an age, for every layer."""
    kept = survival.survival(trace).by_layer
    figure = go.Figure(
        go.Heatmap(
            z=kept.astype(np.float32),
            hovertemplate=say(
                language,
                "layer {layer}<br>{share} still kept {age} steps after they were read",
                layer="%{y}",
                share="%{z:.0%}",
                age="%{x}",
            )
            + "<extra></extra>",
            **_blue(zmax=1, title=say(language, "still kept"), tickformat=".0%"),
        )
    )
    if trace.policy.budget is not None and trace.policy.budget < len(trace):
        figure.add_vline(
            trace.policy.budget - 0.5,
            line={"color": JUST_EVICTED, "width": 1.5, "dash": "dot"},
            annotation={
                "text": say(language, "Window ends here"),
                "font": {"color": JUST_EVICTED, "size": 11},
                "yanchor": "bottom",
            },
        )
    title = f"{_name(trace, language)}<br>{say(language, 'tokens still kept, by age and layer')}"
    return _by_layer(
        styled(figure, title, say(language, "age: steps since the token was read"), say(language, "layer"))
    )


def kinds_figure(traces: Sequence[Trace], language: Language = "en") -> go.Figure:
    """Mean steps kept by kind of token, the longest-lived of the first run on top, beside the paper's (tables 2, 5).

    The paper's column is of the budget nearest to a run's; it has an axis of its own, because its texts are longer.
    """
    lives = [{life.kind: life for life in kinds.lives_of_kinds(trace)} for trace in traces]
    found = {kind: life for of_trace in reversed(lives) for kind, life in of_trace.items()}
    rows = sorted(found, key=lambda kind: -found[kind].steps)
    budgets = sorted({paper_budget(trace.policy.budget) for trace in traces if trace.policy.budget is not None})
    figure = make_subplots(1, 2, shared_yaxes=True, horizontal_spacing=0.04, column_widths=[0.58, 0.42])
    for index, (name, of_trace) in enumerate(zip(run_names(traces, language), lives, strict=True)):
        own = [of_trace[kind] for kind in rows if kind in of_trace]
        figure.add_bar(
            x=[life.steps for life in own],
            y=[named(life.kind, language) for life in own],
            orientation="h",
            name=name,
            marker={"color": COLOURS[index % len(COLOURS)]},
            customdata=[[life.tokens, life.kept_to_the_end] for life in own],
            hovertemplate=say(
                language,
                "{kind}<br>{steps} steps kept, the mean of {tokens} tokens<br>{share} kept to the end",
                kind="%{y}",
                steps="%{x:.0f}",
                tokens="%{customdata[0]}",
                share="%{customdata[1]:.0%}",
            ),
        )
    for budget, symbol in zip(budgets, ("circle", "diamond", "square", "x"), strict=False):
        column = PAPER_BUDGETS.index(budget)
        dots = [(kind, name, steps[column]) for kind in rows for name, steps in PAPER_LIVES.get(kind, {}).items()]
        figure.add_scatter(
            x=[steps for _, _, steps in dots],
            y=[named(kind, language) for kind, _, _ in dots],
            customdata=[named(name, language) for _, name, _ in dots],
            mode="markers",
            marker={"color": "rgba(0,0,0,0)", "symbol": symbol, "size": 9, "line": {"color": INK, "width": 2}},
            name=say(language, "the paper, budget {budget:,}", budget=budget),
            hovertemplate=say(
                language, "{kind}<br>{steps} steps kept (tables 2 and 5)", kind="%{customdata}", steps="%{x}"
            ),
            **{"row": 1, "col": 2},
        )
    figure = with_legend(figure, say(language, "Which tokens live long"), "", "")
    figure.update_xaxes(title=say(language, "steps, here"), rangemode="tozero", row=1, col=1)
    figure.update_xaxes(title=say(language, "steps, paper"), rangemode="tozero", nticks=4, row=1, col=2)
    kinds_ = [named(kind, language) for kind in rows]
    names = [
        f"{name} ({found[kind].tokens})".replace("word inside", "word<br>inside")
        for kind, name in zip(rows, kinds_, strict=True)
    ]
    figure.update_yaxes(categoryorder="array", categoryarray=kinds_, range=[len(rows) - 0.4, -0.6])
    figure.update_yaxes(tickmode="array", tickvals=list(range(len(rows))), ticktext=names, automargin=True)
    return figure.update_layout(
        height=190 + len(rows) * (20 + 12 * len(traces)), legend_traceorder="normal", bargap=0.25
    )


def paper_budget(budget: int) -> int:
    """The budget of the paper's tables 2 and 5 that is nearest to this one, by ratio."""
    return min(PAPER_BUDGETS, key=lambda papers: abs(math.log(papers / budget)))


def layer_overlap_figure(trace: Trace, language: Language = "en") -> go.Figure:
    """How far any two layers keep the same tokens."""
    overlap = layer_overlap(trace)
    names = [say(language, "layer {layer}", layer=layer) for layer in range(len(overlap))]
    title = f"{_name(trace, language)}<br>{say(language, 'agreement of its layers')}"
    return _overlap_figure(overlap, names, title, language)


def head_overlap_figure(trace: Trace, layer: int, language: Language = "en") -> go.Figure:
    """How far any two KV heads of a layer keep the same tokens."""
    overlap = head_overlap(trace)[layer]
    names = [say(language, "KV head {group}", group=head) for head in range(len(overlap))]
    of_layer = say(language, "agreement of the KV heads of layer {layer}", layer=layer)
    return _overlap_figure(overlap, names, f"{_name(trace, language)}<br>{of_layer}", language)


def trace_overlap_figure(traces: Sequence[Trace], language: Language = "en") -> go.Figure:
    """How far any two runs over the same tokens keep the same of them, in the mean over layers.

    Raises:
        BadInput: the runs are over different tokens or have different numbers of layers.
    """
    overlap, names = trace_overlap(traces), run_names(traces, language)
    short = run_names(traces, language, in_lines=True)
    return _overlap_figure(overlap, names, say(language, "Agreement of the runs"), language, short)


def _overlap_figure(
    overlap: Reals, names: list[str], title: str, language: Language, short: list[str] | None = None
) -> go.Figure:
    few = len(names) <= 10
    ticktext = short or names
    ticks = {"tickmode": "array", "tickvals": list(range(len(names))), "ticktext": ticktext} if few else {"nticks": 12}
    figure = go.Figure(
        go.Heatmap(
            z=overlap.astype(np.float32),
            customdata=[[say(language, "{one} and {other}", one=one, other=other) for other in names] for one in names],
            texttemplate="%{z:.0%}" if few else None,
            textfont={"color": "white"},
            hovertemplate="%{customdata}<br>"
            + say(language, "{share} of what either keeps is kept by both", share="%{z:.0%}")
            + "<extra></extra>",
            **_blue(zmax=1, title=say(language, "overlap"), tickformat=".0%")
            | ({"colorscale": GREY_TO_BLUE} if few else {}),
        )
    )
    axis = "" if few else say(language, "layer")
    figure = styled(figure, title, axis, axis)
    figure.update_xaxes(showgrid=False, automargin=True, **ticks)
    return figure.update_yaxes(autorange="reversed", showgrid=False, automargin=True, **ticks)


def _line(names: list[str], index: int, more: str = "") -> dict[str, object]:
    round_, colour = divmod(index, len(COLOURS))
    line = {"color": COLOURS[colour], "width": 2.5, "dash": DASHES[round_ % len(DASHES)]}
    return {"mode": f"lines{more}", "line": line, "name": names[index]}


def _blue(zmax: float, title: str, tickformat: str = "") -> dict[str, object]:
    bar = {"title": {"text": title, "side": "right"}, "thickness": 12, "tickformat": tickformat}
    return {"colorscale": BLUES, "zmin": 0, "zmax": zmax, "colorbar": bar}


def _by_layer(figure: go.Figure) -> go.Figure:
    figure.update_xaxes(showgrid=False)
    return figure.update_yaxes(autorange="reversed", showgrid=False)


def _early(trace: Trace, language: Language) -> list[str]:
    """The first tokens, each with its position, which makes it unique."""
    labels = _labels(trace, range(min(survival.N_EARLY, len(trace))), language)
    return [f"{label} {position}" for position, label in enumerate(labels)]


def _labels(trace: Trace, positions: Sequence[int] | np.ndarray, language: Language) -> list[str]:
    """The tokens at these positions; plotly takes text for markup, so they are escaped."""
    return [_escaped(quoted(trace, int(position), language)) for position in positions]


def run_names(traces: Sequence[Trace], language: Language = "en", *, in_lines: bool = False) -> list[str]:
    """What each run is called in figures, as markup; numbered if two would share a name.

    Args:
        traces: of the runs.
        language: of the words.
        in_lines: the budget stands below the policy.
    """
    names = [
        "<br>".join(_escaped(part) for part in policy_parts(trace.policy, language))
        if in_lines
        else _name(trace, language)
        for trace in traces
    ]
    if len(set(names)) == len(names):
        return names
    return [say(language, "{number}: {run}", number=number, run=name) for number, name in enumerate(names, 1)]


def first_token_kept(trace: Trace, language: Language = "en") -> str:
    """Where the first token is kept to the end, such as “28 of 30 layers”."""
    kept = survival.kept_to_the_end(trace)[:, :, 0]
    held = "{kept} of {all} KV heads" if trace.policy.scope == "kv_head" else "{kept} of {all} layers"
    return say(language, held, kept=int(kept.sum()), all=kept.size)


def run_sentence(trace: Trace, language: Language = "en") -> str:
    """A run in a sentence, as plain text."""
    policy = policy_name(trace.policy, language)
    if trace.policy.budget is None or trace.policy.budget >= len(trace):
        return say(language, "{policy}: nothing had to be evicted.", policy=policy)
    half = survival.median_age(survival.survival(trace).overall)
    return say(
        language,
        "{policy}: first token kept to the end in {first}; {recent:.0%} of the rows kept are recent; {evicted}.",
        policy=policy,
        first=first_token_kept(trace, language),
        recent=float(survival.mean_recent_share(trace).mean()),
        evicted=say(language, "fewer than half of the tokens are evicted")
        if half is None
        else say(language, "half of the tokens are gone after {steps} steps", steps=half),
    )


def _name(trace: Trace, language: Language) -> str:
    return _escaped(policy_name(trace.policy, language))


def _escaped(text: str) -> str:
    return html.escape(text, quote=False)
