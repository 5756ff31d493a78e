"""Explore: one text under one policy, step by step."""

import asyncio
import json
import re
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, fields
from functools import partial
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, get_args

import gradio as gr
import numpy as np

import core
from core import metrics
from core.errors import UserError
from core.policies import POLICIES, Policy, make_policy, settings_of
from core.registry import MODELS
from core.trace import Positions, Tokens, Trace
from core.trace_store import Stored, TraceStore, key_of
from viz.example_texts import EXAMPLES, first_trace
from viz.export import write_files
from viz.figures import head_figure, token_figure
from viz.findings import findings, findings_html
from viz.lesson_words import Language
from viz.markup import in_both, paragraphs, status
from viz.payload import payload, window_at
from viz.retention_map import RetentionMap
from viz.sentences import life, why
from viz.tabs import limits, models
from viz.tabs.buttons import starting, stopping
from viz.tabs.models import ALONE, QUIETLY, language_model
from viz.tabs.runs import Run, a_run
from viz.tabs.stored import BEFORE, GOING_ON, LOOKING, full_perplexity
from viz.tabs.uploads import trace_of
from viz.translations import SAID

if TYPE_CHECKING:
    from core import LanguageModel

SETTINGS = [
    (key, setting)
    for key, policy in POLICIES.items()
    for setting in fields(policy)
    if setting.name != "budget" and setting.metadata
]
"""The policies' own settings, each with the policy it belongs to."""

FULL_PERPLEXITY = "full_perplexity"
"""The name under which the store has it, beside a trace."""

FIRST_ROW = (12, 0)
"""The layer (and KV head) whose life is shown until another is clicked: one in the middle of the default model."""

POSITIONS = get_args(Positions)
POSITIONS_INFO = (
    "original: each row keeps its place in the text, as in the published TOVA code. in-cache: the rows are numbered "
    "anew at every step, as in StreamingLLM, so a text may be longer than the model was trained for. log-gap: as "
    "original, but gaps of more than 10 shrink to ln(ln gap), the paper's own way (section 7.2)."
)


LOST = (
    "The run of this link is not in the store of this app: the link is not whole, or the run has made room for newer "
    "ones. Choose its text and settings below and press Run, or ask for it as a file (.npz) and open that. "
    "What you see is the example."
)

NOTHING_EVICTED = "The budget is not smaller than the text, so nothing had to be evicted."

CLICK: dict[Language, str] = {"en": "Click any other token or cell.", "zh": "点击其他词元或格子，看看它们的历程。"}

COPY_LINK = """async () => {
  const chinese = document.documentElement.lang.startsWith("zh") ? CHINESE : {};
  const say = (english) => chinese[english] ?? english;
  const { link } = document.querySelector(".rm[data-link]:not([data-link=''])")?.dataset ?? {};
  const shown = (label, value) => ({ __type__: "update", label: say(label), value, visible: true });
  if (!link) return shown("No link yet", say("Only a whole run has one: press Run and let it come to its end."));
  try {
    await navigator.clipboard.writeText(link);
    return shown("Copied: the link to this run at this step", link);
  } catch {
    return shown("Copy this link to this run at this step", link);
  }
}""".replace("CHINESE", json.dumps(SAID))
"""Browsers let a page write to the clipboard only if it came from this machine or through https."""


def explore_tab(
    page: gr.Blocks, model: gr.Dropdown, background: "Future[LanguageModel] | None", store: TraceStore
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
        link_button = gr.Button("Copy link", elem_id="copy-link", scale=0, min_width=120)
        link = gr.Textbox(elem_id="link", visible=False, interactive=False)
        files = gr.Files(
            label="The trace (.npz), a table (.csv), and the map as a page of its own (.html)",
            elem_id="files",
            visible=False,
            height=170,
        )

    async def watch_model() -> AsyncIterator[str]:
        started = time.monotonic()
        while background is not None and not background.done():
            seconds = time.monotonic() - started
            yield status("Loading the model … {seconds:.0f} s. The example is real: look around.", seconds=seconds)
            await asyncio.sleep(0.5)
        error = background.exception() if background is not None else None
        yield status(str(error), "error") if error else status("Model ready. Press Run to read your own text.", "done")

    def open_page(request: gr.Request) -> tuple[Any, ...]:
        return opened(store, request.query_params)

    below = [head_plot, token_plot, token_words]
    controls = [model, policy, budget, new_tokens, text, positions, *settings]
    page.load(open_page, outputs=[retention_map, found, trace, *below, halted, *controls], **QUIETLY)
    page.load(watch_model, outputs=status_line, **QUIETLY)
    shown = [retention_map, found, status_line, trace, *below]
    inputs = [row, *controls]
    running = starting(run_button, partial(run, store), inputs, shown, status_line, partial(look, store))
    stopping(run_button, stop_button, running, halted, "The tokens read so far stay.")
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
    most = limits.current.max_budget
    budget = gr.Slider(
        1,
        most,
        value=min(64, most),
        step=1,
        label="Multi-state size (budget)",
        scale=4,
        min_width=190,
        elem_id="budget",
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
        0,
        min(512, limits.current.max_new_tokens),
        value=0,
        step=1,
        label="New tokens to write",
        scale=4,
        min_width=180,
        elem_id="new-tokens",
    )
    policy.change(show_settings, policy, [budget, *settings], **QUIETLY)
    return policy, budget, new_tokens, settings


def show_settings(key: str) -> list[Any]:
    """Show the settings of this policy only; the full model has not even a budget."""
    return [gr.update(visible=key != "full"), *(gr.update(visible=owner == key) for owner, _ in SETTINGS)]


@dataclass(frozen=True, eq=False)
class Request:
    """A run that is asked for: the tokens, the policy, how it is to go, and under which key the store has it."""

    tokens: Tokens
    policy: Policy
    positions: Positions
    new_tokens: int
    key: str


def request_of(
    lm: "LanguageModel",
    key: str,
    budget: int,
    new_tokens: int,
    text: str,
    positions: Positions,
    *settings: int,
) -> Request:
    """What the controls ask for.

    Raises:
        UserError: it cannot be done.
    """
    own = {setting.name: value for (owner, setting), value in zip(SETTINGS, settings, strict=True) if owner == key}
    policy = make_policy(key, None if key == "full" else budget, **own)
    limits.current.check_budgets([policy.budget or 0])
    limits.current.check_new_tokens(new_tokens)
    tokens = limits.current.encode(lm, text)
    key = key_of(lm, tokens, [settings_of(policy)], positions=positions, max_new_tokens=new_tokens)
    return Request(tokens, policy, positions, new_tokens, key)


async def look(store: TraceStore, row: tuple[int, int], model: str, *controls: Any) -> AsyncIterator[tuple[Any, ...]]:
    """Show a run that is stored, without waiting for the model; else ask for it by changing the last output.

    So does everybody who asks for what somebody else's run is already computing.
    """
    yield *line(LOOKING), gr.skip()
    lm = models.resident.peek(model)
    if lm is not None:  # else only the loading can tell which model this name stands for now
        try:
            request = await asyncio.to_thread(request_of, lm, *controls)
        except UserError as e:
            yield *line(str(e), "error"), gr.skip()
            return
        while store.is_computing(request.key):
            yield *line(GOING_ON), gr.skip()
            await asyncio.sleep(0.3)
        stored = await asyncio.to_thread(store.get, request.key)
        if stored is not None:
            yield *await asyncio.to_thread(from_store, stored, request.key, row), gr.skip()
            record = Run("Explore", model, tokens=len(stored.traces[0]), from_store=True, outcome="done")
            record.under([request.policy])
            record.log()
            return
    yield *line("Waiting for the model …"), uuid.uuid4().hex


@a_run("Explore", outputs=7, line=2)
def run(
    record: Run,
    store: TraceStore,
    row: tuple[int, int],
    model: str,
    policy: str,
    budget: int,
    new_tokens: int,
    text: str,
    positions: Positions,
    *settings: int,
) -> Iterator[tuple[Any, ...]]:
    """Read the text, write on if asked to, and report while it goes on; or show what is stored of it.

    Yields the map's payload, the findings, the status, the trace, and the panels' contents.
    """
    yield line("Loading the model …")
    lm = record.load(model)
    request = request_of(lm, policy, budget, new_tokens, text, positions, *settings)
    record.under([request.policy])
    with store.turn(request.key) as comes:
        while not comes():
            yield line(GOING_ON)
        stored = store.get(request.key)
        record.from_store = stored is not None
        if stored is not None:
            record.tokens = len(stored.traces[0])
            yield from_store(stored, request.key, row)
        else:
            yield from computed(record, store, lm, request, row)


def computed(
    record: Run, store: TraceStore, lm: "LanguageModel", request: Request, row: tuple[int, int]
) -> Iterator[tuple[Any, ...]]:
    """Do the run and store it."""
    skip, run_id, started = gr.skip(), uuid.uuid4().hex, time.monotonic()
    for report in reports(lm, request):
        trace = report.traces[0]
        record.tokens = len(trace)
        doing = "Reading" if report.done < len(request.tokens) else "Writing"
        progress = status(doing + ": {done:,} of {total:,} tokens", done=report.done, total=report.total)
        window = window_at(report.total, len(trace) - 1)
        picture = payload(trace, run=run_id, total=report.total, window=window)
        yield picture, what_to_see(trace), progress, trace, skip, skip, skip
    seconds = time.monotonic() - started
    comparing = "{tokens:,} tokens in {seconds:.1f} s. Comparing with the full model …"
    yield line(comparing, tokens=len(trace), seconds=seconds)
    stored = Stored((trace,))
    if lm.context_length is None or len(trace) <= lm.context_length:
        stored = Stored((trace,), {FULL_PERPLEXITY: np.array(full_perplexity(store, lm, trace.tokens))})
    key = request.key if store.put(request.key, stored) else None
    picture, found, *rest = whole(stored, key, row, run_id)
    yield picture, found, done(trace, "Done: {tokens:,} tokens in {seconds:.1f} s.", seconds=seconds), *rest


def reports(lm: "LanguageModel", request: Request) -> Iterator[Any]:
    """Of the run, as it goes on."""
    tokens, policy, positions = request.tokens, request.policy, request.positions
    if request.new_tokens:
        return core.iter_generate(lm, tokens, [policy], max_new_tokens=request.new_tokens, positions=positions)
    return core.iter_replay(lm, tokens, policy, positions=positions)


def line(message: str, kind: str = "", **values: Any) -> tuple[Any, ...]:
    """The outputs of a run if only its status changes."""
    return gr.skip(), gr.skip(), status(message, kind, **values), *[gr.skip()] * 4


def done(trace: Trace, first: str, *more: str, **values: Any) -> str:
    """The status of a run that has come to its end; it also says if the policy had nothing to do."""
    idle = trace.policy.budget is not None and trace.policy.budget >= len(trace)
    return status([first, *[NOTHING_EVICTED] * idle, *more], "done", tokens=len(trace), **values)


def from_store(stored: Stored, key: str, row: tuple[int, int]) -> tuple[Any, ...]:
    """The outputs of a run that was computed before."""
    picture, found, *rest = whole(stored, key, row, uuid.uuid4().hex)
    trace = stored.traces[0]
    return picture, found, done(trace, "Done: {tokens:,} tokens.", f"{BEFORE}."), *rest


def whole(stored: Stored, key: str | None, row: tuple[int, int], run: str, step: int | None = None) -> tuple[Any, ...]:
    """Payload, findings, trace, and the panels' contents of a run that has come to its end.

    The payload has the `key` under which everybody finds the run: "" if it is the example, None if nobody does.
    """
    trace = stored.traces[0]
    beside = stored.arrays.get(FULL_PERPLEXITY)
    window = window_at(len(trace), len(trace) - 1 if step is None else step)
    picture = payload(trace, run=run, window=window) | {"key": key}
    found = what_to_see(trace, None if beside is None else float(beside))
    return picture, found, trace, *panels(trace, row)


def what_to_see(trace: Trace, full_perplexity: float | None = None) -> str:
    """The findings, in both languages."""
    return in_both(lambda language: findings_html(findings(trace, full_perplexity, language)))


def opened(store: TraceStore, query: Mapping[str, str]) -> tuple[Any, ...]:
    """The run that the address names and the controls as they were; else the example: nobody sees an empty page.

    The map's payload, the findings, the trace, the panels' contents, what to say, and the controls.
    """
    key, step = query.get("trace"), query.get("step", "")
    stored = store.get(key) if key is not None else None
    if stored is None:
        lost = gr.skip() if key is None else status(LOST, "error")
        example = whole(Stored((first_trace(),)), "", FIRST_ROW, "example")
        return *example, lost, *[gr.skip()] * (6 + len(SETTINGS))
    asked_step = int(step) if re.fullmatch("[0-9]{1,9}", step) else None
    shown = whole(stored, key, FIRST_ROW, uuid.uuid4().hex, asked_step)
    return *shown, gr.skip(), *controls_of(stored.traces[0])


def controls_of(trace: Trace) -> list[Any]:
    """What the controls were when this run was asked for; one that does not have the value stays."""
    tokens, policy = trace.tokens[: trace.prompt_length], trace.policy
    text = "".join(piece for piece, special in zip(tokens.pieces, tokens.special, strict=True) if not special)
    return [
        trace.model_id if trace.model_id in MODELS else gr.skip(),
        policy.key if policy.key in POLICIES else gr.skip(),
        policy.budget or gr.skip(),
        len(trace) - trace.prompt_length,
        text,
        trace.positions,
        *(policy.settings[setting.name] if owner == policy.key else gr.skip() for owner, setting in SETTINGS),
    ]


def panels(trace: Trace, row: tuple[int, int]) -> tuple[Any, Any, str]:
    """The two panels below the map: the life of a row, and that of the longest-lived token in a figure and in words."""
    layers, groups, _ = trace.evicted_at.shape
    head = head_figure(trace, min(row[0], layers - 1), min(row[1], groups - 1))
    longest = metrics.longest_lived(trace)
    position = longest.position if longest else 0
    words = in_both(lambda language: paragraphs([life(trace, position, language), CLICK[language]]))
    return head, token_figure(trace, position), words


def show_token(trace: Trace | None, event: gr.EventData) -> tuple[Any, Any]:
    """The life of the token that was clicked: a figure over all deciders, and in words."""
    if trace is None or not 0 <= int(event.position) < len(trace):
        return gr.skip(), gr.skip()
    position = int(event.position)

    def sentences(language: Language) -> list[str]:
        told = [life(trace, position, language)]
        if getattr(event, "group", None) is None:
            return told
        return [why(trace, int(event.layer), int(event.group), position, language), *told]

    return token_figure(trace, position), in_both(lambda language: paragraphs(sentences(language)))


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
        attention = core.attention_of(lm, trace.tokens, policy, *row, positions=trace.positions)
        yield head_figure(trace, *row, attention)


def open_run(file: str, row: tuple[int, int]) -> tuple[Any, ...]:
    """A saved run in place of the one shown: map, findings, status, trace, and the panels' contents."""
    try:
        trace = trace_of(file)
    except UserError as e:
        return *[gr.skip()] * 2, status(str(e), "error"), *[gr.skip()] * 4
    limit = "" if trace.policy.budget is None else ", budget {budget}"
    line = status(
        "Opened: {policy}" + limit + ", {tokens:,} tokens, read by {model}.",
        "done",
        policy=trace.policy.label,
        budget=trace.policy.budget,
        tokens=len(trace),
        model=PurePath(trace.model_id).name,
    )
    picture = payload(trace, run=uuid.uuid4().hex, window=window_at(len(trace), len(trace) - 1))
    return picture, what_to_see(trace), line, trace, *panels(trace, row)


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
