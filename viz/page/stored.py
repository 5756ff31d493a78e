"""Runs that are in the store: shown without waiting for the model, instead of computed again."""

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
    """A run that somebody asks for."""

    @property
    def pairs(self) -> Sequence[tuple[str, int | None]]:
        """The key and budget of each policy."""

    @property
    def key(self) -> str:
        """The key of the run in the store."""


async def look_up(
    tab: str,
    store: TraceStore,
    model: str,
    asked: Callable[["LanguageModel"], Request],
    shown: Callable[[Stored, str], tuple[Any, ...]],
    line: Callable[..., tuple[Any, ...]],
) -> AsyncIterator[tuple[Any, ...]]:
    """Show a stored run without waiting for the model; if there is none, start it by changing the last output.

    If somebody else's equal run is going on, wait for its result.

    Args:
        tab: the name for the log.
        store: the stored runs.
        model: its name in the menu.
        asked: makes the request for a model; raises a `UserError` if it cannot be done.
        shown: the outputs for a stored run and its key.
        line: the outputs if only the status line changes; takes what `status` takes.
    """
    yield *line(_("Looking whether this was computed before …")), gr.skip()
    lm = models.resident.peek(model)
    if lm is not None:  # else the key is not known: it depends on the model's weights
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


def read_in_full(lm: "LanguageModel", tokens: Tokens) -> Iterator[str | Trace]:
    """Yields the full model's key in the store for these tokens, and then its trace, computed only if asked for.

    Yields nothing if the tokens are more than the model's context length.
    """
    if lm.context_length is not None and len(tokens) > lm.context_length:
        return
    full = make_policy("full")
    yield key_of(lm, tokens, [settings_of(full)])
    yield core.replay(lm, tokens, full)


def full_perplexity(store: TraceStore, reading: Iterator[Any]) -> float | None:
    """The full model's perplexity, from the store or by `read_in_full`; None if that yields nothing."""
    key = next(reading, None)
    if key is None:
        return None
    stored = store.get(key)
    if stored is None:
        stored = Stored((next(reading),))
        store.put(key, stored)
    return perplexity(stored.traces[0])
