"""Compare: several policies side by side, and what forgetting costs each."""

import time
import uuid
from collections.abc import Iterator
from typing import Any

import gradio as gr

from core import POLICIES, Trace, foresee, forgotten_attention, iter_compare, iter_generate, make_policy
from core.costs import Comparison, costs, delta_nll, forgotten_share, most_missed
from core.errors import UserError
from viz.comparison_map import ComparisonMap
from viz.markup import paragraphs, status
from viz.payload import comparison_payload
from viz.sentences import quoted
from viz.tabs.models import ALONE, QUIETLY, language_model

COST_COLUMNS = ["policy", "perplexity", "ΔNLL", "KL", "top-1 agreement", "KV memory", "KV memory at 7B", "tokens/s"]


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
