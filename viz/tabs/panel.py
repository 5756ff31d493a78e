"""The panel under the maps: the life of what was clicked, under every policy, and why it ended."""

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

import core
from core.measures.survival import lifespan
from core.messages import Message
from core.store import Stored
from core.trace import Floats, Trace
from viz.cards.fates import fates_html
from viz.cards.markup import paragraphs
from viz.figures.life import head_figure, token_figure
from viz.page.asked import shown
from viz.page.lens import SharedRun
from viz.page.models import ALONE, QUIETLY, one_by_one, with_model
from viz.page.page import few_clicks_waiting
from viz.page.stored import Updates
from viz.words.catalogue import _
from viz.words.policies import policy_name
from viz.words.sentences import life, why

if TYPE_CHECKING:
    from core import LanguageModel


@dataclass(frozen=True)
class MapRow:
    """A row of one of the maps: the index of its policy, its layer and its group."""

    policy: int
    layer: int
    group: int


class Panel:
    """Words about the token that was clicked, its life in every layer, and the life of the row that was clicked.

    Attributes:
        outputs: the components that `at_rest` fills.
    """

    def __init__(self, run: SharedRun, retention_map: Any) -> None:
        self.run, self.row = run, gr.State()
        # a session has one list, so a handler that colours a row sees in it what was clicked since
        self.wanted, self.colouring = gr.State([]), gr.State()
        self.words = gr.HTML(elem_id="fates")
        with gr.Row():
            self.token = gr.Plot(show_label=False, visible=False, min_width=320, elem_id="token")
            with gr.Column(min_width=320, visible=False) as self.place:
                self.by_attention = gr.Checkbox(label=Message("colour by attention"), container=False)
                self.life = gr.Plot(show_label=False, elem_id="row")
        self.outputs = [self.words, self.row, self.token, self.place]
        for clicked in (retention_map.cell, retention_map.token):
            clicked(self.show_token, run.stored, [self.words, self.token], **one_by_one("token"))
        drawn, how = [self.life, self.colouring], one_by_one("row")
        for clicked in (retention_map.cell, retention_map.row):
            clicked(
                self.choose_row, [run.stored, self.by_attention, self.wanted], [self.row, self.place, *drawn], **how
            )
        self.by_attention.input(self.show_row, [run.stored, self.row, self.by_attention, self.wanted], drawn, **how)
        # apart, since only this needs the model, which others may use for long
        how = QUIETLY | ALONE | {"validator": few_clicks_waiting}
        self.colouring.change(self.colour, [run.stored, self.colouring, self.wanted], self.life, **how)

    def at_rest(self) -> Updates:
        """Before anything is clicked."""
        hidden = gr.update(visible=False)
        hint = _("Click a token, a cell or a layer's number: what became of it under each policy, and why?")
        return {self.words: paragraphs([hint]), self.row: None, self.token: hidden, self.place: hidden}

    def show_token(self, stored: Stored | None, event: gr.EventData) -> Iterator[Updates]:
        """The token's life in words for every policy, then as a figure for the policy that was clicked."""
        traces, position = [] if stored is None else shown(stored), int(event.position)
        chosen = int(event.policy)
        if not 0 <= chosen < len(traces) or not 0 <= position < len(traces[chosen]):
            yield {self.words: gr.skip()}
            return
        layer, group = getattr(event, "layer", None), getattr(event, "group", None)
        where = None if layer is None or group is None else MapRow(chosen, int(layer), int(group))
        yield {self.words: fates_html(fates(traces, position, where))}
        yield {self.token: gr.update(value=token_figure(traces[chosen], position), visible=True)}

    def choose_row(
        self, stored: Stored | None, by_attention: bool, wanted: list[str], event: gr.EventData
    ) -> Iterator[Updates]:
        """The whole life of the row that was clicked; and remember which it was."""
        row = MapRow(int(event.policy), int(event.layer), int(getattr(event, "group", None) or 0))
        yield {self.row: row, self.place: gr.update(visible=True)}
        yield self.show_row(stored, row, by_attention, wanted)

    def show_row(self, stored: Stored | None, row: MapRow | None, by_attention: bool, wanted: list[str]) -> Updates:
        """When each token was kept; and begin to colour it by attention, if that is chosen."""
        wanted[:] = [uuid.uuid4().hex]
        if stored is None or row is None or row.policy >= len(shown(stored)):
            return {self.life: gr.skip()}
        figure = head_figure(shown(stored)[row.policy], row.layer, row.group)
        return {self.life: figure} | ({self.colouring: (row, *wanted)} if by_attention else {})

    def colour(self, stored: Stored | None, colouring: tuple[MapRow, str], wanted: list[str]) -> Iterator[Updates]:
        """The figure coloured by attention, after a replay down to its layer; nothing if another is wanted by then."""
        (row, asked), traces = colouring, [] if stored is None else shown(stored)
        if wanted == [asked] and row.policy < len(traces):
            trace = traces[row.policy]
            (attention,) = with_model(trace.model_id, attention_in, trace, row)
            if wanted == [asked]:
                yield {self.life: head_figure(trace, row.layer, row.group, attention)}
                return
        yield {self.life: gr.skip()}


def fates(traces: Sequence[Trace], position: int, where: MapRow | None) -> list[tuple[str, list[str]]]:
    """For each policy that has read this position, its name and what became of the token there.

    Where a cell was clicked, that is its decider's reason to evict it too; of a policy whose deciders are others, the
    reason of the one in this layer that held it longest.
    """
    told = []
    for index, trace in enumerate(traces):
        if position >= len(trace):
            continue
        sentences = [life(trace, position)]
        if where is not None:
            own = index == where.policy or trace.evicted_at.shape == traces[where.policy].evicted_at.shape
            group = where.group if own else int(lifespan(trace)[where.layer, :, position].argmax())
            sentences.insert(0, why(trace, where.layer, group, position))
        told.append((policy_name(trace.policy), sentences))
    return told


def attention_in(lm: "LanguageModel", trace: Trace, row: MapRow) -> Iterator[Floats]:
    """One: the attention that a row of the trace paid, as `core.attention_of` finds it."""
    again = core.scripted(trace)
    yield core.attention_of(lm, trace.tokens, again, row.layer, row.group, positions=trace.positions)
