"""Compare: several policies side by side, and what forgetting costs each."""

import time
import uuid
from collections.abc import Iterator
from typing import Any

import gradio as gr
from pandas import DataFrame

from core import LanguageModel, Trace, foresee, forgotten_attention, iter_compare, iter_generate, make_policy
from core.costs import Comparison, costs, delta_nll, forgotten_share, most_missed
from core.errors import UserError
from core.policies import Policy
from core.trace import Tokens
from viz.comparison_map import ComparisonMap
from viz.export import write_comparison
from viz.markup import paragraphs, status
from viz.payload import comparison_payload
from viz.sentences import quoted
from viz.tabs.contenders import contenders, pairs
from viz.tabs.models import ALONE, QUIETLY, language_model
from viz.tabs.stop import stopping

COLUMNS = (
    "policy",
    "perplexity",
    "ΔNLL (nats)",
    "KL (nats)",
    "same top-1 (%)",
    "KV memory (MB)",
    "at 7B (MB)",
    "tokens/s",
)


def compare_tab(model: gr.Dropdown, text: gr.Textbox) -> gr.State:
    """Several policies side by side: the same text read by all, or each one's own continuation. Returns the traces."""
    traces = gr.State()
    gr.Markdown(
        "### What does forgetting cost?\n"
        "All chosen policies read your text from the Explore tab in lockstep beside the full model, or each writes on "
        "from what it remembers. *Oracle* knows the future of the text and shows how much room a policy leaves; "
        "*Random* is the floor."
    )
    chosen = contenders("compare", ["tova", "window+i", "window"], 64, oracle=True)
    with gr.Row():
        new_tokens = gr.Slider(
            0, 256, value=0, step=1, label="New tokens to write (0: read only)", elem_id="compare-new-tokens"
        )
        with gr.Column(min_width=240), gr.Row():
            run_button = gr.Button("Run", variant="primary", elem_id="compare-run", min_width=100)
            stop_button = gr.Button("Stop", elem_id="compare-stop", min_width=100)
    progress = gr.HTML(status("Choose two or more policies and press Run."), elem_id="compare-status")
    halted = gr.HTML(elem_id="compare-stopped")
    comparison_map = ComparisonMap()
    missed = gr.HTML(elem_id="compare-missed")
    gr.Markdown(
        "### What it costs\n"
        "Beside the full model on the same text: ΔNLL is how many nats a token costs more, KL how far the expected "
        "next token is from the full model's, both in the mean over the tokens; the memory is that of the keys and "
        "values held, for this model and for Llama 2 7B in 16 bits. The menu ⋮ in a heading sorts."
    )
    table = gr.Dataframe(
        headers=list(COLUMNS),
        datatype=["str"] + ["number"] * (len(COLUMNS) - 1),
        show_label=False,
        interactive=False,
        elem_id="compare-table",
    )
    export_button = gr.Button("Export the comparison", elem_id="compare-export", min_width=180, scale=0)
    files = gr.Files(label="The table (.csv) and the traces (.npz)", elem_id="compare-files", visible=False)
    running = run_button.click(
        run_compare,
        [model, text, new_tokens, *chosen],
        [comparison_map, progress, table, traces, missed],
        api_visibility="private",
        show_progress_on=progress,
        show_progress="minimal",
        **ALONE,
    )
    stopping(run_button, stop_button, running, halted, "What has been read stays.")
    for clicked in (comparison_map.token, comparison_map.cell):
        clicked(show_missed, [model, traces], missed, **QUIETLY, **ALONE)
    export_button.click(export, [traces, table], files, **QUIETLY)
    return traces


def run_compare(model: str, text: str, new_tokens: int, *chosen: Any) -> Iterator[tuple[Any, Any, Any, Any, Any]]:
    """Read or write under several policies in lockstep: maps, status, costs, traces, and what was missed."""
    skip, started = gr.skip(), time.monotonic()
    try:
        wanted = pairs(chosen)
        yield skip, status("Loading the model …"), skip, skip, skip
        lm = language_model(model)
        tokens = lm.encode(text)
        if any(key == "oracle" for key, _ in wanted):
            yield skip, status("The oracle looks ahead: it reads the whole text first …"), skip, skip, skip
        policies = [
            foresee(lm, tokens, budget) if key == "oracle" else make_policy(key, budget) for key, budget in wanted
        ]
        steps = writing(lm, tokens, policies, new_tokens) if new_tokens else reading(lm, tokens, policies)
        for done, total, *found in steps:
            picture, table, traces, hint = found
            yield picture, status(f"{done:,} of {total:,} tokens"), table, traces, hint
        yield skip, status(f"Done in {time.monotonic() - started:.1f} s.", "done"), skip, skip, skip
    except UserError as e:
        yield skip, status(str(e), "error"), skip, skip, skip


def reading(lm: LanguageModel, tokens: Tokens, policies: list[Policy]) -> Iterator[tuple[Any, ...]]:
    """All read the text: how far, how much there is, map, table, traces, hint."""
    run_id = uuid.uuid4().hex
    for report in iter_compare(lm, tokens, policies):
        comparison = report.comparison
        traces = list(comparison.traces)
        picture = comparison_payload(traces, delta_nll(comparison), run=run_id, total=report.total)
        table = cost_rows(comparison) if report.done == report.total else gr.skip()
        hint = "Colour the text by ΔNLL and click a token: which forgotten tokens the full model looks at there."
        yield report.done, report.total, picture, table, traces, paragraphs([hint])


def writing(lm: LanguageModel, tokens: Tokens, policies: list[Policy], new_tokens: int) -> Iterator[tuple[Any, ...]]:
    """Each writes on in its own way: how far, how much there is, map, table, traces, hint."""
    run_id = uuid.uuid4().hex
    for report in iter_generate(lm, tokens, policies, max_new_tokens=new_tokens):
        picture = comparison_payload(report.traces, run=run_id, total=report.total)
        hint = "Each has its own text now, so there is no common one whose cost could be told: set the new tokens to 0."
        yield report.done, report.total, picture, [], report.traces, paragraphs([hint])


def cost_rows(comparison: Comparison) -> list[list[Any]]:
    """The table's rows: the full model first."""
    return [
        [
            str(cost.policy),
            round(cost.perplexity, 2),
            round(cost.mean_delta_nll, 3),
            round(cost.mean_kl, 3),
            round(100 * cost.agreement, 1),
            round(cost.memory / 1e6, 2),
            round(cost.memory_llama_2_7b / 1e6, 1),
            round(cost.tokens_per_second),
        ]
        for cost in costs(comparison)
    ]


def export(traces: list[Trace] | None, table: DataFrame) -> Any:
    """The comparison as files."""
    return gr.skip() if not traces else gr.update(value=write_comparison(traces, table), visible=True)


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
