"""A run of Explore: what the controls ask for, done or taken from the store, and told as it goes on."""

import time
import uuid
from collections.abc import AsyncIterator, Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import gradio as gr
import numpy as np
from numpy.typing import NDArray

import core
from core.messages import Message
from core.policies import Policy, make_policy, settings_of
from core.store import Stored, TraceStore, key_of
from core.trace import Positions, Tokens, Trace
from viz.cards.markup import status
from viz.maps.payload import payload, window_at
from viz.page import limits
from viz.page.policy_controls import SETTINGS
from viz.page.runs import LoggedRun, a_run
from viz.page.stored import BEFORE, GOING_ON, full_perplexity, in_turn, look_up, read_in_full
from viz.tabs.links import NEW_TOKENS
from viz.tabs.panels import FULL_PERPLEXITY, what_to_see, whole
from viz.words.catalogue import _

if TYPE_CHECKING:
    from core import LanguageModel

NOTHING_EVICTED = Message("The budget is not smaller than the text, so nothing had to be evicted.")


@dataclass(frozen=True, eq=False)
class ExploreRequest:
    """A run that is asked for: the tokens, the policy, how it is to go, and under which key the store has it."""

    tokens: Tokens
    policy: Policy
    positions: Positions
    new_tokens: int
    key: str

    @property
    def pairs(self) -> list[tuple[str, int | None]]:
        """The policy, as key and budget."""
        return [(self.policy.key, self.policy.budget)]


def request_of(
    lm: "LanguageModel",
    key: str,
    budget: int,
    new_tokens: int,
    text: str,
    positions: Positions,
    *settings: int,
) -> ExploreRequest:
    """What the controls ask for.

    Raises:
        UserError: it cannot be done.
    """
    own = {setting.name: value for (owner, setting), value in zip(SETTINGS, settings, strict=True) if owner == key}
    policy = make_policy(key, None if key == "full" else budget, **own)
    limits.current.check_budgets([policy.budget or 0])
    limits.current.check_new_tokens(new_tokens)
    return requested(lm, policy, new_tokens, text, positions)


def requested(lm: "LanguageModel", policy: Policy, new_tokens: int, text: str, positions: Positions) -> ExploreRequest:
    """A request with its tokens and its key.

    Raises:
        UserError: the text cannot be read.
    """
    tokens = limits.current.encode(lm, text)
    key = key_of(lm, tokens, [settings_of(policy)], positions=positions, max_new_tokens=new_tokens)
    return ExploreRequest(tokens, policy, positions, new_tokens, key)


async def look(store: TraceStore, row: tuple[int, int], model: str, *controls: Any) -> AsyncIterator[tuple[Any, ...]]:
    """Show the run if it is stored, without waiting for the model; else ask for it, see `look_up`."""
    shown = partial(from_store, row=row)
    async for outputs in look_up("Explore", store, model, lambda lm: request_of(lm, *controls), shown, line):
        yield outputs


@a_run("Explore", outputs=7, line=2)
def run(
    record: LoggedRun,
    store: TraceStore,
    row: tuple[int, int],
    model: str,
    policy: str,
    budget: int,
    new_tokens: int,
    text: str,
    positions: Positions,
    *settings: int,
) -> Generator[tuple[Any, ...]]:
    """Read the text, write on if asked to, and report while it goes on; or show what is stored of it.

    Yields the map's payload, the findings, the status, the trace, and the panels' contents.
    """
    yield line(_("Loading the model …"))
    with closing(record.using(model, read, policy, budget, new_tokens, text, positions, *settings)) as reading:
        request = next(reading)
        record.under([request.policy])
        compute = partial(computed, record, store, reading, request, row)
        shown = partial(from_store, key=request.key, row=row)
        yield from in_turn(record, store, request.key, shown, compute, line(GOING_ON))


def read(lm: "LanguageModel", *controls: Any) -> Iterator[Any]:
    """The request; the reports of its run; None, for there are no more; and what `read_in_full` yields."""
    request = request_of(lm, *controls)
    yield request
    for report in reports(lm, request):
        yield report
    yield None
    yield from read_in_full(lm, report.traces[0].tokens)


def computed(
    record: LoggedRun, store: TraceStore, reading: Iterator[Any], request: ExploreRequest, row: tuple[int, int]
) -> Iterator[tuple[Any, ...]]:
    """Let the reading that has told its request go on, and store what it gives."""
    skip, run_id, started = gr.skip(), uuid.uuid4().hex, time.monotonic()
    for report in iter(partial(next, reading), None):
        trace = report.traces[0]
        record.tokens = len(trace)
        if report.done < len(request.tokens):
            doing = _("Reading: {done:,} of {total:,} tokens", done=report.done, total=report.total)
        else:
            doing = _("Writing: {done:,} of {total:,} tokens", done=report.done, total=report.total)
        window = window_at(report.total, len(trace) - 1)
        picture = payload(trace, run=run_id, total=report.total, window=window)
        yield picture, what_to_see(trace), status(doing), trace, skip, skip, skip
    seconds = time.monotonic() - started
    read = {"tokens": len(trace), "seconds": seconds}
    yield line(_("{tokens:,} tokens in {seconds:.1f} s. Comparing with the full model …", **read))
    beside = full_perplexity(store, reading)
    stored = stored_run(trace, request, {} if beside is None else {FULL_PERPLEXITY: np.array(beside)})
    key = request.key if store.put(request.key, stored) else None
    picture, found, trace, *below = whole(stored, key, row, run_id)
    finished = done(trace, _("Done: {tokens:,} tokens in {seconds:.1f} s.", **read))
    yield picture, found, finished, trace, skip, skip, skip
    yield skip, skip, skip, skip, *below  # figures take the browser long to draw, and it would show nothing meanwhile


def stored_run(trace: Trace, request: ExploreRequest, beside: Mapping[str, NDArray[Any]] | None = None) -> Stored:
    """What the store keeps of a run: the trace, how many new tokens were asked for, and what is told beside it."""
    return Stored((trace,), {NEW_TOKENS: np.array(request.new_tokens), **(beside or {})})


def reports(lm: "LanguageModel", request: ExploreRequest) -> Iterator[Any]:
    """The reports of the run while it reads and writes."""
    tokens, policy, positions = request.tokens, request.policy, request.positions
    if request.new_tokens:
        return core.iter_generate(lm, tokens, [policy], max_new_tokens=request.new_tokens, positions=positions)
    return core.iter_replay(lm, tokens, policy, positions=positions)


def line(message: str, kind: str = "") -> tuple[Any, ...]:
    """The outputs of a run if only its status changes."""
    return gr.skip(), gr.skip(), status(message, kind), *[gr.skip()] * 4


def done(trace: Trace, first: str, *more: str) -> str:
    """The status of a run that has come to its end; it also says if the policy had nothing to do."""
    idle = trace.policy.budget is not None and trace.policy.budget >= len(trace)
    return status([first, *[NOTHING_EVICTED] * idle, *more], "done")


def from_store(stored: Stored, key: str, row: tuple[int, int]) -> tuple[Any, ...]:
    """The outputs of a run that was computed before."""
    picture, found, *rest = whole(stored, key, row, uuid.uuid4().hex)
    trace = stored.traces[0]
    return picture, found, done(trace, _("Done: {tokens:,} tokens.", tokens=len(trace)), BEFORE), *rest
