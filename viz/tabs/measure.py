"""Measure: what kind of tokens survive."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import gradio as gr
import plotly.graph_objects as go

from core.errors import BadInput, BadTraceFile, UserError
from core.measures.paper import RECENT_PERCENT
from core.measures.tables import (
    Row,
    age_rows,
    early_layer_rows,
    early_rows,
    head_overlap_rows,
    kind_rows,
    layer_overlap_rows,
    life_rows,
    longest_lived_rows,
    overlap_rows,
    recency_rows,
    recency_step_rows,
    survival_rows,
)
from core.messages import Message
from core.trace import Trace
from viz.cards.lives import Lives, lives_html
from viz.cards.markup import paragraphs, status
from viz.figures.early_tokens import early_figure, early_layers_figure
from viz.figures.kinds import kinds_figure
from viz.figures.life import head_figure
from viz.figures.overlap import head_overlap_figure, layer_overlap_figure, trace_overlap_figure
from viz.figures.recency import age_figure, recency_by_layer_figure, recency_figure
from viz.figures.survival import survival_figure, survival_layers_figure
from viz.figures.tables import table_of
from viz.page.export import write_rows
from viz.page.models import QUIETLY
from viz.page.uploads import trace_of
from viz.words.catalogue import _, told
from viz.words.labels import fixed
from viz.words.policies import policy_name
from viz.words.run_sentence import run_sentence

THIS, COMPARED = Message("the run in Explore"), Message("the runs in Compare")
FILES = Message("saved traces (.npz)")
NOTHING_YET: dict[str, Message] = {
    THIS: Message("There is nothing to measure yet: press Run in Explore."),
    COMPARED: Message("There is nothing to measure yet: press Run in Compare."),
    FILES: Message("There is nothing to measure yet: choose some .npz files."),
}
MOST_FILES = 8
LAYER = 12  # whose life is shown until another is clicked, as in the Explore tab
SHOW_LARGE = "() => document.getElementById('measure-life').scrollIntoView({ block: 'nearest', behavior: 'smooth' })"
LARGE = 600  # pixels; about as high as the small pictures beside it

OF_ALL_RUNS: dict[str, Callable[[Sequence[Trace]], go.Figure]] = {
    "recency": recency_figure,
    "recency-layers": recency_by_layer_figure,
    "ages": age_figure,
    "kinds": kinds_figure,
    "early": early_figure,
    "survival": survival_figure,
}
OF_ONE_RUN: dict[str, Callable[[Trace], go.Figure]] = {
    "early-layers": early_layers_figure,
    "survival-layers": survival_layers_figure,
    "layer-overlap": layer_overlap_figure,
}

RUNS_OVERLAP, LIFE = Message("Agreement of the runs"), Message("The life of one layer")
TABLES: dict[str, Callable[[Trace], list[Row]]] = {
    Message("Kinds of token"): lambda trace: kind_rows([trace]),
    Message("The longest-lived tokens"): longest_lived_rows,
    Message("Recency by layer"): lambda trace: recency_rows([trace]),
    Message("Recency by step"): lambda trace: recency_step_rows([trace]),
    Message("Ages of kept rows"): lambda trace: age_rows([trace]),
    Message("First tokens"): lambda trace: early_rows([trace]),
    Message("First tokens by layer"): lambda trace: early_layer_rows([trace]),
    Message("Survival"): lambda trace: survival_rows([trace]),
    Message("Agreement of layers"): layer_overlap_rows,
    Message("Agreement of KV heads"): head_overlap_rows,
}
"""What can be shown as a table, each made run by run; beside these there are `RUNS_OVERLAP` and `LIFE`."""


def measure_tab(tab: gr.Tab, trace: gr.State, traces: gr.State) -> None:
    """What kind of tokens survive, in one or several runs; drawn when the tab is opened or other runs are chosen.

    Args:
        tab: the tab.
        trace: of the run in the Explore tab.
        traces: of the runs in the Compare tab.
    """
    runs, layer = gr.State([]), gr.State(LAYER)
    gr.Markdown(
        Message(
            "### What kind of tokens survive?\n"
            "Where the paper gives a number, it stands beside ours; its texts and models are others, so compare the "
            "order rather than the size."
        )
    )
    with gr.Row():
        which = gr.Radio(
            each_by_itself([THIS, COMPARED, FILES]),
            value=THIS,
            label=Message("Which runs"),
            scale=2,
            elem_id="measure-which",
        )
        closer = gr.Dropdown(label=Message("Layer by layer"), elem_id="measure-closer", min_width=260)
        files = gr.File(
            label=Message("Up to {n} traces, as exported by Explore or Compare", n=MOST_FILES),
            file_count="multiple",
            file_types=[".npz"],
            height=120,
            visible=False,
            elem_id="measure-files",
        )
    line = gr.HTML(elem_id="measure-status")
    sentences = gr.HTML(elem_id="measure-sentences")
    plots = figures()
    gr.Markdown(
        Message(
            "### The life of every layer\n"
            "Tokens across, steps downwards: blue is kept, grey is forgotten, and Window would end at the dotted "
            "line (the paper's figures 8, 12 and 13). **Click a layer to see it large.**"
        )
    )
    with gr.Row():
        with gr.Column(min_width=320):
            lives = Lives()
        with gr.Column(min_width=320):
            head = gr.Radio(label=Message("KV head"), visible=False, elem_id="measure-head")
            life, head_overlap = plot("life"), plot("head-overlap")
    gr.Markdown(
        Message(
            "### The numbers\n"
            "What the figures show; the file has all digits. The ⋮ in a heading sorts and filters. Shares are from 0 "
            "to 1."
        )
    )
    with gr.Row():
        table = gr.Dropdown(
            each_by_itself([*TABLES, RUNS_OVERLAP, LIFE]),
            value=next(iter(TABLES)),
            label=Message("Table"),
            elem_id="measure-table-choice",
        )
        download = gr.DownloadButton(Message("Download as CSV"), elem_id="measure-csv", scale=0, min_width=180)
    table_line = gr.HTML(elem_id="measure-table-status")
    rows = gr.Dataframe(interactive=False, show_label=False, elem_id="measure-table")

    of_all = [sentences, *(plots[name] for name in OF_ALL_RUNS), plots["runs-overlap"], plots["why"]]
    of_one = [*(plots[name] for name in OF_ONE_RUN), lives, head]
    of_layer = [life, head_overlap]
    numbers = [rows, download, table_line]
    which.change(lambda chosen: gr.update(visible=chosen == FILES), which, files, **QUIETLY)
    gr.on(
        [tab.select, which.change, files.change],
        measure,
        [which, trace, traces, files, runs, layer, table],
        [line, runs, closer, *of_all, *of_one, *of_layer, *numbers],
        **QUIETLY,
    )
    closer.input(look_closer, [runs, closer, layer, table], [*of_one, *of_layer, *numbers], **QUIETLY)
    lives.panel(None, js=SHOW_LARGE, **QUIETLY)
    lives.panel(open_layer, [runs, closer, head, table], [layer, *of_layer, *numbers], **QUIETLY)
    head.input(of_a_layer, [runs, closer, layer, head], of_layer, **QUIETLY)
    table.input(as_table, [table, runs, closer, layer], numbers, **QUIETLY)


def each_by_itself(choices: Iterable[str]) -> list[tuple[str, str]]:
    """Choices that are shown in the language of the page and handed on in English: Gradio takes pairs as they are."""
    return [(choice, str(choice)) for choice in choices]


def figures() -> dict[str, Any]:
    """The places of the figures, each with the text that explains it, and a line for why there is no agreement."""
    plots: dict[str, Any] = {}

    def row(*names: str) -> None:
        with gr.Row():
            for name in names:
                plots[name] = plot(name)

    low, high = RECENT_PERCENT
    gr.Markdown(
        fixed(
            Message(
                "### Recency\n"
                "How many of the rows kept are *recent*: among the last *budget* tokens. Window keeps nothing else. "
                "The paper reports {low}–{high} % for TOVA (section 7.3) without defining recent. Ages are in "
                "multiples of the budget: at 1, a line has reached the share of recent rows.",
                low=low,
                high=high,
            )
        )
    )
    row("recency", "recency-layers")
    row("ages")
    gr.Markdown(
        Message(
            "### Which tokens live long\n"
            "The mean number of steps for which tokens of a kind were kept; in brackets, how many of them there are. "
            "The paper's numbers (tables 2 and 5) are of longer texts, at the budget that comes nearest; so they "
            "have an axis of their own."
        )
    )
    row("kinds")
    gr.Markdown(
        Message(
            "### The first tokens\n"
            "For how many steps each was kept. In the paper (figure 9) the very first is kept to the end at every "
            "multi-state size, while the other early ones go far sooner."
        )
    )
    row("early", "early-layers")
    gr.Markdown(
        Message(
            "### Survival\n"
            "The probability that a token is still kept so many steps after it was read. Tokens that are there at "
            "the end of the text count for as long as they were seen (Kaplan and Meier)."
        )
    )
    row("survival", "survival-layers")
    gr.Markdown(
        Message(
            "### Agreement\n"
            "How far two layers, or two runs, keep the same tokens: of all that either keeps, the share that both keep "
            "(Jaccard), in the mean over the steps."
        )
    )
    row("layer-overlap", "runs-overlap")
    plots["why"] = gr.HTML(elem_id="measure-overlap-line")
    return plots


def plot(name: str) -> gr.Plot:
    """A place for a figure."""
    return gr.Plot(show_label=False, min_width=320, elem_id=f"measure-{name}")


def measure(
    which: str,
    trace: Trace | None,
    traces: list[Trace] | None,
    files: list[str] | None,
    measured: list[Trace],
    layer: int,
    table: str,
) -> list[Any]:
    """Everything about the runs chosen; if they cannot be had, a line that says why, and all else stays."""
    try:
        runs = runs_of(which, trace, traces, files)
    except UserError as e:
        kind = "error" if isinstance(e, BadTraceFile) else "info"
        stays = [_("Below is what was measured before.")] if measured else []
        return [status([e.message, *stays], kind), *[gr.skip()] * 21]
    names = [(f"{number}: {policy_name(run.policy)}", number - 1) for number, run in enumerate(runs, 1)]
    each = dict.fromkeys(_("{tokens:,} tokens of {model}", tokens=len(run), model=run.model_id) for run in runs)
    measured_runs = _("Measured: {runs}", runs=_(", ").join(each))
    return [
        status(measured_runs, "done"),
        runs,
        gr.update(choices=names, value=0, visible=len(runs) > 1),
        *of_all_runs(runs),
        *look_closer(runs, 0, layer, table)[:-3],
        *as_table(table, runs, 0, layer),
    ]


def runs_of(which: str, trace: Trace | None, traces: list[Trace] | None, files: list[str] | None) -> list[Trace]:
    """The runs chosen.

    Raises:
        BadInput: there are none yet, or one is too short to be measured, or there are too many files.
        BadTraceFile: a file is not a trace, or too large.
    """
    runs = list(traces or []) if which == COMPARED else [trace] if trace and which == THIS else []
    if which == FILES:
        if len(files or []) > MOST_FILES:
            raise BadInput(
                "These are {n} files; at most {most} are measured at once.", n=len(files or []), most=MOST_FILES
            )
        runs = [trace_of(file) for file in files or []]
    if not runs:
        raise BadInput(NOTHING_YET[which])
    if min(len(run) for run in runs) < 2:
        raise BadInput("A run is measured from its second token on; give the model a longer text.")
    return runs


def of_all_runs(runs: list[Trace]) -> list[Any]:
    """The runs in a sentence each, their figures, and how far they agree, or why that cannot be told."""
    drawn = [figure(runs) for figure in OF_ALL_RUNS.values()]
    try:
        agreement, why = gr.update(value=trace_overlap_figure(runs), visible=len(runs) > 1), ""
    except BadInput as e:
        agreement, why = gr.update(visible=False), paragraphs([told(e.message)])
    return [paragraphs([run_sentence(run) for run in runs]), *drawn, agreement, why]


def look_closer(runs: list[Trace], index: int, layer: int, table: str) -> list[Any]:
    """One of the runs, layer by layer."""
    run = runs[index]
    layer, heads = min(layer, len(run.evicted_at) - 1), run.evicted_at.shape[1]
    choices = gr.update(choices=list(range(heads)), value=0, visible=heads > 1)
    drawn = [figure(run) for figure in OF_ONE_RUN.values()]
    numbers = as_table(table, runs, index, layer) if table == LIFE else [gr.skip()] * 3
    return [*drawn, lives_html(run, layer), choices, *of_a_layer(runs, index, layer, 0), *numbers]


def open_layer(runs: list[Trace], index: int, head: int, table: str, event: gr.EventData) -> list[Any]:
    """The layer that was clicked, large; and remember which it was."""
    layer = int(event.layer)
    numbers = as_table(table, runs, index, layer) if table == LIFE else [gr.skip()] * 3
    return [layer, *of_a_layer(runs, index, layer, head), *numbers]


def of_a_layer(runs: list[Trace], index: int, layer: int, head: int | None) -> list[Any]:
    """The life of a layer, or of one of its KV heads, and how far these agree."""
    run = runs[index]
    layers, heads, _ = run.evicted_at.shape
    layer = min(layer, layers - 1)
    agreement = (
        gr.update(value=head_overlap_figure(run, layer), visible=True) if heads > 1 else gr.update(visible=False)
    )
    life = head_figure(run, layer, min(head or 0, heads - 1)).update_layout(height=LARGE)
    return [life, agreement]


def as_table(name: str, runs: list[Trace], index: int, layer: int) -> list[Any]:
    """The numbers behind a figure: the table, its file, and a line if there is nothing to show."""
    if not runs:
        return [gr.skip()] * 3
    try:
        rows = table_rows(name, runs, runs[index], layer)
    except BadInput as e:
        return [gr.skip(), gr.skip(), status(e.message)]
    if not rows:
        return [gr.skip(), gr.skip(), status(_("No two to be compared here; the table below is the one before."))]
    shown = table_of(rows, [run.policy for run in runs])
    return [shown, write_rows(rows, name.lower().replace(" ", "-")), ""]


def table_rows(name: str, runs: Sequence[Trace], run: Trace, layer: int) -> list[Row]:
    """The rows of a table, numbered by run if there are several."""
    if name == RUNS_OVERLAP:
        return overlap_rows(runs)
    if name == LIFE:
        return life_rows(run, min(layer, len(run.evicted_at) - 1))
    rows = []
    for number, of_run in enumerate(runs, 1):
        which: dict[str, Any] = {"run": number} if len(runs) > 1 else {}
        which |= {"policy": of_run.policy.label, "budget": of_run.policy.budget}
        rows += [which | row for row in TABLES[name](of_run)]
    return rows
