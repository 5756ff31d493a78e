"""Budget: perplexity against budget, one curve per policy."""

import time
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any

import gradio as gr

import core
from core.errors import BadInput
from core.experiments.records import POINT_COLUMNS, Point, budget_sentences, point_rows, points
from core.messages import Message
from core.policies import POLICIES
from viz.cards.markup import paragraphs, status
from viz.figures.sweep import paper_sweep_figure, sweep_figure
from viz.figures.tables import table_in, table_of
from viz.page import limits
from viz.page.buttons import starting, stopping
from viz.page.export import write_rows
from viz.page.models import QUIETLY
from viz.page.number_table import number_table
from viz.page.runs import LoggedRun, a_run, time_left
from viz.page.uploads import text_of
from viz.words.catalogue import _, told
from viz.words.labels import later

if TYPE_CHECKING:
    from core import LanguageModel

POINT_DIGITS = {"tokens per second": 0}  # after the point


def budget_tab(model: gr.Dropdown, text: gr.Textbox) -> None:
    """Perplexity against budget, one curve per policy, growing while it runs."""
    gr.Markdown(
        Message(
            "### How much memory does your text need?\n"
            "Every chosen policy reads the text with every budget. Lower is better; the full model, which forgets "
            "nothing, is the line to reach, and *short context* is a model that only ever sees that many tokens at a "
            "time. Both axes are logarithmic. The paper's model and texts are others than yours: compare the order "
            "of the curves."
        )
    )
    with gr.Row():
        keys = gr.CheckboxGroup(
            [(policy.label, key) for key, policy in POLICIES.items() if key != "full"],
            value=["tova", "h2o", "window+i", "window"],
            label=Message("Policies"),
            elem_id="sweep-policies",
        )
        budgets = gr.Textbox(
            "8, 16, 32, 64, 128", label=Message("Budgets, with commas between"), elem_id="sweep-budgets"
        )
        file = gr.File(label=Message("Or a .txt of any length"), file_types=[".txt"], height=120)
        with gr.Column(scale=0, min_width=140):
            run_button = gr.Button(Message("Run"), variant="primary", elem_id="sweep-run")
            stop_button = gr.Button(Message("Stop"), elem_id="sweep-stop")
    progress = gr.HTML(
        later(lambda: status(_("Reads your text from the Explore tab, or a file."))), elem_id="sweep-status"
    )
    halted = gr.HTML(elem_id="sweep-stopped")
    with gr.Row():
        plot = gr.Plot(show_label=False, elem_id="sweep-plot", min_width=320)
        papers = gr.Plot(show_label=False, elem_id="paper-sweep-plot", min_width=320)
    sentences = gr.HTML(elem_id="sweep-sentences")
    found = gr.State([])
    gr.Markdown(Message("### All points\nThe menu ⋮ in a heading sorts."))
    table = number_table(POINT_COLUMNS, "sweep-table")
    gr.on(fn=at_first, outputs=[papers, table], concurrency_limit=None, **QUIETLY)
    export_button = gr.Button(Message("Export the points"), elem_id="sweep-export", min_width=180, scale=0)
    files = gr.Files(label=Message("The points (.csv)"), elem_id="sweep-files", visible=False, height=100)
    running = starting(
        run_button,
        run_sweep,
        [model, text, file, keys, budgets],
        [progress, plot, sentences, table, found],
        progress,
    )
    stopping(run_button, stop_button, running, halted, Message("What is done stays."))
    export_button.click(export, found, files, **QUIETLY)


def at_first() -> tuple[Any, Any]:
    """The paper's figure, and our table with no rows yet."""
    return paper_sweep_figure(), table_in(POINT_COLUMNS, [])


@a_run("budget", outputs=5, line=0)
def run_sweep(
    run: LoggedRun, model: str, text: str, file: str | None, keys: list[str], budgets: str
) -> Generator[tuple[Any, ...]]:
    """Read the text with every policy and budget: status, figure, sentences, table and points, as these arrive."""
    skip, started, drawn = [gr.skip()] * 4, time.monotonic(), 0
    sizes = whole_numbers(budgets)
    limits.current.check_budgets(sizes)
    text = text_of(file) if file else text
    limits.current.check_text(text)
    yield status(_("Loading the model …")), *skip
    run.policies = [(key, size) for key in keys for size in sizes]
    for report in run.using(model, swept, text, keys, sizes):
        run.tokens = report.done
        line = time_left(report.done, report.total, started)
        if len(report.records) == drawn:
            yield line, *skip
            continue
        drawn = len(report.records)
        curves = points(report.records)
        yield (
            line,
            sweep_figure(curves),
            paragraphs([told(each) for each in budget_sentences(report.records) + report.left_out]),
            table_of(point_rows(curves), [], POINT_DIGITS),
            curves,
        )
    seconds = time.monotonic() - started
    done = status(_("Done: {tokens:,} tokens in {seconds:.1f} s.", tokens=report.total, seconds=seconds), "done")
    yield done, *skip


def swept(lm: "LanguageModel", text: str, keys: list[str], sizes: list[int]) -> Iterator[Any]:
    """The reports of a sweep over the text."""
    yield from core.iter_sweep(lm, limits.current.encode(lm, text), keys, sizes)


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
