"""The needle: one fact hidden at several depths of texts of several lengths, and who still finds it."""

import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import gradio as gr

import core
from core.errors import BadInput
from core.experiments.haystack import NeedleResult
from core.messages import Message
from core.policies import Policy
from viz.cards.markup import paragraphs, status
from viz.examples import needle as stored
from viz.examples.line import example_line
from viz.figures.needle import needle_figure
from viz.page import limits
from viz.page.buttons import start_and_stop, starting, stopping
from viz.page.models import QUIETLY
from viz.page.runs import LoggedRun, a_run, time_left
from viz.page.sidebar import Sidebar, asked_by
from viz.page.stored import Updates
from viz.tabs.writers import writers
from viz.words.answer_sentences import needle_sentences
from viz.words.catalogue import _
from viz.words.labels import later

if TYPE_CHECKING:
    from core import LanguageModel

DRAW = Message("Draw the matrix")
LENGTHS = (128, 256, 512, 1024)


def needle_matrix(tab: gr.Tab, sidebar: Sidebar) -> None:
    """Which policies of the sidebar find the fact at which depth; a stored matrix when the tab is first opened."""
    matrix = NeedleMatrix()
    tab.select(matrix.example, matrix.opened, [matrix.opened, matrix.words, matrix.plot], **QUIETLY)
    running = starting(
        matrix.run,
        a_run("needle", matrix.status, matrix.draw),
        [matrix.lengths, *sidebar.values],
        [matrix.status, matrix.words, matrix.plot],
        matrix.status,
    )
    stopping(matrix.run, matrix.stop, running, matrix.halted, Message("The cells that are done stay."))


class NeedleMatrix:
    """The lengths, the sentences, and the matrix."""

    def __init__(self) -> None:
        gr.Markdown(
            Message(
                "### Where is it lost?\n"
                "The same fact at several depths of texts of several lengths: which policy still finds it, and how "
                "much of it was kept when the question came. A policy that judges a token when it reads it cannot "
                "know what will be asked. For TOVA, Quest (arXiv 2406.10774) found a passkey in 10,000 tokens in 0 "
                "to 8 % of the cases, at budgets of 32 to 512."
            )
        )
        with gr.Row():
            self.lengths = gr.CheckboxGroup(
                [(f"{n:,}", n) for n in LENGTHS],
                value=[128, 256],
                label=Message("Lengths (tokens)"),
                elem_id="matrix-lengths",
            )
            self.run, self.stop = start_and_stop(Message("Draw the matrix"), "matrix")
        self.opened = gr.State(False)
        self.status = gr.HTML(later(lambda: status(example_line(DRAW))), elem_id="matrix-status")
        self.halted = gr.HTML(elem_id="matrix-stopped")
        self.words = gr.HTML(elem_id="matrix-words")
        self.plot = gr.Plot(show_label=False, elem_id="matrix-plot")

    def draw(self, record: LoggedRun, lengths: list[int], *values: Any) -> Generator[Updates]:
        """Ask for the fact at all depths; the matrix grows text by text."""
        started, shown = time.monotonic(), 0
        asked = replace(asked_by(values), text="", new_tokens=0)
        asked.check()
        policies = writers(asked)
        if not lengths:
            raise BadInput("Choose at least one length.")
        limits.current.check_tokens(max(lengths))
        record.policies = asked.pairs
        for report in record.using(asked.model, found, policies, sorted(lengths), asked.how):
            record.tokens = report.done
            yield {self.status: time_left(report.done, report.total, started)}
            if len(report.results) > shown:
                shown = len(report.results)
                yield self.showing(report.results)
        yield {self.status: status(_("Done in {seconds:.1f} s.", seconds=time.monotonic() - started), "done")}

    def example(self, was_opened: bool) -> Updates:
        """The stored matrix, when the tab is opened for the first time: never in place of a result."""
        return {self.opened: True} if was_opened else {self.opened: True, **self.showing(stored.example_needle())}

    def showing(self, results: Sequence[NeedleResult]) -> Updates:
        """The updates that show these results."""
        return {self.words: paragraphs(needle_sentences(results)), self.plot: needle_figure(results)}


def found(lm: "LanguageModel", policies: list[Policy], lengths: list[int], how: dict[str, Any]) -> Iterator[Any]:
    """The reports of the test at all depths."""
    yield from core.experiments.needle.iter_needle(lm, policies, stored.DEPTHS, lengths, **how)
