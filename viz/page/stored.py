"""Runs that have been computed before: found without waiting for the model, and shown instead of done again."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import gradio as gr

import core
from core.errors import UserError
from core.measures.costs import perplexity
from core.messages import Message
from core.policies import make_policy, settings_of
from core.store import Stored, TraceStore, key_of
from core.trace import Tokens, Trace
from viz.page import models
from viz.page.runs import LoggedRun
from viz.words.catalogue import _

if TYPE_CHECKING:
    from core import LanguageModel

BEFORE = Message("This was computed before and comes from the store.")
GOING_ON = Message("The same run is going on already, for another page: its result will be shown here …")


class Request(Protocol):
    """A run that a tab is asked for."""

    @property
    def pairs(self) -> Sequence[tuple[str, int | None]]:
        """Its policies: key and budget."""

    @property
    def key(self) -> str:
        """Under which the store has it."""


async def look_up(
    tab: str,
    store: TraceStore,
    model: str,
    asked: Callable[["LanguageModel"], Request],
    shown: Callable[[Stored, str], tuple[Any, ...]],
    line: Callable[..., tuple[Any, ...]],
) -> AsyncIterator[tuple[Any, ...]]:
    """Show a run that is stored, without waiting for the model; else ask for it by changing the last output.

    So does everybody who asks for what somebody else's run is already computing.

    Args:
        tab: for the log.
        store: of the runs that are done.
        model: its name in the menu.
        asked: what is asked of the model; raises a `UserError` if it cannot be done.
        shown: the outputs for what is stored under a key.
        line: the outputs if only the status changes.
    """
    yield *line(_("Looking whether this was computed before …")), gr.skip()
    lm = models.resident.peek(model)
    if lm is not None:  # else only the loading can tell which model this name stands for now
        try:
            request = await asyncio.to_thread(asked, lm)
        except UserError as e:
            yield *line(e.message, "error"), gr.skip()
            return
        while store.is_computing(request.key):
            yield *line(GOING_ON), gr.skip()
            await asyncio.sleep(0.3)
        stored = await asyncio.to_thread(store.get, request.key)
        if stored is not None:
            yield *await asyncio.to_thread(shown, stored, request.key), gr.skip()
            LoggedRun(tab, model, request.pairs, len(stored.traces[0]), from_store=True, outcome="done").log()
            return
    yield *line(_("Waiting for the model …")), uuid.uuid4().hex


def in_turn(
    record: LoggedRun,
    store: TraceStore,
    key: str,
    shown: Callable[[Stored], Any],
    compute: Callable[[], Iterator[Any]],
    waiting: Any,
) -> Iterator[Any]:
    """Show what is stored under the key; if there is nothing, compute it, which also stores it.

    Of equal runs only one computes at a time; meanwhile the others yield `waiting`.
    """
    with store.turn(key) as comes:
        while not comes():
            yield waiting
        stored = store.get(key)
        record.from_store = stored is not None
        if stored is None:
            yield from compute()
        else:
            record.tokens = len(stored.traces[0])
            yield shown(stored)


def read_in_full(lm: "LanguageModel", tokens: Tokens) -> Iterator[str | Trace]:
    """How the model reads these tokens when it forgets nothing: the key of that in the store, and then the trace.

    Nothing if they are more than it was trained to read.
    """
    if lm.context_length is not None and len(tokens) > lm.context_length:
        return
    full = make_policy("full")
    yield key_of(lm, tokens, [settings_of(full)])
    yield core.replay(lm, tokens, full)


def full_perplexity(store: TraceStore, reading: Iterator[Any]) -> float | None:
    """What `read_in_full` finds, which need not read if that is stored; None if it yields nothing."""
    key = next(reading, None)
    if key is None:
        return None
    stored = store.get(key)
    if stored is None:
        stored = Stored((next(reading),))
        store.put(key, stored)
    return perplexity(stored.traces[0])
