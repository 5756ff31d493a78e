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
    foresee,
    forgotten_attention,
    iter_compare,
    iter_generate,
    iter_replay,
    iter_sweep,
    load_model,
    make_policy,
    metrics,
    replay,
)
from core.costs import Comparison, costs, delta_nll, forgotten_share, most_missed
from core.errors import BadInput, UserError
from core.kinds import longest_lived_rows
from core.models import DEFAULT_MODEL
from core.records import LABELS, Point, budget_sentences, points
from viz.comparison_map import ComparisonMap
from viz.example_texts import EXAMPLES, first_trace
from viz.export import write_files
from viz.figures import head_figure, sweep_figure, token_figure
from viz.findings import findings, findings_html
from viz.measures import (
    age_figure,
    early_figure,
    kinds_figure,
    layer_overlap_figure,
    lives_figure,
    recency_figure,
    survival_figure,
)
from viz.payload import comparison_payload, payload
from viz.retention_map import RetentionMap
from viz.sentences import life, quoted, why

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


COST_COLUMNS = ["policy", "perplexity", "ΔNLL", "KL", "top-1 agreement", "KV memory", "KV memory at 7B", "tokens/s"]


def run_compare(
    model: str, text: str, keys: list[str], budget: int, new_tokens: int
) -> Iterator[tuple[Any, Any, Any, Any, Any]]:
    """Read or write under several policies in lockstep: maps, status, costs, traces, and what was missed."""
    skip, run_id, started = gr.skip(), uuid.uuid4().hex, time.monotonic()
    try:
        lm = language_model(model)
        tokens = lm.encode(text)
        policies = [foresee(lm, tokens, budget) if key == "oracle" else make_policy(key, budget) for key in keys]
        if new_tokens:
            for report in iter_generate(lm, tokens, policies, max_new_tokens=new_tokens):
                picture = comparison_payload(report.traces, run=run_id, total=report.total)
                line = status(f"{report.done:,} of {report.total:,} tokens")
                yield picture, line, [], report.traces, ""
        else:
            for reading in iter_compare(lm, tokens, policies):
                comparison = reading.comparison
                delta = delta_nll(comparison)
                picture = comparison_payload(comparison.traces, delta, run=run_id, total=reading.total)
                line = status(f"{reading.done:,} of {reading.total:,} tokens")
                yield picture, line, skip, list(comparison.traces), ""
            hint = "Colour the text by ΔNLL and click a token: which forgotten tokens the full model looks at there."
            yield skip, skip, cost_rows(comparison), skip, paragraphs([hint])
        yield skip, status(f"Done in {time.monotonic() - started:.1f} s.", "done"), skip, skip, skip
    except UserError as e:
        yield skip, status(str(e), "error"), skip, skip, skip


def cost_rows(comparison: Comparison) -> list[list[Any]]:
    """The table's rows: the full model first."""
    return [
        [
            str(cost.policy),
            round(cost.perplexity, 2),
            round(cost.mean_delta_nll, 3),
            round(cost.mean_kl, 3),
            f"{cost.agreement:.0%}",
            f"{cost.memory / 1e6:.1f} MB",
            f"{cost.memory_llama_2_7b / 1e6:,.0f} MB",
            round(cost.tokens_per_second),
        ]
        for cost in costs(comparison)
    ]


def show_missed(model: str, traces: list[Trace] | None, event: gr.EventData) -> str:
    """Which evicted tokens the full model attends to most when it predicts the token that was clicked."""
    index, query = int(event.policy), int(event.position) - 1
    if not traces or not 0 <= index < len(traces) or not 0 <= query < len(traces[index]):
        return ""
    trace = traces[index]
    (forgotten,) = forgotten_attention(language_model(model), [trace], query)
    share = float(forgotten_share(forgotten).mean())
    sentences = [
        f"{trace.policy}, predicting {quoted(trace, query + 1)} (token {query + 1}): {share:.0%} of the full model's "
        "attention falls on tokens that this policy no longer has."
    ]
    tokens = [f"{quoted(trace, position)} (token {position}, {paid:.1%})" for position, paid in most_missed(forgotten)]
    return paragraphs(sentences + (["Most of it on " + ", ".join(tokens) + "."] if tokens else []))


def measure(trace: Trace | None) -> list[Any]:
    """Figures of what the run keeps, and the table of its longest-lived tokens."""
    if trace is None or len(trace) < 2:
        return [gr.skip()] * 8
    figures = (recency_figure, age_figure, early_figure, survival_figure, kinds_figure)
    rows = longest_lived_rows(trace)
    values = [[round(value, 1) if isinstance(value, float) else value for value in row.values()] for row in rows]
    table = {"headers": list(rows[0]), "data": values}
    drawn = [figure([trace]) for figure in figures]
    return [*drawn, layer_overlap_figure(trace), lives_figure(trace), gr.update(value=table)]


SWEEP_COLUMNS = ["policy", "budget", "perplexity", "tokens", "tokens per second"]


def run_sweep(
    model: str, text: str, file: str | None, keys: list[str], budgets: str
) -> Iterator[tuple[Any, Any, Any, Any]]:
    """Read the text with every policy and budget: status, figure, sentences and table, as the points arrive."""
    skip, started, drawn = gr.skip(), time.monotonic(), 0
    try:
        lm = language_model(model)
        tokens = lm.encode(uploaded(file) if file else text)
        for report in iter_sweep(lm, tokens, keys, whole_numbers(budgets)):
            seconds = time.monotonic() - started
            left = seconds / max(report.done, 1) * (report.total - report.done)
            line = status(f"{report.done:,} of {report.total:,} tokens read; about {left:.0f} s left")
            if len(report.records) == drawn:
                yield line, skip, skip, skip
                continue
            drawn = len(report.records)
            curves = points(report.records)
            yield line, sweep_figure(curves), paragraphs(budget_sentences(report.records)), sweep_rows(curves)
        yield status(f"Done: {report.total:,} tokens in {time.monotonic() - started:.1f} s.", "done"), skip, skip, skip
    except UserError as e:
        yield status(str(e), "error"), skip, skip, skip


def sweep_rows(curves: list[Point]) -> list[list[Any]]:
    """The table's rows; the full model has no budget."""
    return [[LABELS[p.policy], p.budget, round(p.perplexity, 3), p.tokens, round(p.tokens_per_second)] for p in curves]


def uploaded(file: str) -> str:
    """The text of an uploaded file."""
    try:
        return Path(file).read_text(encoding="utf-8")
    except UnicodeDecodeError as e:
        raise BadInput("The file is not a UTF-8 text. Save it as UTF-8, or paste the text.") from e


def whole_numbers(text: str) -> list[int]:
    """Numbers with commas or spaces between."""
    try:
        return [int(number) for number in text.replace(",", " ").split()]
    except ValueError:
        raise BadInput(
            f"The budgets must be whole numbers with commas between, such as 16, 32, not {text!r}."
        ) from None


CSS = """
.gradio-container { padding: 0 !important; }
.gradio-container .main { padding: 12px clamp(8px, 2vw, 40px) !important; }
.gradio-container .column, .gradio-container .row { gap: 10px; }
#title h1 { margin: 0 0 2px; font-size: 1.5rem; } #title p { margin: 0; }
#title, #title .prose { overflow: visible; } #title { min-width: min(420px, 100%); } #header { align-items: end; }
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


QUIETLY: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
ALONE: dict[str, Any] = {"concurrency_id": "model", "concurrency_limit": 1}
"""Of every event that uses the model: one at a time, the others wait in line."""


def build(default: str = DEFAULT_MODEL, background: "Future[LanguageModel] | None" = None) -> gr.Blocks:
    """The page. `background` is the loading of the default model, whose progress the page shows."""
    choices = [(str(spec), name) for name, spec in MODELS.items()]
    if default not in MODELS:
        choices.insert(0, (default, default))
    with gr.Blocks(title=TITLE, analytics_enabled=False, fill_width=True) as page:
        with gr.Row(elem_id="header"):
            gr.Markdown(f"# {TITLE}\n{LEAD}", elem_id="title")
            model = gr.Dropdown(choices, value=default, label="Model", scale=0, min_width=380, elem_id="model")
        with gr.Tabs():
            with gr.Tab("Explore"):
                text, trace = explore_tab(page, model, background)
            with gr.Tab("Compare"):
                compare_tab(model, text)
            with gr.Tab("Measure") as tab:
                measure_tab(tab, trace)
            with gr.Tab("Budget"):
                budget_tab(model, text)
        page.load(None, js=SHOW_TIPS)
    return page


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
        [model, policy, budget, new_tokens, text, row, *settings],
        [retention_map, found, status_line, trace, *below],
        api_name="run",
        show_progress_on=status_line,
        show_progress="minimal",
        **ALONE,
    )
    stop_button.click(stopped, trace, status_line, cancels=[running], queue=False, **QUIETLY)
    for clicked in (retention_map.cell, retention_map.token):
        clicked(show_token, trace, [token_plot, token_words], **QUIETLY)
    for clicked in (retention_map.cell, retention_map.row):
        clicked(choose_row, [trace, by_attention], [head_plot, row], **QUIETLY, **ALONE)
    by_attention.change(show_row, [trace, row, by_attention], head_plot, **QUIETLY, **ALONE)
    export_button.click(export, trace, files, **QUIETLY)
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


def compare_tab(model: gr.Dropdown, text: gr.Textbox) -> None:
    """Several policies side by side: the same text read by all, or each one's own continuation."""
    traces = gr.State()
    gr.Markdown(
        "### What does forgetting cost?\n"
        "All chosen policies read your text from the Explore tab in lockstep beside the full model, or each writes on "
        "from what it remembers. *Oracle* knows the future of the text and shows how much room a policy leaves."
    )
    with gr.Row():
        choices = [(policy.label, key) for key, policy in POLICIES.items() if key != "full"] + [("Oracle", "oracle")]
        keys = gr.CheckboxGroup(
            choices, value=["tova", "window+i", "window"], label="Policies", elem_id="compare-policies"
        )
        budget = gr.Slider(1, 1024, value=64, step=1, label="Multi-state size (budget)", elem_id="compare-budget")
        new_tokens = gr.Slider(
            0, 256, value=0, step=1, label="New tokens to write (0: read only)", elem_id="compare-new-tokens"
        )
        with gr.Column(scale=0, min_width=140):
            run_button = gr.Button("Run", variant="primary", elem_id="compare-run")
            stop_button = gr.Button("Stop", elem_id="compare-stop")
    progress = gr.HTML(status("Choose two or more policies and press Run."), elem_id="compare-status")
    comparison_map = ComparisonMap()
    missed = gr.HTML(elem_id="compare-missed")
    table = gr.Dataframe(
        headers=COST_COLUMNS, label="What it costs, beside the full model", interactive=False, elem_id="compare-table"
    )
    running = run_button.click(
        run_compare,
        [model, text, keys, budget, new_tokens],
        [comparison_map, progress, table, traces, missed],
        api_visibility="private",
        show_progress_on=progress,
        show_progress="minimal",
        **ALONE,
    )
    halted = status("Stopped. What has been read stays.", "done")
    stop_button.click(lambda: halted, None, progress, cancels=[running], queue=False, **QUIETLY)
    for clicked in (comparison_map.token, comparison_map.cell):
        clicked(show_missed, [model, traces], missed, **QUIETLY, **ALONE)


def measure_tab(tab: gr.Tab, trace: gr.State) -> None:
    """What kind of tokens the run in the Explore tab keeps, drawn when the tab is opened."""
    gr.Markdown(
        "### What kind of tokens survive?\n"
        "Of the run that the Explore tab shows. Where the paper gives a number, it stands beside ours; its texts and "
        "models are others, so compare the order rather than the size."
    )
    plots = []
    for _ in range(3):
        with gr.Row():
            plots += [gr.Plot(show_label=False, min_width=320), gr.Plot(show_label=False, min_width=320)]
    plots.append(gr.Plot(show_label=False))
    longest = gr.Dataframe(label="The longest-lived tokens", interactive=False, elem_id="longest-lived")
    tab.select(measure, trace, [*plots, longest], **QUIETLY)


def budget_tab(model: gr.Dropdown, text: gr.Textbox) -> None:
    """Perplexity against budget, one curve per policy, growing while it runs."""
    gr.Markdown(
        "### How much memory does your text need?\n"
        "Every chosen policy reads the text with every budget. Lower is better; the full model, which forgets nothing, "
        "is the line to reach, and *short context* is a model that only ever sees that many tokens at a time."
    )
    with gr.Row():
        keys = gr.CheckboxGroup(
            [(policy.label, key) for key, policy in POLICIES.items() if key != "full"],
            value=["tova", "h2o", "window+i", "window"],
            label="Policies",
            elem_id="sweep-policies",
        )
        budgets = gr.Textbox("8, 16, 32, 64, 128", label="Budgets, with commas between", elem_id="sweep-budgets")
        file = gr.File(label="Or a .txt of any length", file_types=[".txt"], height=120)
        with gr.Column(scale=0, min_width=140):
            run_button = gr.Button("Run", variant="primary", elem_id="sweep-run")
            stop_button = gr.Button("Stop", elem_id="sweep-stop")
    progress = gr.HTML(status("Reads your text from the Explore tab, or a file."), elem_id="sweep-status")
    plot = gr.Plot(show_label=False, elem_id="sweep-plot")
    sentences = gr.HTML(elem_id="sweep-sentences")
    table = gr.Dataframe(headers=SWEEP_COLUMNS, label="All points", interactive=False, elem_id="sweep-table")
    running = run_button.click(
        run_sweep,
        [model, text, file, keys, budgets],
        [progress, plot, sentences, table],
        api_visibility="private",
        show_progress_on=progress,
        show_progress="minimal",
        **ALONE,
    )
    stop_button.click(
        lambda: status("Stopped. What is done stays.", "done"),
        None,
        progress,
        cancels=[running],
        queue=False,
        **QUIETLY,
    )


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
