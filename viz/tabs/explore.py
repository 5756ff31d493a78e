"""Explore: one text under one policy, step by step."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from concurrent.futures import Future
from functools import partial
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, get_args

import gradio as gr

from core.errors import UserError
from core.messages import Message, tokens
from core.store import TraceStore
from core.trace import Positions, Trace
from viz.cards.markup import status
from viz.examples.example_texts import EXAMPLES
from viz.maps.payload import payload, window_at
from viz.maps.retention_map import RetentionMap
from viz.page.buttons import starting, stopping
from viz.page.export import write_files
from viz.page.models import ALONE, QUIETLY
from viz.page.policy_controls import policy_controls
from viz.page.runs import referred
from viz.page.to_try import texts_to_try
from viz.page.uploads import trace_of
from viz.tabs.explore_run import look, run
from viz.tabs.links import COPY_LINK, opened
from viz.tabs.panels import FIRST_ROW, choose_row, panels, show_row, show_token, show_window, what_to_see
from viz.words.catalogue import _
from viz.words.labels import later
from viz.words.policies import policy_name

if TYPE_CHECKING:
    from core import LanguageModel

POSITIONS = get_args(Positions)
POSITIONS_INFO = Message(
    "original: each row keeps its place in the text, as in the published TOVA code. in-cache: the rows are numbered "
    "anew at every step, as in StreamingLLM, so a text may be longer than the model was trained for. log-gap: as "
    "original, but gaps of more than 10 shrink to ln(ln gap), the paper's own way (section 7.2)."
)


def explore_tab(
    page: gr.Blocks, model: gr.Dropdown, background: "Future[LanguageModel] | None", store: TraceStore
) -> tuple[gr.Textbox, gr.State]:
    """One text under one policy: controls, map, the lives of rows and tokens. Returns the text and the trace."""
    trace, row = gr.State(), gr.State(FIRST_ROW)
    with gr.Row(elem_id="controls"):
        policy, budget, new_tokens, settings = policy_controls()
        with gr.Column(scale=1, min_width=110, elem_id="buttons"):
            run_button = gr.Button(Message("Run"), variant="primary", elem_id="run")
            stop_button = gr.Button(Message("Stop"), elem_id="stop")
    status_line = gr.HTML(later(lambda: status(_("Connecting …"))), elem_id="status")
    halted = gr.HTML(elem_id="stopped")
    with gr.Row():
        with gr.Column(scale=3, min_width=320):
            text = gr.Textbox(EXAMPLES[0].text, label=Message("Your text"), lines=4, max_lines=8, elem_id="text")
            texts_to_try(Message("Texts to try"), {example.title: example.text for example in EXAMPLES}, text)
        with gr.Column(scale=2, min_width=300):
            gr.Markdown(Message("### What to see here"))
            found = gr.HTML(elem_id="findings")
            with gr.Accordion(Message("Positions · open a saved run"), open=False, elem_id="more"):
                positions = gr.Dropdown(
                    list(POSITIONS),
                    value="original",
                    label=Message("Positions of the rows kept"),
                    info=POSITIONS_INFO,
                    elem_id="positions",
                )
                open_button = gr.UploadButton(
                    Message("Open a saved run (.npz)"), file_types=[".npz"], size="sm", elem_id="open"
                )
    retention_map = RetentionMap()
    with gr.Row():
        with gr.Column(min_width=320):
            with gr.Row():
                gr.Markdown(Message("### One layer's life\nClick a row of the map, or a cell in it."))
                by_attention = gr.Checkbox(label=Message("colour by attention"), min_width=160, scale=0)
            head_plot = gr.Plot(show_label=False, elem_id="head")
        with gr.Column(min_width=320):
            gr.Markdown(Message("### One token's life"))
            token_words = gr.HTML(elem_id="token-words")
            token_plot = gr.Plot(show_label=False, elem_id="token")
    with gr.Row():
        export_button = gr.Button(Message("Export this run"), elem_id="export", scale=0, min_width=180)
        link_button = gr.Button(Message("Copy link"), elem_id="copy-link", scale=0, min_width=120)
        link = gr.Textbox(elem_id="link", visible=False, interactive=False)
        files = gr.Files(
            label=Message("The trace (.npz), a table (.csv), and the map as a page of its own (.html)"),
            elem_id="files",
            visible=False,
            height=170,
        )

    async def watch_model() -> AsyncIterator[str]:
        started = time.monotonic()
        while background is not None and not background.done():
            seconds = time.monotonic() - started
            yield status(_("Loading the model … {seconds:.0f} s. The example is real: look around.", seconds=seconds))
            await asyncio.sleep(0.5)
        error = background.exception() if background is not None else None
        if error is None:
            yield status(_("Model ready. Press Run to read your own text."), "done")
        else:
            yield status(error.message if isinstance(error, UserError) else referred(error), "error")

    def open_page(request: gr.Request) -> tuple[Any, ...]:
        return opened(store, request.query_params)

    below = [head_plot, token_plot, token_words]
    controls = [model, policy, budget, new_tokens, text, positions, *settings]
    page.load(open_page, outputs=[retention_map, found, trace, *below, halted, *controls], **QUIETLY)
    page.load(watch_model, outputs=status_line, **QUIETLY)
    shown = [retention_map, found, status_line, trace, *below]
    inputs = [row, *controls]
    running = starting(run_button, partial(run, store), inputs, shown, status_line, partial(look, store))
    stopping(run_button, stop_button, running, halted, Message("The tokens read so far stay."))
    link_button.click(None, None, link, js=COPY_LINK, **QUIETLY)
    for clicked in (retention_map.cell, retention_map.token):
        clicked(show_token, trace, [token_plot, token_words], **QUIETLY)
    for clicked in (retention_map.cell, retention_map.row):
        clicked(choose_row, [trace, by_attention], [head_plot, row], **QUIETLY, **ALONE)
    by_attention.change(show_row, [trace, row, by_attention], head_plot, **QUIETLY, **ALONE)
    export_button.click(export, trace, files, **QUIETLY)
    retention_map.window(show_window, trace, retention_map, **QUIETLY)
    open_button.upload(open_run, [open_button, row], [retention_map, found, status_line, trace, *below], **QUIETLY)
    return text, trace


def open_run(file: str, row: tuple[int, int]) -> tuple[Any, ...]:
    """A saved run in place of the one shown: map, findings, status, trace, and the panels' contents."""
    try:
        trace = trace_of(file)
    except UserError as e:
        return *[gr.skip()] * 2, status(e.message, "error"), *[gr.skip()] * 4
    told = _(
        "Opened: {policy}, {tokens}, read by {model}.",
        policy=policy_name(trace.policy),
        tokens=tokens(len(trace)),
        model=PurePath(trace.model_id).name,
    )
    picture = payload(trace, run=uuid.uuid4().hex, window=window_at(len(trace), len(trace) - 1))
    return picture, what_to_see(trace), status(told, "done"), trace, *panels(trace, row)


def export(trace: Trace | None) -> Any:
    """The run as files."""
    if trace is None:
        return gr.skip()
    return gr.update(value=write_files(trace), visible=True)
