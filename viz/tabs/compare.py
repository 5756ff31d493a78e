"""Compare: several policies side by side, and what forgetting costs each."""

import time
import uuid
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import gradio as gr

import core
from core.measures.costs import ForgottenAttention, costs, delta_nll, forgotten_share, most_missed
from core.measures.tables import COST_COLUMNS, Row, cost_rows
from core.messages import Message
from core.policies import Oracle
from core.store import Stored, TraceStore, key_of
from core.trace import Tokens, Trace
from viz.cards.markup import paragraphs, status
from viz.figures.tables import table_in, table_of
from viz.maps.comparison_map import ComparisonMap
from viz.maps.payload import comparison_payload
from viz.page import limits
from viz.page.buttons import starting, stopping
from viz.page.contenders import contender, contender_settings, contenders, pairs
from viz.page.export import write_comparison
from viz.page.models import ALONE, QUIETLY, with_model
from viz.page.number_table import number_table
from viz.page.runs import LoggedRun, a_run
from viz.page.stored import BEFORE, GOING_ON, in_turn, look_up
from viz.words.catalogue import _, told
from viz.words.labels import later
from viz.words.policies import policy_name
from viz.words.sentences import quoted

if TYPE_CHECKING:
    from core import LanguageModel

APART = Message(
    "Each has its own text now, so there is no common one whose cost could be told: set the new tokens to 0."
)
TOGETHER = Message("Colour the text by ΔNLL and click a token: which forgotten tokens the full model looks at there.")

# after the point
COST_DIGITS = {"perplexity": 2, "same top-1 (%)": 1, "KV memory (MB)": 2, "at 7B (MB)": 1, "tokens/s": 0}


def compare_tab(model: gr.Dropdown, text: gr.Textbox, store: TraceStore) -> gr.State:
    """Several policies side by side: the same text read by all, or each one's own continuation. Returns the traces."""
    traces, found = gr.State(), gr.State([])
    gr.Markdown(
        Message(
            "### What does forgetting cost?\n"
            "All chosen policies read your text from the Explore tab in lockstep beside the full model, or each "
            "writes on from what it remembers. *Oracle* knows the future of the text and shows how much room a "
            "policy leaves; *Random* is the floor."
        )
    )
    chosen = contenders("compare", ["tova", "window+i", "window"], 64, oracle=True)
    with gr.Row():
        new_tokens = gr.Slider(
            0,
            min(256, limits.current.max_new_tokens),
            value=0,
            step=1,
            label=Message("New tokens to write (0: read only)"),
            elem_id="compare-new-tokens",
        )
        with gr.Column(min_width=240), gr.Row():
            run_button = gr.Button(Message("Run"), variant="primary", elem_id="compare-run", min_width=100)
            stop_button = gr.Button(Message("Stop"), elem_id="compare-stop", min_width=100)
    progress = gr.HTML(later(lambda: status(_("Choose two or more policies and press Run."))), elem_id="compare-status")
    halted = gr.HTML(elem_id="compare-stopped")
    comparison_map = ComparisonMap()
    missed = gr.HTML(elem_id="compare-missed")
    gr.Markdown(
        Message(
            "### What it costs\n"
            "Beside the full model on the same text: ΔNLL is how many nats a token costs more, KL how far the expected "
            "next token is from the full model's, both in the mean over the tokens; the memory is that of the keys and "
            "values held, for this model and for Llama 2 7B in 16 bits. The menu ⋮ in a heading sorts."
        )
    )
    table = number_table(COST_COLUMNS, "compare-table")
    gr.on(fn=lambda: table_in(COST_COLUMNS, []), outputs=table, concurrency_limit=None, **QUIETLY)
    export_button = gr.Button(Message("Export the comparison"), elem_id="compare-export", min_width=180, scale=0)
    files = gr.Files(label=Message("The table (.csv) and the traces (.npz)"), elem_id="compare-files", visible=False)
    inputs, shown = [model, text, new_tokens, *chosen], [comparison_map, progress, table, traces, found, missed]
    running = starting(run_button, partial(run_compare, store), inputs, shown, progress, partial(look, store))
    stopping(run_button, stop_button, running, halted, Message("What has been read stays."))
    for clicked in (comparison_map.token, comparison_map.cell):
        clicked(show_missed, [model, traces], missed, **QUIETLY, **ALONE)
    export_button.click(export, [traces, found], files, **QUIETLY)
    return traces


@dataclass(frozen=True, eq=False)
class CompareRequest:
    """A comparison that is asked for: the tokens, the policies as key and budget, and the store's key."""

    tokens: Tokens
    pairs: list[tuple[str, int]]
    new_tokens: int
    key: str


def request_of(lm: "LanguageModel", text: str, new_tokens: int, *chosen: Any) -> CompareRequest:
    """What the controls ask for.

    Raises:
        UserError: it cannot be done.
    """
    wanted = pairs(chosen)
    limits.current.check_budgets(budget for _, budget in wanted)
    limits.current.check_new_tokens(new_tokens)
    return requested(lm, text, new_tokens, wanted)


def requested(lm: "LanguageModel", text: str, new_tokens: int, wanted: list[tuple[str, int]]) -> CompareRequest:
    """A request with its tokens and its key.

    Raises:
        UserError: the text cannot be read.
    """
    tokens = limits.current.encode(lm, text)
    settings = [contender_settings(*pair) for pair in wanted]
    key = key_of(lm, tokens, settings, beside_full=not new_tokens, max_new_tokens=new_tokens)
    return CompareRequest(tokens, wanted, new_tokens, key)


async def look(store: TraceStore, model: str, *inputs: Any) -> AsyncIterator[tuple[Any, ...]]:
    """Show the comparison if it is stored, without waiting for the model; else ask for it, see `look_up`."""
    async for outputs in look_up(
        "Compare", store, model, lambda lm: request_of(lm, *inputs), lambda stored, _: from_store(stored), line
    ):
        yield outputs


@a_run("Compare", outputs=6, line=1)
def run_compare(
    record: LoggedRun, store: TraceStore, model: str, text: str, new_tokens: int, *chosen: Any
) -> Generator[tuple[Any, ...]]:
    """Read or write under several policies in lockstep: maps, status, table, traces, costs, what was missed."""
    yield line(_("Loading the model …"))
    with closing(record.using(model, read, text, new_tokens, *chosen)) as reading:
        request = next(reading)
        record.policies = request.pairs
        compute = partial(computed, record, store, reading, request)
        yield from in_turn(record, store, request.key, from_store, compute, line(GOING_ON))


def read(lm: "LanguageModel", *controls: Any) -> Iterator[Any]:
    """The request, and then the reports of its comparison."""
    request = request_of(lm, *controls)
    yield request
    yield from reports(lm, request)


def computed(
    record: LoggedRun, store: TraceStore, reading: Iterator[Any], request: CompareRequest
) -> Iterator[tuple[Any, ...]]:
    """Let the reading that has told its request go on, and store the comparison."""
    started, run_id = time.monotonic(), uuid.uuid4().hex
    if any(key == Oracle.key for key, _ in request.pairs):
        yield line(_("The oracle looks ahead: it reads the whole text first …"))
    for done, total, stored in reading:
        record.tokens = done
        picture, *others = shown(stored, run_id, total)
        yield picture, status(_("{done:,} of {total:,} tokens", done=done, total=total)), *others
    yield line(_("Done in {seconds:.1f} s.", seconds=time.monotonic() - started), "done")
    store.put(request.key, stored)


def line(message: str, kind: str = "") -> tuple[Any, ...]:
    """The outputs if only the status changes."""
    return gr.skip(), status(message, kind), *[gr.skip()] * 4


def from_store(stored: Stored) -> tuple[Any, ...]:
    """The outputs of a comparison that was computed before."""
    picture, *others = shown(stored, uuid.uuid4().hex)
    return picture, status([_("Done."), BEFORE, _("The speed is that of then.")], "done"), *others


def reports(lm: "LanguageModel", request: CompareRequest) -> Iterator[tuple[int, int, Stored]]:
    """How far, how much there is, and the comparison so far: all read the text, or each writes on in its own way."""
    policies = [contender(lm, request.tokens, *pair) for pair in request.pairs]
    if request.new_tokens:
        for written in core.iter_generate(lm, request.tokens, policies, max_new_tokens=request.new_tokens):
            yield written.done, written.total, Stored(tuple(written.traces))
    else:
        for read in core.iter_compare(lm, request.tokens, policies):
            yield read.done, read.total, Stored.of(read.comparison)


def shown(stored: Stored, run: str, total: int | None = None) -> tuple[Any, Any, list[Trace], list[Row], str]:
    """Map, table, traces, costs, hint. The total is that of a run that goes on."""
    if not stored.arrays:
        picture = comparison_payload(stored.traces, run=run, total=total)
        return picture, table_in(COST_COLUMNS, []), list(stored.traces), [], paragraphs([told(APART)])
    comparison = stored.comparison
    traces, found = list(comparison.traces), costs(comparison)
    picture, rows = comparison_payload(traces, delta_nll(comparison), run=run, total=total), cost_rows(found)
    ended = total in (None, len(comparison))
    table = table_of(rows, [cost.policy for cost in found], COST_DIGITS) if ended else gr.skip()
    return picture, table, traces, rows, paragraphs([told(TOGETHER)])


def export(traces: list[Trace] | None, found: list[Row]) -> Any:
    """The comparison as files."""
    return gr.update(value=write_comparison(traces, found), visible=True) if traces else gr.skip()


def forgotten_by(lm: "LanguageModel", trace: Trace, query: int) -> Iterator[ForgottenAttention]:
    """One: how much of the full model's attention at a step falls on tokens that the trace no longer has."""
    yield from core.forgotten_attention(lm, [trace], query)


def show_missed(model: str, traces: list[Trace] | None, event: gr.EventData) -> str:
    """Which evicted tokens the full model attends to most when it predicts the token that was clicked."""
    index, query = int(event.policy), int(event.position) - 1
    if not traces or not 0 <= index < len(traces) or not 0 <= query < len(traces[index]):
        return ""
    trace = traces[index]
    (forgotten,) = with_model(model, forgotten_by, trace, query)
    share = float(forgotten_share(forgotten).mean())

    missed = _(
        "{policy}, predicting {token} (token {position}): {share:.0%} of the full model's attention falls on tokens "
        "that this policy no longer has.",
        policy=policy_name(trace.policy),
        token=quoted(trace, query + 1),
        position=query + 1,
        share=share,
    )
    most = [
        _("{token} (token {position}, {paid:.1%})", token=quoted(trace, position), position=position, paid=paid)
        for position, paid in most_missed(forgotten)
    ]
    return paragraphs([missed, _("Most of it on {tokens}.", tokens=_("; ").join(most))] if most else [missed])
