"""The lens Cost: what forgetting costs, and where in the text."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import gradio as gr

import core
from core.measures.costs import Comparison, ForgottenAttention, costs, greatest_losses
from core.measures.tables import COST_COLUMNS, cost_rows
from core.messages import Message
from core.store import Stored
from core.trace import Trace
from viz.cards.markup import paragraphs, status
from viz.figures.losses import losses_figure
from viz.figures.style import short_names
from viz.figures.tables import rounded, table_of
from viz.page.asked import asked_in
from viz.page.export import write_rows
from viz.page.lens import SharedRun, draw_when_seen
from viz.page.models import ALONE, QUIETLY, with_model
from viz.page.number_table import number_table
from viz.page.stored import Updates
from viz.words.catalogue import _, told
from viz.words.cost_sentences import cost_sentences, missed_sentences
from viz.words.sentences import quoted

if TYPE_CHECKING:
    from core import LanguageModel

WRITTEN = Message(
    "Each policy has written its own text, so there is no common one whose cost could be told: set the new tokens to 0 "
    "and press Run."
)
RECORDED = Message("The full model has not read beside a recorded run, so what its cache cost is not known.")
NONE_FORGETS = Message("The full model forgets nothing, so it costs nothing: add a policy and press Run.")
TOO_LONG = Message(
    "The text is longer than what the full model can read, so there is nothing to compare with: take a shorter one."
)
NOT_BESIDE = Message("The full model has not read this text beside the policies: press Run.")
SELECT = Message("Select one of the costliest tokens to see which forgotten ones the full model looks at there.")

COST_DIGITS = {"perplexity": 2, "same top-1 (%)": 1, "KV memory (MB)": 2, "at 7B (MB)": 1, "tokens/s": 0}
LOSS_COLUMNS = ("policy", "token", "ΔNLL (nats)", "position")
LOSS_DIGITS = {"ΔNLL (nats)": 2}


def cost_lens(tab: gr.Tab, run: SharedRun) -> None:
    """What forgetting costs in the shared run, drawn when the tab is opened."""
    lens = CostLens()
    outputs = [lens.sentences, lens.found, lens.table, lens.download, lens.figure, lens.losses, lens.missed]
    draw_when_seen(tab, run, lens.draw, [], outputs)
    lens.losses.select(lens.show_missed, run.stored, lens.missed, **QUIETLY, **ALONE)


class CostLens:
    """The components of the lens, and what is shown in them."""

    def __init__(self) -> None:
        self.sentences = gr.HTML(elem_id="cost-sentences", elem_classes="answer")
        with gr.Column() as self.found:
            self.table = number_table(COST_COLUMNS, "cost-table")
            with gr.Row():
                with gr.Column(min_width=320):
                    gr.Markdown(
                        Message(
                            "ΔNLL: nats a token costs more than under the full model. KL: how far the expected next "
                            "token is from the full model's. Memory: of the keys and values held, here and in Llama 2 "
                            "7B."
                        )
                    )
                self.download = gr.DownloadButton(
                    Message("Download as CSV"), elem_id="cost-csv", size="sm", scale=0, min_width=180
                )
            self.missed = gr.HTML(min_height=54, elem_id="cost-missed", elem_classes="answer")
            with gr.Row():
                self.figure = gr.Plot(show_label=False, min_width=320, elem_id="cost-figure")
                with gr.Column(min_width=320):
                    gr.Markdown(Message("### The costliest tokens"))
                    self.losses = number_table(LOSS_COLUMNS, "cost-losses", texts=2)

    def draw(self, stored: Stored) -> Updates:
        """What the run costs; or why that cannot be told."""
        comparison = stored.comparison
        if comparison is None:
            return {self.sentences: paragraphs([told(why_none(stored))]), self.found: gr.update(visible=False)}
        found = costs(comparison)
        rows = cost_rows(found)
        return {
            self.sentences: paragraphs(cost_sentences(comparison, short_names(comparison.traces))),
            self.found: gr.update(visible=True),
            self.table: table_of(rows, [cost.policy for cost in found], COST_DIGITS),
            self.download: write_rows(rows, "costs"),
            self.figure: losses_figure(comparison),
            self.losses: losses_table(comparison),
            self.missed: paragraphs([told(SELECT)]),
        }

    def show_missed(self, stored: Stored, event: gr.SelectData) -> Iterator[Updates]:
        """Which evicted tokens the full model looks at when it predicts the token of the selected row."""
        policy, _token, _nats, position = event.row_value
        comparison = stored.comparison
        names = short_names(comparison.traces) if comparison else []
        if comparison is None or policy not in names or not 0 < int(position) < len(comparison):
            return
        yield {self.missed: status(_("The full model reads up to there …"))}
        trace, position = comparison.traces[names.index(policy)], int(position)
        (forgotten,) = with_model(trace.model_id, forgotten_by, trace, position - 1)
        yield {self.missed: paragraphs(missed_sentences(trace, position, forgotten))}


def why_none(stored: Stored) -> Message:
    """Why the costs of a run cannot be told."""
    if any(trace.policy.is_recorded for trace in stored.traces):
        return RECORDED
    if any(len(trace) > trace.prompt_length for trace in stored.traces):
        return WRITTEN
    if all(trace.policy.keeps_all for trace in stored.traces):
        return NONE_FORGETS
    return TOO_LONG if asked_in(stored) else NOT_BESIDE


def losses_table(comparison: Comparison) -> dict[str, object]:
    """The tokens that cost most, as the value of a table."""
    names = short_names(comparison.traces)
    rows = [
        [names[loss.policy], quoted(comparison.full, loss.position), loss.nats, loss.position]
        for loss in greatest_losses(comparison)
    ]
    return rounded(LOSS_COLUMNS, rows, LOSS_DIGITS)


def forgotten_by(lm: "LanguageModel", trace: Trace, query: int) -> Iterator[ForgottenAttention]:
    """One: how much of the full model's attention at a step falls on tokens that the trace no longer has."""
    yield from core.forgotten_attention(lm, [trace], query)
