"""What Explore shows of a run: its map, its findings, the life of one row and that of one token."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import gradio as gr

import core
from core.measures.survival import longest_lived
from core.policies import make_policy
from core.store import Stored
from core.trace import Floats, Trace
from viz.cards.findings import findings_html
from viz.cards.markup import paragraphs
from viz.figures.life import head_figure, token_figure
from viz.maps.payload import payload, window_at
from viz.page.models import with_model
from viz.words.catalogue import _
from viz.words.findings import findings
from viz.words.sentences import life, why

if TYPE_CHECKING:
    from core import LanguageModel

FULL_PERPLEXITY = "full_perplexity"
"""The name under which the store has it, beside a trace."""


FIRST_ROW = (12, 0)
"""The layer (and KV head) whose life is shown until another is clicked: one in the middle of the default model."""


def whole(stored: Stored, key: str | None, row: tuple[int, int], run: str, step: int | None = None) -> tuple[Any, ...]:
    """Payload, findings, trace, and the panels' contents of a run that has come to its end.

    The payload has the `key` under which everybody finds the run: "" if it is the example, None if nobody does.
    """
    trace = stored.traces[0]
    beside = stored.arrays.get(FULL_PERPLEXITY)
    window = window_at(len(trace), len(trace) - 1 if step is None else step)
    picture = payload(trace, run=run, window=window) | {"key": key}
    found = what_to_see(trace, None if beside is None else float(beside))
    return picture, found, trace, *panels(trace, row)


def what_to_see(trace: Trace, full_perplexity: float | None = None) -> str:
    """The findings, in the language of the page."""
    return findings_html(findings(trace, full_perplexity))


def panels(trace: Trace, row: tuple[int, int]) -> tuple[Any, Any, str]:
    """The two panels below the map: the life of a row, and that of the longest-lived token in a figure and in words."""
    head = head_figure(trace, *row_in(trace, row))
    longest = longest_lived(trace)
    position = longest.position if longest else 0
    words = paragraphs([life(trace, position), _("Click any other token or cell.")])
    return head, token_figure(trace, position), words


def row_in(trace: Trace, row: tuple[int, int]) -> tuple[int, int]:
    """The row, or the last one of a model that has fewer."""
    layers, groups, _ = trace.evicted_at.shape
    return min(row[0], layers - 1), min(row[1], groups - 1)


def show_token(trace: Trace | None, event: gr.EventData) -> tuple[Any, Any]:
    """The life of the token that was clicked: a figure over all deciders, and in words."""
    if trace is None or not 0 <= int(event.position) < len(trace):
        return gr.skip(), gr.skip()
    position = int(event.position)
    told = [life(trace, position)]
    if getattr(event, "group", None) is not None:
        told.insert(0, why(trace, int(event.layer), int(event.group), position))
    return token_figure(trace, position), paragraphs(told)


def choose_row(trace: Trace | None, by_attention: bool, event: gr.EventData) -> Iterator[tuple[Any, Any]]:
    """The whole life of the row that was clicked; and remember which it was."""
    row = int(event.layer), int(getattr(event, "group", None) or 0)
    for figure in show_row(trace, row, by_attention):
        yield figure, row


def show_row(trace: Trace | None, row: tuple[int, int], by_attention: bool) -> Iterator[Any]:
    """Kept and evicted at once; coloured by attention after a replay down to that layer."""
    if trace is None:
        return
    row = row_in(trace, row)
    yield head_figure(trace, *row)
    if by_attention:
        (attention,) = with_model(trace.model_id, attention_in, trace, row)
        yield head_figure(trace, *row, attention)


def attention_in(lm: "LanguageModel", trace: Trace, row: tuple[int, int]) -> Iterator[Floats]:
    """One: the attention that a row of the trace paid, as `core.attention_of` finds it."""
    policy = make_policy(trace.policy.key, trace.policy.budget, **trace.policy.settings)
    yield core.attention_of(lm, trace.tokens, policy, *row, positions=trace.positions)


def show_window(trace: Trace | None, event: gr.EventData) -> Any:
    """Another part of a text that is too long to be shown whole."""
    if trace is None:
        return gr.skip()
    return payload(trace, run=event.run, window=window_at(len(trace), int(event.position)))
