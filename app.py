"""The page: see which tokens a Transformer keeps when its memory is finite.

python app.py                        # the embedded model, on this machine only
python app.py --model PATH_OR_ID     # any supported model, from a directory or the hub
"""

import argparse
import asyncio
import html
import json
import os
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import fields
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any

# Before torch is loaded: threads that wait actively make two processes on the same cores many times slower than one.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import gradio as gr

from core import (
    MODELS,
    POLICIES,
    LanguageModel,
    Trace,
    attention_of,
    iter_generate,
    iter_replay,
    load_model,
    make_policy,
    metrics,
    replay,
)
from core.errors import UserError
from core.models import DEFAULT_MODEL
from viz.example_texts import EXAMPLES, first_trace
from viz.export import write_files
from viz.figures import head_figure, token_figure
from viz.findings import findings, findings_html
from viz.payload import payload
from viz.retention_map import RetentionMap
from viz.sentences import life, why

TITLE = "What does a Transformer keep?"
LEAD = (
    "A Transformer remembers one row for every token it has read. Give it a finite memory and a rule for what to "
    "forget, and watch what each layer keeps of your own text."
)
SETTINGS = [
    (key, setting)
    for key, policy in POLICIES.items()
    for setting in fields(policy)
    if setting.name != "budget" and setting.metadata
]
"""The policies' own settings, each with the policy it belongs to."""

FIRST_ROW = (12, 0)
"""The layer (and KV head) whose life is shown until another is clicked: one in the middle of the default model."""

_loading = Lock()


@lru_cache(maxsize=1)
def _loaded(model: str) -> LanguageModel:
    return load_model(model)


def language_model(model: str) -> LanguageModel:
    """The model, loaded at its first use; one is held in memory at a time."""
    with _loading:
        return _loaded(model)


@lru_cache(maxsize=256)
def full_perplexity(model: str, ids: tuple[int, ...]) -> float:
    """Of the model that forgets nothing, on these tokens."""
    return metrics.perplexity(replay(language_model(model), ids, make_policy("full")))


def status(message: str, kind: str = "info") -> str:
    """A line of plain text for the status field."""
    role = "alert" if kind == "error" else "status"
    return f'<p class="status {kind}" role="{role}">{html.escape(message)}</p>'


def run(
    model: str, key: str, budget: int, new_tokens: int, text: str, row: tuple[int, int], *settings: int
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
            iter_generate(lm, tokens, [policy], max_new_tokens=new_tokens)
            if new_tokens
            else iter_replay(lm, tokens, policy)
        )
        for report in reports:
            trace = report.traces[0]
            doing = "Reading" if report.done < len(tokens) else "Writing"
            progress = status(f"{doing}: {report.done:,} of {report.total:,} tokens")
            picture = payload(trace, run=run_id, total=report.total)
            yield picture, findings_html(findings(trace)), progress, trace, skip, skip, skip
        seconds = time.monotonic() - started
        done = f"{len(trace):,} tokens in {seconds:.1f} s"
        whole = payload(trace, run=run_id)
        yield whole, skip, status(f"{done}. Comparing with the full model …"), *no_change
        beside = full_perplexity(model, tuple(trace.tokens.ids.tolist()))
        fits = policy.budget is not None and policy.budget >= len(trace)
        done += ". The budget is not smaller than the text, so nothing had to be evicted" if fits else ""
        found = findings_html(findings(trace, beside))
        yield skip, found, status(f"Done: {done}.", "done"), skip, *panels(trace, row)
    except UserError as e:
        yield skip, skip, status(str(e), "error"), *no_change


def stopped(trace: Trace | None) -> str:
    """The status after Stop: what has been read stays on the page."""
    return status("Stopped." if trace is None else f"Stopped. The {len(trace):,} tokens read so far stay.", "done")


def open_page() -> tuple[dict[str, Any], str, Trace, Any, Any, str]:
    """The stored example, so that nobody ever sees an empty page."""
    trace = first_trace()
    return payload(trace, run="example"), findings_html(findings(trace)), trace, *panels(trace, FIRST_ROW)


def panels(trace: Trace, row: tuple[int, int]) -> tuple[Any, Any, str]:
    """The two panels below the map: the life of a row, and that of the longest-lived token in a figure and in words."""
    layers, groups, _ = trace.evicted_at.shape
    head = head_figure(trace, min(row[0], layers - 1), min(row[1], groups - 1))
    longest = metrics.longest_lived(trace)
    position = longest.position if longest else 0
    return head, token_figure(trace, position), paragraphs([life(trace, position), "Click any other token or cell."])


def paragraphs(sentences: list[str]) -> str:
    """Sentences for the page; every text is escaped."""
    return "".join(f"<p>{html.escape(sentence)}</p>" for sentence in sentences)


def show_settings(key: str) -> list[Any]:
    """Show the settings of this policy only; the full model has not even a budget."""
    return [gr.update(visible=key != "full"), *(gr.update(visible=owner == key) for owner, _ in SETTINGS)]


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
        yield head_figure(trace, *row, attention_of(lm, trace.tokens, policy, *row))


def export(trace: Trace | None) -> Any:
    """The run as files."""
    if trace is None:
        return gr.skip()
    return gr.update(value=[str(path) for path in write_files(trace, Path(tempfile.mkdtemp()))], visible=True)


CSS = """
.gradio-container { padding: 0 !important; }
.gradio-container .main { padding: 12px clamp(8px, 2vw, 40px) !important; }
.gradio-container .column, .gradio-container .row { gap: 10px; }
#title h1 { margin: 0 0 2px; font-size: 1.5rem; } #title p { margin: 0; }
#title, #title .prose { overflow: visible; }
#controls { align-items: stretch; } #controls .block { padding: 8px 12px; }
#buttons { justify-content: stretch; } #buttons button { flex: 1; min-height: 36px; padding: 4px; }
.status { margin: 0; padding: 4px 12px; border-radius: 6px; border-left: 4px solid var(--body-text-color-subdued);
  background: var(--background-fill-secondary); color: var(--body-text-color); font-variant-numeric: tabular-nums; }
.status.done { border-color: #00618f; } .status.error { border-color: #b3261e; background: #b3261e; color: #fff; }
.findings { display: grid; grid-template-columns: repeat(auto-fill, minmax(225px, 1fr)); gap: 8px 16px; margin: 0;
  color: var(--body-text-color); }
.findings dt { font-size: 1.25rem; line-height: 1.3; font-weight: 650; font-variant-numeric: tabular-nums; }
.findings dd { margin: 0; line-height: 1.35; font-size: .92rem; }
#token-words p { margin: 0 0 6px; color: var(--body-text-color); }
.js-plotly-plot .main-svg > g:not(.hoverlayer) text { fill: var(--body-text-color) !important; }
.gradio-container h3 { margin: 0; font-size: 1.05rem; }
"""
FONT = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "Liberation Sans", "sans-serif")
THEME = gr.themes.Soft(primary_hue="sky", font=FONT, spacing_size="sm", text_size="md").set(
    block_title_background_fill="none",
    block_title_background_fill_dark="none",
    block_title_text_color="*body_text_color",
    block_title_text_color_dark="*body_text_color",
    block_title_padding="0",
    block_label_background_fill="none",
    block_label_background_fill_dark="none",
    block_label_text_color="*body_text_color",
    block_label_text_color_dark="*body_text_color",
    button_primary_background_fill="#00618f",
    button_primary_background_fill_hover="#00507a",
    button_primary_background_fill_dark="#00618f",
    button_primary_background_fill_hover_dark="#0076ad",
    checkbox_border_color="*body_text_color_subdued",
    checkbox_border_color_dark="*body_text_color_subdued",
    input_border_width="1px",
    input_border_color="*border_color_primary",
    slider_color="#00618f",
    slider_color_dark="#6ec1ee",
)
TIPS = {
    "model": "Which language model reads the text. Heads are given as query heads / KV heads.",
    "policy": "The rule that says which row a layer forgets when its multi-state is full.",
    "budget": "How many rows (one per token) each layer may hold. Everything else is evicted, for good.",
    "new-tokens": "0 only reads your text; with more, the model writes on from what it still remembers.",
    "n_sink": "The first i tokens of the text are never evicted.",
    "seed": "Another seed evicts other tokens.",
}
"""What a control means, shown when the pointer rests on it."""
SHOW_TIPS = f"""() => {{
  for (const [id, tip] of Object.entries({json.dumps(TIPS)})) {{
    const control = document.getElementById(id);
    if (control) control.title = tip;
  }}
}}"""


def build(default: str = DEFAULT_MODEL, background: "Future[LanguageModel] | None" = None) -> gr.Blocks:
    """The page. `background` is the loading of the default model, whose progress the page shows."""
    choices = [(str(spec), name) for name, spec in MODELS.items()]
    if default not in MODELS:
        choices.insert(0, (default, default))

    async def watch_model() -> AsyncIterator[str]:
        started = time.monotonic()
        while background is not None and not background.done():
            yield status(f"Loading the model … {time.monotonic() - started:.0f} s. The example is real: look around.")
            await asyncio.sleep(0.5)
        error = background.exception() if background is not None else None
        yield status(str(error), "error") if error else status("Model ready. Press Run to read your own text.", "done")

    with gr.Blocks(title=TITLE, analytics_enabled=False, fill_width=True) as page:
        trace, row = gr.State(), gr.State(FIRST_ROW)
        gr.Markdown(f"# {TITLE}\n{LEAD}", elem_id="title")
        with gr.Row(elem_id="controls"):
            model = gr.Dropdown(choices, value=default, label="Model", scale=5, min_width=230, elem_id="model")
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
            with gr.Column(scale=1, min_width=110, elem_id="buttons"):
                run_button = gr.Button("Run", variant="primary", elem_id="run")
                stop_button = gr.Button("Stop", elem_id="stop")
        status_line = gr.HTML(status("Connecting …"), elem_id="status")
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

        quietly: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
        alone: dict[str, Any] = {"concurrency_id": "model", "concurrency_limit": 1}
        below = [head_plot, token_plot, token_words]
        page.load(open_page, outputs=[retention_map, found, trace, *below], **quietly)
        page.load(watch_model, outputs=status_line, **quietly)
        page.load(None, js=SHOW_TIPS)
        policy.change(show_settings, policy, [budget, *settings], **quietly)
        running = run_button.click(
            run,
            [model, policy, budget, new_tokens, text, row, *settings],
            [retention_map, found, status_line, trace, *below],
            api_name="run",
            show_progress_on=status_line,
            show_progress="minimal",
            **alone,
        )
        stop_button.click(stopped, trace, status_line, cancels=[running], queue=False, **quietly)
        for clicked in (retention_map.cell, retention_map.token):
            clicked(show_token, trace, [token_plot, token_words], **quietly)
        for clicked in (retention_map.cell, retention_map.row):
            clicked(choose_row, [trace, by_attention], [head_plot, row], **quietly, **alone)
        by_attention.change(show_row, [trace, row, by_attention], head_plot, **quietly, **alone)
        export_button.click(export, trace, files, **quietly)
    return page


def main() -> None:
    """Start the server; the model loads while the page is already there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=DEFAULT_MODEL, help="a name from the menu, a directory or a hub id")
    parser.add_argument("--host", help="address to listen on (default: this machine only)")
    parser.add_argument("--port", type=int, help="port to listen on (default: the first free one from 7860)")
    arguments = parser.parse_args()
    background = ThreadPoolExecutor(1).submit(language_model, arguments.model)
    page = build(arguments.model, background)
    page.launch(server_name=arguments.host, server_port=arguments.port, theme=THEME, css=CSS, footer_links=[])


if __name__ == "__main__":
    main()
