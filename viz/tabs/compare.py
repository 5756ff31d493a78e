"""Compare: several policies side by side, and what forgetting costs each."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Generator, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import gradio as gr
from pandas import DataFrame

import core
from core.costs import Comparison, costs, delta_nll, forgotten_share, most_missed
from core.errors import UserError
from core.policies import Oracle, Policy
from core.trace import Tokens, Trace
from core.trace_store import Stored, TraceStore, key_of
from viz.comparison_map import ComparisonMap
from viz.export import write_comparison
from viz.markup import paragraphs, status
from viz.payload import comparison_payload
from viz.sentences import quoted
from viz.tabs import limits, models
from viz.tabs.buttons import starting, stopping
from viz.tabs.contenders import contender, contender_settings, contenders, pairs
from viz.tabs.models import ALONE, QUIETLY, language_model
from viz.tabs.runs import Run, a_run
from viz.tabs.stored import BEFORE, GOING_ON, LOOKING

if TYPE_CHECKING:
    from core import LanguageModel

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


def compare_tab(model: gr.Dropdown, text: gr.Textbox, store: TraceStore) -> gr.State:
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
            0,
            min(256, limits.current.max_new_tokens),
            value=0,
            step=1,
            label="New tokens to write (0: read only)",
            elem_id="compare-new-tokens",
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
    inputs, shown = [model, text, new_tokens, *chosen], [comparison_map, progress, table, traces, missed]
    running = starting(run_button, partial(run_compare, store), inputs, shown, progress, partial(look, store))
    stopping(run_button, stop_button, running, halted, "What has been read stays.")
    for clicked in (comparison_map.token, comparison_map.cell):
        clicked(show_missed, [model, traces], missed, **QUIETLY, **ALONE)
    export_button.click(export, [traces, table], files, **QUIETLY)
    return traces


def request_of(
    lm: "LanguageModel", text: str, new_tokens: int, *chosen: Any
) -> tuple[Tokens, list[tuple[str, int]], str]:
    """The tokens, the policies as pairs of key and budget, and the key under which the store has the comparison.

    Raises:
        UserError: it cannot be done.
    """
    wanted = pairs(chosen)
    limits.current.check_budgets(budget for _, budget in wanted)
    limits.current.check_new_tokens(new_tokens)
    tokens = limits.current.encode(lm, text)
    settings = [contender_settings(*pair) for pair in wanted]
    return tokens, wanted, key_of(lm, tokens, settings, beside_full=not new_tokens, max_new_tokens=new_tokens)


async def look(store: TraceStore, model: str, *inputs: Any) -> AsyncIterator[tuple[Any, ...]]:
    """Show a comparison that is stored, without waiting for the model; else ask for it by changing the last output.

    So does everybody who asks for what somebody else's comparison is already computing.
    """
    yield *line(LOOKING), gr.skip()
    lm = models.resident.peek(model)
    if lm is not None:  # else only the loading can tell which model this name stands for now
        try:
            _, wanted, key = await asyncio.to_thread(request_of, lm, *inputs)
        except UserError as e:
            yield *line(str(e), "error"), gr.skip()
            return
        while store.is_computing(key):
            yield *line(GOING_ON), gr.skip()
            await asyncio.sleep(0.3)
        stored = await asyncio.to_thread(store.get, key)
        if stored is not None:
            yield *await asyncio.to_thread(from_store, stored), gr.skip()
            Run("Compare", model, wanted, len(stored.traces[0]), from_store=True, outcome="done").log()
            return
    yield *line("Waiting for the model …"), uuid.uuid4().hex


@a_run("Compare", outputs=5, line=1)
def run_compare(
    record: Run, store: TraceStore, model: str, text: str, new_tokens: int, *chosen: Any
) -> Iterator[tuple[Any, ...]]:
    """Read or write under several policies in lockstep: maps, status, costs, traces, and what was missed."""
    yield line("Loading the model …")
    lm = record.load(model)
    tokens, record.policies, key = request_of(lm, text, new_tokens, *chosen)
    with store.turn(key) as comes:
        while not comes():
            yield line(GOING_ON)
        stored = store.get(key)
        record.from_store = stored is not None
        if stored is not None:
            record.tokens = len(stored.traces[0])
            yield from_store(stored)
        else:
            store.put(key, (yield from computed(record, lm, tokens, new_tokens)))


def computed(
    record: Run, lm: "LanguageModel", tokens: Tokens, new_tokens: int
) -> Generator[tuple[Any, ...], None, Stored]:
    """Do it; returns what is to be stored."""
    started = time.monotonic()
    if any(key == Oracle.key for key, _ in record.policies):
        yield line("The oracle looks ahead: it reads the whole text first …")
    policies = [contender(lm, tokens, *pair) for pair in record.policies]
    run_id = uuid.uuid4().hex
    steps = writing(lm, tokens, policies, new_tokens) if new_tokens else reading(lm, tokens, policies)
    for done, total, stored in steps:
        record.tokens = done
        picture, table, traces, hint = shown(stored, run_id, total)
        yield picture, status(f"{done:,} of {total:,} tokens"), table, traces, hint
    yield line(f"Done in {time.monotonic() - started:.1f} s.", "done")
    return stored


def line(message: str, kind: str = "") -> tuple[Any, ...]:
    """The outputs if only the status changes."""
    return gr.skip(), status(message, kind), *[gr.skip()] * 3


def from_store(stored: Stored) -> tuple[Any, ...]:
    """The outputs of a comparison that was computed before."""
    picture, table, traces, hint = shown(stored, uuid.uuid4().hex)
    return picture, status(f"Done. {BEFORE}, with the speed that it had then.", "done"), table, traces, hint


def reading(lm: "LanguageModel", tokens: Tokens, policies: list[Policy]) -> Iterator[tuple[int, int, Stored]]:
    """All read the text: how far, how much there is, and the comparison so far."""
    for report in core.iter_compare(lm, tokens, policies):
        yield report.done, report.total, Stored.of(report.comparison)


def writing(
    lm: "LanguageModel", tokens: Tokens, policies: list[Policy], new_tokens: int
) -> Iterator[tuple[int, int, Stored]]:
    """Each writes on in its own way: how far, how much there is, and the traces so far."""
    for report in core.iter_generate(lm, tokens, policies, max_new_tokens=new_tokens):
        yield report.done, report.total, Stored(tuple(report.traces))


def shown(stored: Stored, run: str, total: int | None = None) -> tuple[Any, Any, list[Trace], str]:
    """Map, table, traces, hint. The total is that of a run that goes on."""
    if not stored.arrays:
        traces = list(stored.traces)
        hint = "Each has its own text now, so there is no common one whose cost could be told: set the new tokens to 0."
        return comparison_payload(traces, run=run, total=total), [], traces, paragraphs([hint])
    comparison = stored.comparison
    traces = list(comparison.traces)
    picture = comparison_payload(traces, delta_nll(comparison), run=run, total=total)
    table = cost_rows(comparison) if total in (None, len(comparison)) else gr.skip()
    hint = "Colour the text by ΔNLL and click a token: which forgotten tokens the full model looks at there."
    return picture, table, traces, paragraphs([hint])


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
    (forgotten,) = core.forgotten_attention(language_model(model), [trace], query)
    share = float(forgotten_share(forgotten).mean())
    sentences = [
        f"{trace.policy}, predicting {quoted(trace, query + 1)} (token {query + 1}): {share:.0%} of the full model's "
        "attention falls on tokens that this policy no longer has."
    ]
    tokens = [f"{quoted(trace, position)} (token {position}, {paid:.1%})" for position, paid in most_missed(forgotten)]
    return paragraphs(sentences + (["Most of it on " + ", ".join(tokens) + "."] if tokens else []))
