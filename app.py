"""The page: see which tokens a Transformer keeps when its memory is finite.

python app.py                        # the embedded model, on this machine only
python app.py --model PATH_OR_ID     # any supported model, from a directory or the hub
"""

import argparse
import asyncio
import html
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import fields
from functools import lru_cache
from threading import Lock
from typing import Any

import gradio as gr

from core import (
    MODELS,
    POLICIES,
    LanguageModel,
    Trace,
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
    model: str, key: str, budget: int, new_tokens: int, text: str, *settings: int
) -> Iterator[tuple[Any, Any, Any, Any]]:
    """Read the text, write on if asked to, and report while it goes on: map, findings, status, trace."""
    skip, run_id, started = gr.skip(), uuid.uuid4().hex, time.monotonic()
    try:
        yield skip, skip, status("Loading the model …"), skip
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
            yield payload(trace, run=run_id), findings_html(findings(trace)), progress, trace
        seconds = time.monotonic() - started
        done = f"{len(trace):,} tokens in {seconds:.1f} s"
        yield skip, skip, status(f"{done}. Comparing with the full model …"), skip
        beside = full_perplexity(model, tuple(trace.tokens.ids.tolist()))
        yield skip, findings_html(findings(trace, beside)), status(f"Done: {done}.", "done"), skip
    except UserError as e:
        yield skip, skip, status(str(e), "error"), skip


def stopped(trace: Trace | None) -> str:
    """The status after Stop: what has been read stays on the page."""
    return status("Stopped." if trace is None else f"Stopped. The {len(trace):,} tokens read so far stay.", "done")


def open_page() -> tuple[dict[str, Any], str, Trace]:
    """The stored example, so that nobody ever sees an empty page."""
    trace = first_trace()
    return payload(trace, run="example"), findings_html(findings(trace)), trace


def show_settings(key: str) -> list[Any]:
    """Show the settings of this policy only; the full model has not even a budget."""
    return [gr.update(visible=key != "full"), *(gr.update(visible=owner == key) for owner, _ in SETTINGS)]


def show_token(trace: Trace | None, event: gr.EventData) -> tuple[Any, Any]:
    """The life of the token that was clicked: a figure over all deciders, and in words."""
    if trace is None:
        return gr.skip(), gr.skip()
    position = int(event.position)
    words = [life(trace, position)]
    if getattr(event, "layer", None) is not None:
        words.insert(0, why(trace, int(event.layer), int(event.group), position))
    return token_figure(trace, position), "".join(f"<p>{html.escape(sentence)}</p>" for sentence in words)


def show_head(trace: Trace | None, event: gr.EventData) -> Any:
    """The whole life of the row that was clicked."""
    return gr.skip() if trace is None else head_figure(trace, int(event.layer), int(event.group))


CSS = """
.gradio-container { padding: 10px 20px !important; }
.gradio-container .column, .gradio-container .row { gap: 10px; }
#title h1 { margin: 0 0 2px; font-size: 1.5rem; } #title p { margin: 0; }
#title, #title .prose { overflow: visible; }
#controls { align-items: stretch; } #controls .block { padding: 8px 12px; }
#buttons { justify-content: stretch; } #buttons button { flex: 1; min-height: 36px; padding: 4px; }
.status { margin: 0; padding: 4px 12px; border-radius: 6px; border-left: 4px solid var(--body-text-color-subdued);
  background: var(--background-fill-secondary); color: var(--body-text-color); font-variant-numeric: tabular-nums; }
.status.done { border-color: #00618f; } .status.error { border-color: #b3261e; background: #b3261e; color: #fff; }
.findings { display: grid; grid-template-columns: max-content 1fr; gap: 6px 12px; margin: 0; align-items: baseline;
  color: var(--body-text-color); }
.findings dt { font-size: 1.2rem; font-weight: 650; text-align: right; font-variant-numeric: tabular-nums; }
.findings dd { margin: 0; line-height: 1.35; }
#token-words p { margin: 0 0 6px; color: var(--body-text-color); }
.gradio-container h3 { margin: 0; font-size: 1.05rem; }
"""
FONT = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "Liberation Sans", "sans-serif")
THEME = gr.themes.Soft(primary_hue="sky", font=FONT, spacing_size="sm", text_size="md")


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
        trace = gr.State()
        gr.Markdown(f"# {TITLE}\n{LEAD}", elem_id="title")
        with gr.Row(elem_id="controls"):
            model = gr.Dropdown(choices, value=default, label="Model", scale=4, min_width=240)
            policy = gr.Dropdown(
                [(policy.label, key) for key, policy in POLICIES.items()],
                value="tova",
                label="Policy: what to forget",
                scale=2,
                min_width=150,
            )
            budget = gr.Slider(
                1, 1024, value=64, step=1, label="Multi-state size (budget): tokens kept", scale=4, min_width=220
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
                    min_width=160,
                )
                for _, setting in SETTINGS
            ]
            new_tokens = gr.Slider(
                0, 512, value=0, step=1, label="New tokens for the model to write", scale=4, min_width=200
            )
            with gr.Column(scale=1, min_width=110, elem_id="buttons"):
                run_button = gr.Button("Run", variant="primary", elem_id="run")
                stop_button = gr.Button("Stop", elem_id="stop")
        status_line = gr.HTML(status("Connecting …"), elem_id="status")
        with gr.Row():
            with gr.Column(scale=3, min_width=320):
                text = gr.Textbox(EXAMPLES[0].text, label="Your text", lines=6, max_lines=6, elem_id="text")
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
                gr.Markdown("### One layer's life")
                head_plot = gr.Plot(show_label=False, elem_id="head")
            with gr.Column(min_width=320):
                gr.Markdown("### One token's life")
                token_words = gr.HTML(
                    "<p>Click a token or a cell: when it was evicted, and why.</p>", elem_id="token-words"
                )
                token_plot = gr.Plot(show_label=False, elem_id="token")

        page.load(open_page, outputs=[retention_map, found, trace], api_visibility="private", show_progress="hidden")
        page.load(watch_model, outputs=status_line, api_visibility="private", show_progress="hidden")
        policy.change(show_settings, policy, [budget, *settings], api_visibility="private", show_progress="hidden")
        running = run_button.click(
            run,
            [model, policy, budget, new_tokens, text, *settings],
            [retention_map, found, status_line, trace],
            api_name="run",
            concurrency_id="model",
            concurrency_limit=1,
            show_progress_on=status_line,
            show_progress="minimal",
        )
        stop_button.click(stopped, trace, status_line, cancels=[running], api_visibility="private", queue=False)
        private = {"api_visibility": "private", "show_progress": "hidden"}
        for clicked in (retention_map.cell, retention_map.token):
            clicked(show_token, trace, [token_plot, token_words], **private)
        for clicked in (retention_map.cell, retention_map.row):
            clicked(show_head, trace, head_plot, **private)
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
