"""The lens Tokens: what kind of tokens survive."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import gradio as gr
import plotly.graph_objects as go

from core.errors import BadInput, BadTraceFile, UserError
from core.measures.paper import RECENT_PERCENT
from core.measures.tables import (
    TableRow,
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
from core.store import Stored
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
from viz.page.asked import shown
from viz.page.export import write_rows
from viz.page.lens import SharedRun, draw_when_seen
from viz.page.models import QUIETLY, one_by_one
from viz.page.stored import Updates
from viz.page.uploads import trace_of
from viz.words.catalogue import _, told
from viz.words.labels import fixed
from viz.words.policies import policy_name
from viz.words.run_sentence import run_sentence

MOST_FILES = 8
LAYER = 12  # whose life is shown until another is clicked, as in the lens Watch
SHOW_LARGE = "() => document.getElementById('tokens-life').scrollIntoView({ block: 'nearest', behavior: 'smooth' })"

LOW = 370  # pixels; two figures of this height fit a screen

AT_FIRST: dict[str, Callable[[Sequence[Trace]], go.Figure]] = {
    "kinds": kinds_figure,
    "recency": recency_figure,
    "survival": survival_figure,
}
"""The figures in sight when the lens is opened; those below follow, so that these need not wait for them."""

OF_ALL_RUNS: dict[str, Callable[[Sequence[Trace]], go.Figure]] = {
    "ages": age_figure,
    "early": early_figure,
    "recency-layers": recency_by_layer_figure,
}
OF_ONE_RUN: dict[str, Callable[[Trace], go.Figure]] = {
    "early-layers": early_layers_figure,
    "survival-layers": survival_layers_figure,
    "layer-overlap": layer_overlap_figure,
}

RUNS_OVERLAP, LIFE = Message("Agreement of the runs"), Message("The life of one layer")
TABLES: dict[str, Callable[[Trace], list[TableRow]]] = {
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


def tokens_lens(tab: gr.Tab, run: SharedRun) -> None:
    """What kind of tokens survive in the shared run, or in saved ones until another run ends."""
    lens, in_turn = TokensLens(), one_by_one(str(tab.label))
    chosen = [lens.layer, lens.table_choice]
    draw_when_seen(tab, run, lens.draw, chosen, lens.outputs)
    lens.files.upload(lens.open_files, [lens.files, lens.runs, *chosen], lens.outputs, **in_turn)
    looked_at = [lens.runs, lens.closer, *chosen]
    lens.closer.input(lens.look_closer, looked_at, lens.outputs, **in_turn)
    lens.lives.panel(None, js=SHOW_LARGE, **QUIETLY)
    lens.lives.panel(lens.open_layer, [lens.runs, lens.closer, lens.head, lens.table_choice], lens.outputs, **in_turn)
    lens.head.input(lens.of_a_layer, [lens.runs, lens.closer, lens.layer, lens.head], lens.outputs, **in_turn)
    lens.table_choice.input(lens.as_table, looked_at, lens.outputs, **in_turn)


class TokensLens:
    """The components of the lens, and what is shown in them.

    Attributes:
        runs: the traces that are shown.
        layer: the layer whose life is shown.
        closer: the index of the run that is shown layer by layer.
        head: the KV head whose life is shown.
    """

    def __init__(self) -> None:
        self.runs, self.layer = gr.State([]), gr.State(LAYER)
        self.plots: dict[str, gr.Plot] = {}
        self._answer()
        # Closed at first: the browser draws only what is open, and each figure takes it a while.
        with gr.Accordion(Message("Layer by layer"), open=False, elem_id="tokens-layers"):
            self._layer_by_layer()
        with gr.Accordion(Message("The numbers of all figures"), open=False, elem_id="tokens-numbers"):
            self._numbers()

    def _answer(self) -> None:
        low, high = RECENT_PERCENT
        with gr.Row():
            with gr.Column(min_width=320):
                self.sentences = gr.HTML(elem_id="tokens-sentences", elem_classes="answer")
                self.line = gr.HTML(elem_id="tokens-status", elem_classes="answer")
            self.files = gr.UploadButton(
                Message("Measure saved traces (.npz)"),
                file_count="multiple",
                file_types=[".npz"],
                size="sm",
                scale=0,
                min_width=240,
                elem_id="tokens-files",
            )
        with gr.Row():
            with gr.Column(min_width=320):
                self._plot("kinds")
            with gr.Column(min_width=320):
                self._plot("recency")
                self._plot("survival")
        gr.Markdown(
            fixed(
                Message(
                    "Numbers in brackets: how many tokens of a kind there are. *Recent*: among the last *budget* "
                    "tokens; the paper reports {low}–{high} % for TOVA (section 7.3). Survival: tokens still there at "
                    "the end count for as long as they were seen (Kaplan and Meier). The paper's texts and models are "
                    "others: compare the order rather than the size.",
                    low=low,
                    high=high,
                )
            )
        )
        with gr.Row():
            self._plot("ages")
            self._plot("early")
        with gr.Row():
            self._plot("runs-overlap")
        self.why = gr.HTML(elem_id="tokens-overlap-line")

    def _layer_by_layer(self) -> None:
        with gr.Row():
            with gr.Column(min_width=320):
                gr.Markdown(
                    Message(
                        "Small pictures: tokens across, steps downwards; blue is kept, grey forgotten, and Window "
                        "would end at the dotted line. **Click one to see it large.** Agreement: of all that either "
                        "keeps, the share that both keep (Jaccard)."
                    )
                )
            self.closer = gr.Dropdown(label=Message("Policy"), elem_id="tokens-closer", min_width=260, scale=0)
        with gr.Row():
            with gr.Column(min_width=320):
                self.lives = Lives()
                self._plot("layer-overlap")
            with gr.Column(min_width=320):
                self.head = gr.Radio(label=Message("KV head"), visible=False, elem_id="tokens-kv-head")
                self._plot("life")
                self._plot("recency-layers")
        with gr.Row():
            self._plot("early-layers")
            self._plot("survival-layers")
        with gr.Row():
            self._plot("head-overlap")

    def _numbers(self) -> None:
        with gr.Row():
            self.table_choice = gr.Dropdown(
                each_by_itself([*TABLES, RUNS_OVERLAP, LIFE]),
                value=next(iter(TABLES)),
                label=Message("Table"),
                info=Message("Shares are from 0 to 1; the file has all digits. The ⋮ in a heading sorts and filters."),
                elem_id="tokens-table-choice",
            )
            self.download = gr.DownloadButton(
                Message("Download as CSV"), elem_id="tokens-csv", size="sm", scale=0, min_width=180
            )
        self.table_line = gr.HTML(elem_id="tokens-table-status")
        self.table = gr.Dataframe(interactive=False, show_label=False, buttons=[], elem_id="tokens-table")

    def _plot(self, name: str) -> None:
        self.plots[name] = gr.Plot(show_label=False, min_width=320, elem_id=f"tokens-{name}")

    @property
    def outputs(self) -> list[Any]:
        """All that an event may change."""
        answer = [self.runs, self.line, self.sentences, *self.plots.values(), self.why]
        return [*answer, self.closer, self.lives, self.layer, self.head, self.table, self.download, self.table_line]

    def draw(self, stored: Stored, layer: int, table: str) -> Iterator[Updates]:
        """The shared run."""
        yield from self.measured(shown(stored), [], layer, table)

    def open_files(self, files: list[str], before: list[Trace], layer: int, table: str) -> Iterator[Updates]:
        """Saved traces in place of the shared run."""
        try:
            runs = opened(files)
        except UserError as e:
            yield {self.line: self.refused(e, before)}
        else:
            yield from self.measured(runs, before, layer, table)

    def refused(self, error: UserError, before: list[Trace]) -> str:
        """Why something is not measured, and that all else stays."""
        stays = [_("Below is what was measured before.")] if before else []
        return status([error.message, *stays], "error" if isinstance(error, BadTraceFile) else "info")

    def measured(self, runs: list[Trace], before: list[Trace], layer: int, table: str) -> Iterator[Updates]:
        """Everything about these runs, what is in sight first; if one is too short, a line that says so."""
        if min(len(run) for run in runs) < 2:
            short = BadInput("A run is measured from its second token on; give the model a longer text.")
            yield {self.line: self.refused(short, before)}
            return
        each = dict.fromkeys(_("{tokens:,} tokens of {model}", tokens=len(run), model=run.model_id) for run in runs)
        names = [(f"{number}: {policy_name(run.policy)}", number - 1) for number, run in enumerate(runs, 1)]
        yield {
            self.line: status(_("Measured: {runs}", runs=_(", ").join(each)), "done"),
            self.runs: runs,
            self.sentences: paragraphs([run_sentence(run) for run in runs]),
            self.closer: gr.update(choices=names, value=0, visible=len(runs) > 1),
        }
        yield self.at_first(runs)
        yield self.of_all_runs(runs) | self.look_closer(runs, 0, layer, table) | self.as_table(runs, 0, layer, table)

    def at_first(self, runs: list[Trace]) -> Updates:
        """The figures beside the longest one, the kinds of token, are together as high as that."""
        longest, *others = (figure(runs) for figure in AT_FIRST.values())
        height = max(longest.layout.height, 2 * LOW)
        drawn = [longest.update_layout(height=height), *(figure.update_layout(height=height / 2) for figure in others)]
        return {self.plots[name]: figure for name, figure in zip(AT_FIRST, drawn, strict=True)}

    def of_all_runs(self, runs: list[Trace]) -> Updates:
        """The other figures of all runs, and how far they agree, or why that cannot be told."""
        updates: Updates = {self.plots[name]: figure(runs) for name, figure in OF_ALL_RUNS.items()}
        agreement = self.plots["runs-overlap"]
        try:
            return updates | {
                agreement: gr.update(value=trace_overlap_figure(runs), visible=len(runs) > 1),
                self.why: "",
            }
        except BadInput as e:
            return updates | {agreement: gr.update(visible=False), self.why: paragraphs([told(e.message)])}

    def look_closer(self, runs: list[Trace], index: int, layer: int, table: str) -> Updates:
        """One of the runs, layer by layer."""
        run = runs[index]
        heads = run.evicted_at.shape[1]
        return {
            **{self.plots[name]: figure(run) for name, figure in OF_ONE_RUN.items()},
            self.lives: lives_html(run, min(layer, len(run.evicted_at) - 1)),
            self.head: gr.update(choices=list(range(heads)), value=0, visible=heads > 1),
            **self.of_a_layer(runs, index, layer, 0),
            **(self.as_table(runs, index, layer, table) if table == LIFE else {}),
        }

    def open_layer(self, runs: list[Trace], index: int, head: int, table: str, event: gr.EventData) -> Updates:
        """The layer that was clicked, large; and remember which it was."""
        layer = int(event.layer)
        numbers = self.as_table(runs, index, layer, table) if table == LIFE else {}
        return {self.layer: layer, **self.of_a_layer(runs, index, layer, head), **numbers}

    def of_a_layer(self, runs: list[Trace], index: int, layer: int, head: int | None) -> Updates:
        """The life of a layer, or of one of its KV heads, and how far these agree."""
        run = runs[index]
        layers, heads, _n = run.evicted_at.shape
        layer = min(layer, layers - 1)
        agreement = gr.update(visible=False)
        if heads > 1:
            agreement = gr.update(value=head_overlap_figure(run, layer), visible=True)
        life = head_figure(run, layer, min(head or 0, heads - 1))
        return {self.plots["life"]: life, self.plots["head-overlap"]: agreement}

    def as_table(self, runs: list[Trace], index: int, layer: int, name: str) -> Updates:
        """The numbers behind a figure: the table, its file, and a line if there is nothing to show."""
        if not runs:
            return {self.table_line: ""}
        try:
            rows = table_rows(name, runs, runs[index], layer)
        except BadInput as e:
            return {self.table_line: status(e.message)}
        if not rows:
            return {self.table_line: status(_("No two to be compared here; the table below is the one before."))}
        return {
            self.table: table_of(rows, [run.policy for run in runs]),
            self.download: write_rows(rows, name.lower().replace(" ", "-")),
            self.table_line: "",
        }


def opened(files: list[str]) -> list[Trace]:
    """The traces in uploaded files.

    Raises:
        BadInput: there are too many, or one is no .npz.
        BadTraceFile: a file is not a trace, or too large.
    """
    if len(files) > MOST_FILES:
        raise BadInput("These are {n} files; at most {most} are measured at once.", n=len(files), most=MOST_FILES)
    return [trace_of(file) for file in files]


def each_by_itself(choices: Iterable[str]) -> list[tuple[str, str]]:
    """Choices that are shown in the language of the page and handed on in English: Gradio takes pairs as they are."""
    return [(choice, str(choice)) for choice in choices]


def table_rows(name: str, runs: Sequence[Trace], run: Trace, layer: int) -> list[TableRow]:
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
