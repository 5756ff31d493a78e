"""Budget: perplexity against budget, one curve per policy."""

import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import gradio as gr

import core
from core.errors import BadInput
from core.experiments.records import POINT_COLUMNS, Point, Record, budget_sentences, point_rows, points
from core.messages import Message
from core.policies import Oracle, make_policy, settings_of
from viz.cards.markup import paragraphs, status
from viz.examples.line import example_line
from viz.examples.sweep import BUDGETS, example_sweep
from viz.figures.sweep import paper_sweep_figure, sweep_figure
from viz.figures.tables import table_of
from viz.page import limits
from viz.page.asked import Asked, Chosen
from viz.page.buttons import start_and_stop, starting, stopping
from viz.page.export import write_rows
from viz.page.models import QUIETLY
from viz.page.number_table import number_table
from viz.page.runs import LoggedRun, a_run, time_left
from viz.page.sidebar import Sidebar, asked_by
from viz.page.stored import Updates
from viz.words.catalogue import _, told
from viz.words.labels import later

if TYPE_CHECKING:
    from core import LanguageModel

POINT_DIGITS = {"tokens per second": 0}  # after the point
RUN = Message("Try the budgets")
FULL = settings_of(make_policy("full"))
TOLD_EVERY, DRAWN_EVERY = 0.5, 3.0
"""Seconds between two status lines and two pictures: a small model reads faster than a slow browser can draw."""


def budget_lens(tab: gr.Tab, sidebar: Sidebar) -> None:
    """Perplexity against budget of the policies in the sidebar; a stored sweep when the tab is first opened."""
    lens = BudgetLens()
    tab.select(lens.example, lens.opened, [lens.opened, lens.papers, *lens.outputs], **QUIETLY)
    run = a_run("budget", lens.status, lens.sweep)
    running = starting(lens.run, run, [lens.budgets, *sidebar.values], lens.outputs, lens.status)
    stopping(lens.run, lens.stop, running, lens.halted, Message("What is done stays."))


class BudgetLens:
    """Which budget is enough: the sentences, the curves, and all points.

    Attributes:
        outputs: what a run may fill.
    """

    def __init__(self) -> None:
        gr.Markdown(
            Message(
                "### How much memory does this text need?\n"
                "Every policy at the left reads the text with every budget. Lower is better. The full model, which "
                "forgets nothing, is the line to reach; *short context* is a model that only ever sees that many "
                "tokens at a time."
            )
        )
        self._controls()
        self.sentences = gr.HTML(elem_id="sweep-sentences")
        with gr.Row():
            self.plot = gr.Plot(show_label=False, elem_id="sweep-plot", min_width=320)
            self.papers = gr.Plot(show_label=False, elem_id="paper-sweep-plot", min_width=320)
        gr.Markdown(
            Message(
                "Both axes are logarithmic. The paper's model and texts are others than yours: compare the order of "
                "the curves."
            )
        )
        gr.Markdown(Message("### All points\nThe menu ⋮ in a heading sorts."))
        self.table = number_table(POINT_COLUMNS, "sweep-table")
        self.points, self.opened = gr.State([]), gr.State(False)
        export_button = gr.Button(Message("Export the points"), elem_id="sweep-export", min_width=180, scale=0)
        files = gr.Files(label=Message("The points (.csv)"), elem_id="sweep-files", visible=False, height=100)
        self.outputs = [self.status, self.plot, self.sentences, self.table, self.points]
        export_button.click(export, self.points, files, **QUIETLY)

    def _controls(self) -> None:
        with gr.Row():
            self.budgets = gr.Textbox(
                ", ".join(map(str, BUDGETS)),
                label=Message("Budgets, with commas between"),
                min_width=240,
                elem_id="sweep-budgets",
            )
            self.run, self.stop = start_and_stop(RUN, "sweep")
        self.status = gr.HTML(later(lambda: status(example_line(RUN))), elem_id="sweep-status")
        self.halted = gr.HTML(elem_id="sweep-stopped")

    def example(self, was_opened: bool) -> Updates:
        """The stored sweep, when the tab is opened for the first time: never in place of a result."""
        if was_opened:
            return {self.opened: True}
        return {self.opened: True, self.papers: paper_sweep_figure(), **self.showing(example_sweep(), [])}

    def sweep(self, record: LoggedRun, budgets: str, *values: Any) -> Generator[Updates]:
        """Read the text with every policy and budget; what there is is shown as it arrives."""
        started, told_at, drawn_at, drawn = time.monotonic(), 0.0, 0.0, 0
        asked, sizes = asked_by(values), whole_numbers(budgets)
        limits.current.check_budgets(sizes)
        limits.current.check_text(asked.text)
        keys = list(dict.fromkeys(chosen.key for chosen in asked.finite if chosen.key != Oracle.key))
        notes, sharing = not_used(asked), {"sharing": asked.budgets, "every": asked.every}
        yield {self.status: status(_("Loading the model …"))}
        record.policies = [(key, size) for key in keys for size in sizes]
        for report in record.using(asked.model, swept, asked.text, keys, sizes, sharing):
            record.tokens = report.done
            now = time.monotonic()
            if now - told_at > TOLD_EVERY:
                told_at = now
                yield {self.status: time_left(report.done, report.total, started)}
            if len(report.records) > drawn and now - drawn_at > DRAWN_EVERY:
                drawn_at, drawn = now, len(report.records)
                yield self.showing(report.records, report.left_out + notes)
        yield self.showing(report.records, report.left_out + notes)
        seconds = time.monotonic() - started
        done = _("Done: {tokens:,} tokens in {seconds:.1f} s.", tokens=report.total, seconds=seconds)
        yield {self.status: status(done, "done")}

    def showing(self, records: list[Record], notes: Sequence[str]) -> Updates:
        """The updates that show these records, with notes below the sentences about them."""
        curves = points(records)
        return {
            self.sentences: paragraphs([told(each) for each in [*budget_sentences(records), *notes]]),
            self.plot: sweep_figure(curves),
            self.table: table_of(point_rows(curves), [FULL], POINT_DIGITS),
            self.points: curves,
        }


def swept(lm: "LanguageModel", text: str, keys: list[str], sizes: list[int], sharing: dict[str, Any]) -> Iterator[Any]:
    """The reports of a sweep over the text."""
    yield from core.iter_sweep(lm, limits.current.encode(lm, text), keys, sizes, **sharing)


def not_used(asked: Asked) -> list[Message]:
    """A sentence about each choice at the left that a sweep cannot follow."""
    sentences = []
    if any(chosen.key == Oracle.key for chosen in asked.finite):
        sentences.append(Message("The oracle is left out: a sweep has only policies that do not know what comes."))
    if any(_has_settings_of_its_own(chosen) for chosen in asked.finite):
        sentences.append(
            Message("The settings on the cards are not used here: every policy has those that it has at first.")
        )
    if (asked.prefill, asked.positions) != ("token-by-token", "original"):
        sentences.append(Message("A sweep always reads token by token, with original positions."))
    return sentences


def _has_settings_of_its_own(chosen: Chosen) -> bool:
    return chosen.described().settings != replace(chosen, settings={}).described().settings


def export(found: list[Point]) -> Any:
    """The points as a file."""
    if not found:
        return gr.skip()
    return gr.update(value=[write_rows(point_rows(found), "sweep")], visible=True)


def whole_numbers(text: str) -> list[int]:
    """Numbers with commas or spaces between."""
    try:
        return [int(number) for number in text.replace(",", " ").split()]
    except ValueError:
        raise BadInput(
            "The budgets must be whole numbers with commas between, such as 16, 32, not {text!r}.", text=text
        ) from None
