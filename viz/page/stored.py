"""Runs that are in the store: shown without waiting for the model, instead of computed again."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, TypeAlias

import gradio as gr

from core.errors import UserError
from core.messages import Message
from core.store import Stored, TraceStore
from viz.cards.markup import status
from viz.page import models
from viz.page.asked import Asked, request_of
from viz.page.buttons import RUN
from viz.page.runs import LoggedRun

Updates: TypeAlias = dict[Any, Any]
"""What an event changes, by component."""

BEFORE = Message("This was computed before and comes from the store.")
GOING_ON = Message("The same run is going on already, for another page: its result will be shown here …")


async def look_up(
    store: TraceStore,
    asked: Asked,
    shown: Callable[[Stored, str], Updates],
    line: gr.HTML,
) -> AsyncIterator[Updates]:
    """Show a stored run without waiting for the model; if there is none, yield `RUN`.

    If somebody else's equal run is going on, wait for its result.

    Args:
        store: the stored runs.
        asked: what the sidebar says.
        shown: the updates for a stored run and its key.
        line: the status line.
    """
    lm = models.resident.peek(asked.model)
    if lm is not None:  # else the key is not known: it depends on the model's weights
        try:
            request = await asyncio.to_thread(request_of, lm, asked)
        except UserError as e:
            yield {line: status(e.message, "error")}
            return
        while store.is_computing(request.key):
            yield {line: status(GOING_ON)}
            await asyncio.sleep(0.3)
        stored = await asyncio.to_thread(store.get, request.key)
        if stored is not None:
            yield await asyncio.to_thread(shown, stored, request.key)
            n = len(stored.traces[0])
            LoggedRun("watch", asked.model, request.pairs, n, from_store=True, outcome="done").log()
            return
    yield RUN


def in_turn(
    record: LoggedRun,
    store: TraceStore,
    key: str,
    shown: Callable[[Stored], Any],
    compute: Callable[[], Iterator[Any]],
    waiting: Any,
) -> Iterator[Any]:
    """Yield what is stored under the key, as `shown`; if there is nothing, what `compute` yields, which also stores it.

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
