"""Explore: one text under one policy, step by step."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from dataclasses import fields
from pathlib import PurePath
from typing import Any, get_args

import gradio as gr

from core import POLICIES, LanguageModel, Trace, attention_of, iter_generate, iter_replay, make_policy, metrics
from core.errors import UserError
from core.trace import Positions
from viz.example_texts import EXAMPLES, first_trace
from viz.export import write_files
from viz.figures import head_figure, token_figure
from viz.findings import findings, findings_html
from viz.markup import paragraphs, status
from viz.payload import payload, window_at
from viz.retention_map import RetentionMap
from viz.sentences import life, why
from viz.tabs.models import ALONE, QUIETLY, full_perplexity, language_model
from viz.tabs.stop import stopping
from viz.tabs.uploads import trace_of

SETTINGS = [
    (key, setting)
    for key, policy in POLICIES.items()
    for setting in fields(policy)
    if setting.name != "budget" and setting.metadata
]
"""The policies' own settings, each with the policy it belongs to."""

FIRST_ROW = (12, 0)
"""The layer (and KV head) whose life is shown until another is clicked: one in the middle of the default model."""

POSITIONS = get_args(Positions)
POSITIONS_INFO = (
    "original: each row keeps its place in the text, as in the published TOVA code. in-cache: the rows are numbered "
    "anew at every step, as in StreamingLLM, so a text may be longer than the model was trained for. log-gap: as "
    "original, but gaps of more than 10 shrink to ln(ln gap), the paper's own way (section 7.2)."
)


def explore_tab(
    page: gr.Blocks, model: gr.Dropdown, background: "Future[LanguageModel] | None"
) -> tuple[gr.Textbox, gr.State]:
    """One text under one policy: controls, map, the lives of rows and tokens. Returns the text and the trace."""
    trace, row = gr.State(), gr.State(FIRST_ROW)
    with gr.Row(elem_id="controls"):
        policy, budget, new_tokens, settings = policy_controls()
        with gr.Column(scale=1, min_width=110, elem_id="buttons"):
            run_button = gr.Button("Run", variant="primary", elem_id="run")
            stop_button = gr.Button("Stop", elem_id="stop")
    status_line = gr.HTML(status("Connecting …"), elem_id="status")
    halted = gr.HTML(elem_id="stopped")
    with gr.Row():
        with gr.Column(scale=3, min_width=320):
            text = gr.Textbox(EXAMPLES[0].text, label="Your text", lines=4, max_lines=8, elem_id="text")
            gr.Examples(
                [[example.text] for example in EXAMPLES],
                [text],
                example_labels=[example.title for example in EXAMPLES],
                label="Texts to try",
            )
        with gr.Column(scale=2, min_width=300):
            gr.Markdown("### What to see here")
            found = gr.HTML(elem_id="findings")
            with gr.Accordion("Positions · open a saved run", open=False, elem_id="more"):
                positions = gr.Dropdown(
                    list(POSITIONS),
                    value="original",
                    label="Positions of the rows kept",
                    info=POSITIONS_INFO,
                    elem_id="positions",
                )
                open_button = gr.UploadButton("Open a saved run (.npz)", file_types=[".npz"], size="sm", elem_id="open")
    retention_map = RetentionMap()
    with gr.Row():
        with gr.Column(min_width=320):
            with gr.Row():
                gr.Markdown("### One layer's life\nClick a row of the map, or a cell in it.")
                by_attention = gr.Checkbox(label="colour by attention", min_width=160, scale=0)
            head_plot = gr.Plot(show_label=False, elem_id="head")
        with gr.Column(min_width=320):
            gr.Markdown("### One token's life")
            token_words = gr.HTML(elem_id="token-words")
            token_plot = gr.Plot(show_label=False, elem_id="token")
    with gr.Row():
        export_button = gr.Button("Export this run", elem_id="export", scale=0, min_width=180)
        files = gr.Files(
            label="The trace (.npz), a table (.csv), and the map as a page of its own (.html)",
            elem_id="files",
            visible=False,
            height=170,
        )

    async def watch_model() -> AsyncIterator[str]:
        started = time.monotonic()
        while background is not None and not background.done():
            yield status(f"Loading the model … {time.monotonic() - started:.0f} s. The example is real: look around.")
            await asyncio.sleep(0.5)
        error = background.exception() if background is not None else None
        yield status(str(error), "error") if error else status("Model ready. Press Run to read your own text.", "done")

    below = [head_plot, token_plot, token_words]
    page.load(open_page, outputs=[retention_map, found, trace, *below], **QUIETLY)
    page.load(watch_model, outputs=status_line, **QUIETLY)
    running = run_button.click(
        run,
        [model, policy, budget, new_tokens, text, row, positions, *settings],
        [retention_map, found, status_line, trace, *below],
        api_name="run",
        show_progress_on=status_line,
        show_progress="minimal",
        **ALONE,
    )
    stopping(run_button, stop_button, running, halted, "The tokens read so far stay.")
    for clicked in (retention_map.cell, retention_map.token):
        clicked(show_token, trace, [token_plot, token_words], **QUIETLY)
    for clicked in (retention_map.cell, retention_map.row):
        clicked(choose_row, [trace, by_attention], [head_plot, row], **QUIETLY, **ALONE)
    by_attention.change(show_row, [trace, row, by_attention], head_plot, **QUIETLY, **ALONE)
    export_button.click(export, trace, files, **QUIETLY)
    retention_map.window(show_window, trace, retention_map, **QUIETLY)
    open_button.upload(open_run, [open_button, row], [retention_map, found, status_line, trace, *below], **QUIETLY)
    return text, trace


def policy_controls() -> tuple[gr.Dropdown, gr.Slider, gr.Slider, list[gr.Slider]]:
    """Policy, budget, number of new tokens, and the policies' own settings, each shown when its policy is chosen."""
    policy = gr.Dropdown(
        [(policy.label, key) for key, policy in POLICIES.items()],
        value="tova",
        label="Policy",
        scale=2,
        min_width=140,
        elem_id="policy",
    )
    budget = gr.Slider(
        1, 1024, value=64, step=1, label="Multi-state size (budget)", scale=4, min_width=190, elem_id="budget"
    )
    settings = [
        gr.Slider(
            setting.metadata["minimum"],
            setting.metadata["maximum"],
            value=setting.default,
            step=1,
            label=setting.metadata["label"],
            visible=False,
            scale=3,
            min_width=60,
            elem_id=setting.name,
        )
        for _, setting in SETTINGS
    ]
    new_tokens = gr.Slider(
        0, 512, value=0, step=1, label="New tokens to write", scale=4, min_width=180, elem_id="new-tokens"
    )
    policy.change(show_settings, policy, [budget, *settings], **QUIETLY)
    return policy, budget, new_tokens, settings


def show_settings(key: str) -> list[Any]:
    """Show the settings of this policy only; the full model has not even a budget."""
    return [gr.update(visible=key != "full"), *(gr.update(visible=owner == key) for owner, _ in SETTINGS)]


def open_page() -> tuple[dict[str, Any], str, Trace, Any, Any, str]:
    """The stored example, so that nobody ever sees an empty page."""
    trace = first_trace()
    return payload(trace, run="example"), findings_html(findings(trace)), trace, *panels(trace, FIRST_ROW)


def run(
    model: str,
    key: str,
    budget: int,
    new_tokens: int,
    text: str,
    row: tuple[int, int],
    positions: Positions,
    *settings: int,
) -> Iterator[tuple[Any, ...]]:
    """Read the text, write on if asked to, and report while it goes on.

    Yields the map's payload, the findings, the status, the trace, and the panels' contents.
    """
    skip, run_id, started = gr.skip(), uuid.uuid4().hex, time.monotonic()
    no_change = [skip] * 4
    try:
        yield skip, skip, status("Loading the model …"), *no_change
        lm = language_model(model)
        own = {setting.name: value for (owner, setting), value in zip(SETTINGS, settings, strict=True) if owner == key}
        policy = make_policy(key, None if key == "full" else budget, **own)
        tokens = lm.encode(text)
        reports = (
            iter_generate(lm, tokens, [policy], max_new_tokens=new_tokens, positions=positions)
            if new_tokens
            else iter_replay(lm, tokens, policy, positions=positions)
        )
        for report in reports:
            trace = report.traces[0]
            doing = "Reading" if report.done < len(tokens) else "Writing"
            progress = status(f"{doing}: {report.done:,} of {report.total:,} tokens")
            window = window_at(report.total, len(trace) - 1)
            picture = payload(trace, run=run_id, total=report.total, window=window)
            yield picture, findings_html(findings(trace)), progress, trace, skip, skip, skip
        seconds = time.monotonic() - started
        done = f"{len(trace):,} tokens in {seconds:.1f} s"
        whole = payload(trace, run=run_id, window=window_at(len(trace), len(trace) - 1))
        yield whole, skip, status(f"{done}. Comparing with the full model …"), *no_change
        beside = None
        if lm.context_length is None or len(trace) <= lm.context_length:
            beside = full_perplexity(model, tuple(trace.tokens.ids.tolist()))
        fits = policy.budget is not None and policy.budget >= len(trace)
        done += ". The budget is not smaller than the text, so nothing had to be evicted" if fits else ""
        found = findings_html(findings(trace, beside))
        yield skip, found, status(f"Done: {done}.", "done"), skip, *panels(trace, row)
    except UserError as e:
        yield skip, skip, status(str(e), "error"), *no_change


def panels(trace: Trace, row: tuple[int, int]) -> tuple[Any, Any, str]:
    """The two panels below the map: the life of a row, and that of the longest-lived token in a figure and in words."""
    layers, groups, _ = trace.evicted_at.shape
    head = head_figure(trace, min(row[0], layers - 1), min(row[1], groups - 1))
    longest = metrics.longest_lived(trace)
    position = longest.position if longest else 0
    return head, token_figure(trace, position), paragraphs([life(trace, position), "Click any other token or cell."])


def show_token(trace: Trace | None, event: gr.EventData) -> tuple[Any, Any]:
    """The life of the token that was clicked: a figure over all deciders, and in words."""
    if trace is None or not 0 <= int(event.position) < len(trace):
        return gr.skip(), gr.skip()
    position = int(event.position)
    sentences = [life(trace, position)]
    if getattr(event, "group", None) is not None:
        sentences.insert(0, why(trace, int(event.layer), int(event.group), position))
    return token_figure(trace, position), paragraphs(sentences)


def choose_row(trace: Trace | None, by_attention: bool, event: gr.EventData) -> Iterator[tuple[Any, Any]]:
    """The whole life of the row that was clicked; and remember which it was."""
    row = int(event.layer), int(getattr(event, "group", None) or 0)
    for figure in show_row(trace, row, by_attention):
        yield figure, row


def show_row(trace: Trace | None, row: tuple[int, int], by_attention: bool) -> Iterator[Any]:
    """Kept and evicted at once; coloured by attention after a replay down to that layer."""
    if trace is None:
        return
    yield head_figure(trace, *row)
    if by_attention:
        lm = language_model(trace.model_id)
        policy = make_policy(trace.policy.key, trace.policy.budget, **trace.policy.settings)
        attention = attention_of(lm, trace.tokens, policy, *row, positions=trace.positions)
        yield head_figure(trace, *row, attention)


def open_run(file: str, row: tuple[int, int]) -> tuple[Any, ...]:
    """A saved run in place of the one shown: map, findings, status, trace, and the panels' contents."""
    try:
        trace = trace_of(file)
    except UserError as e:
        return *[gr.skip()] * 2, status(str(e), "error"), *[gr.skip()] * 4
    line = status(f"Opened: {trace.policy}, {len(trace):,} tokens, read by {PurePath(trace.model_id).name}.", "done")
    picture = payload(trace, run=uuid.uuid4().hex, window=window_at(len(trace), len(trace) - 1))
    return picture, findings_html(findings(trace)), line, trace, *panels(trace, row)


def show_window(trace: Trace | None, event: gr.EventData) -> Any:
    """Another part of a text that is too long to be shown whole."""
    if trace is None:
        return gr.skip()
    return payload(trace, run=event.run, window=window_at(len(trace), int(event.position)))


def export(trace: Trace | None) -> Any:
    """The run as files."""
    if trace is None:
        return gr.skip()
    return gr.update(value=write_files(trace), visible=True)
