"""The needle: one fact hidden at several depths of texts of several lengths, and who still finds it."""

import time
from collections.abc import Generator
from typing import Any

import gradio as gr

import core
from core.errors import BadInput
from core.messages import Message
from core.policies import make_policy
from viz.cards.markup import paragraphs, status
from viz.figures.needle import needle_figure
from viz.page import limits
from viz.page.buttons import starting, stopping
from viz.page.contenders import contenders, pairs
from viz.page.runs import LoggedRun, a_run, time_left
from viz.words.answer_sentences import needle_sentences
from viz.words.catalogue import _

DEPTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
LENGTHS = (128, 256, 512, 1024)


def needle_matrix(model: gr.Dropdown) -> None:
    """Which policies find the fact at which depth of a text of which length."""
    gr.Markdown(
        Message(
            "### Where is it lost?\n"
            "The same fact at several depths of texts of several lengths: who still finds it, and how much of it was "
            "kept when the question came. A policy that judges a token when it reads it cannot know what will be "
            "asked. For TOVA, Quest (arXiv 2406.10774) found a passkey in 10,000 tokens in 0 to 8 % of the cases, at "
            "budgets of 32 to 512."
        )
    )
    lengths = gr.CheckboxGroup(
        [(f"{n:,}", n) for n in LENGTHS], value=[128, 256], label=Message("Lengths (tokens)"), elem_id="matrix-lengths"
    )
    chosen = contenders("matrix", ["tova", "h2o", "window"], 64)
    with gr.Row():
        run_button = gr.Button(Message("Draw the matrix"), elem_id="matrix-run", min_width=160, scale=2)
        stop_button = gr.Button(Message("Stop"), elem_id="matrix-stop", min_width=120)
    line = gr.HTML(elem_id="matrix-status")
    halted = gr.HTML(elem_id="matrix-stopped")
    plot = gr.Plot(show_label=False, elem_id="matrix-plot")
    words = gr.HTML(elem_id="matrix-words")
    running = starting(
        run_button,
        run_matrix,
        [model, lengths, *chosen],
        [line, plot, words],
        line,
    )
    stopping(run_button, stop_button, running, halted, Message("The cells that are done stay."))


@a_run("needle", outputs=3, line=0)
def run_matrix(run: LoggedRun, model: str, lengths: list[int], *chosen: Any) -> Generator[tuple[Any, Any, Any]]:
    """The needle test at all depths: status, matrix, words, as the texts are read."""
    skip, started, shown = gr.skip(), time.monotonic(), 0
    policies = [make_policy(key, budget) for key, budget in pairs(chosen)]
    if not lengths:
        raise BadInput("Choose at least one length.")
    limits.current.check_tokens(max(lengths))
    run.under(policies)
    for report in run.using(model, core.experiments.needle.iter_needle, policies, DEPTHS, sorted(lengths)):
        run.tokens = report.done
        line = time_left(report.done, report.total, started)
        if len(report.results) == shown:
            yield line, skip, skip
            continue
        shown = len(report.results)
        yield line, needle_figure(report.results), paragraphs(needle_sentences(report.results))
    yield status(_("Done in {seconds:.1f} s.", seconds=time.monotonic() - started), "done"), skip, skip
