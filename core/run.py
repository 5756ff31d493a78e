"""One run: one policy reading one text, which rows its layers hold, and the record from which its trace is made.

numpy only. The engine owns the keys and values and asks the run, chunk by chunk or token by token, which of them may
be attended to and which go. A *slot* is a place in the multi-state; while a chunk is being read, a *column* is a row
it may attend to: first the slots, then the tokens of the chunk.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from core.errors import NumericalError
from core.policies import Floats, Ints, Policy, Step, settings_of
from core.trace import NEVER, Positions, Prefill, Tokens, Trace

if TYPE_CHECKING:
    from core.rotary import LateLogits

Eviction: TypeAlias = tuple[int, Ints, Floats, Floats]  # step in the chunk; per group: column, importance, runner-up

FREE = -1  # the position of a slot that holds no row


class Run:
    """The bookkeeping of one policy on one text.

    Attributes:
        policy: the policy; its settings are read, it is never changed.
        numbering: which positions the model is told, for the record.
        groups: deciders per layer.
        positions: (layers, groups, slots) int32, the position of the row in each slot, or `FREE`.
        memory: (layers, groups, slots) float64, what the policy remembers of each row; zero for a new row.
        length: tokens read so far.
        seconds: what its decisions have taken so far.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        layers: int,
        kv_heads: int,
        capacity: int,
        prompt_length: int,
        prefill: Prefill = "token-by-token",
        numbering: Positions = "original",
    ) -> None:
        self.policy = policy
        self.prefill = prefill
        self.numbering = numbering
        self.prompt_length = prompt_length
        self.layers = layers
        self.groups = kv_heads if policy.scope == "kv_head" else 1
        self.length = 0
        self.seconds = 0.0
        self.positions = np.empty((layers, self.groups, 0), np.int32)
        self.memory = np.empty((layers, self.groups, 0))
        self._hole: Ints | None = None  # (layers, groups): the slot freed last, where the next row goes
        self._kept: list[tuple[Ints, Floats]] = []  # positions and memory of the layers that have read the chunk
        record = (layers, self.groups, capacity)
        self._evicted_at = np.full(record, NEVER, np.int32)
        self._importance = np.full(record, np.nan, np.float32)
        self._runner_up = np.full(record, np.nan, np.float32)
        self._received = np.zeros(record)
        self.nll = np.full(capacity, np.nan, np.float32)

    @contextmanager
    def clock(self) -> Iterator[None]:
        """Count the time inside as the run's own."""
        began = time.perf_counter()
        yield
        self.seconds += time.perf_counter() - began

    @property
    def slots(self) -> int:
        """How many slots the multi-state of each layer and group has at present, a free one included."""
        return self.positions.shape[2]

    def _budget_at(self, position: int) -> int:
        """The rows that may stay after this step: all of them while a one-shot prompt is being read."""
        reading_at_once = self.prefill == "one-shot" and position < self.prompt_length - 1
        return NEVER if self.policy.budget is None or reading_at_once else self.policy.budget

    # A chunk: layer by layer, each layer's decisions before its attention.

    def column_positions(self, layer: int, offset: int, chunk: range) -> Ints:
        """(groups, offset + chunk) positions of the rows in the columns, `FREE` where there is none.

        Args:
            layer: the layer.
            offset: the column of the chunk's first token; at least `slots`.
            chunk: the positions of the chunk's tokens.
        """
        positions = np.full((self.groups, offset + len(chunk)), FREE, np.int32)
        positions[:, : self.slots] = self.positions[layer]
        positions[:, offset:] = chunk
        return positions

    def decide_chunk(
        self, layer: int, positions: Ints, chunk: range, logits: Floats | None, late: "LateLogits | None" = None
    ) -> tuple[Ints, Ints]:
        """Go through the steps of a chunk in one layer, evicting at most one row per group and step.

        Args:
            layer: the layer.
            positions: (groups, columns) as `column_positions` gives them.
            chunk: the positions of the chunk's tokens, which are the last columns.
            logits: (groups, query heads of the group, chunk, columns) float32, contiguous; may be None if the policy
                does not read attention and none are to be renewed.
            late: renews the logits of every step that follows an eviction in this chunk; None if they stay right.

        Returns:
            until (groups, columns), the last step of the chunk, counted from 0, that attends to the column (beyond
            the chunk if it is kept, -1 if the column is free), and kept (groups, rows), the columns that remain.
        """
        count, offset = len(chunk), positions.shape[1] - len(chunk)
        until = np.where(positions == FREE, -1, count)
        live = np.argsort(positions[:, :offset] == FREE, axis=1, kind="stable")[:, : self._rows()]
        new = np.broadcast_to(np.arange(offset, offset + count), (self.groups, count))
        if not self.policy.reads_attention and not self.evicts_in(chunk):
            columns = np.concatenate([live, new], axis=1)
            memory: Floats = np.zeros(columns.shape)
            memory[:, : live.shape[1]] = np.take_along_axis(self.memory[layer], live, axis=1)
        else:
            columns, memory, evictions = self._walk(layer, positions, chunk, live, logits, late)
            if evictions:
                self._record_chunk(layer, positions, chunk, until, evictions)
        self._kept.append((np.take_along_axis(positions, columns, axis=1), memory))
        return until, columns

    def evicts_in(self, chunk: range) -> bool:
        """Whether any row goes while the chunk, which comes next, is read."""
        return self._rows() + len(chunk) > self._budget_at(chunk[-1])

    def _rows(self) -> int:
        return self.slots - (self._hole is not None)

    def _walk(
        self,
        layer: int,
        of_columns: Ints,
        chunk: range,
        live: Ints,
        logits: Floats | None,
        late: "LateLogits | None",
    ) -> tuple[Ints, Floats, list[Eviction]]:
        """The light loop over the steps. Returns the columns kept, their memory (groups, rows), and the evictions."""
        policy, budget = self.policy, self._budget_at(chunk[-1])
        filled, offset = live.shape[1], of_columns.shape[1] - len(chunk)
        shape = (self.groups, min(filled + len(chunk), budget + 1))
        groups, layers = np.arange(self.groups), np.full((self.groups, 1), layer)
        columns, positions, memory = np.zeros(shape, np.int64), np.zeros(shape, np.int64), np.zeros(shape)
        columns[:, :filled] = live
        positions[:, :filled] = np.take_along_axis(of_columns, live, axis=1)
        memory[:, :filled] = np.take_along_axis(self.memory[layer], live, axis=1)
        # a policy that remembers nothing has nothing to do before there are more rows than it may keep
        idle = min(len(chunk), budget - filled) if type(policy).observe is Policy.observe else 0
        columns[:, filled : filled + idle] = np.arange(offset, offset + idle)
        positions[:, filled : filled + idle] = chunk[:idle]
        filled += idle
        softmax = _SlotSoftmax(logits, columns) if policy.reads_attention and logits is not None else None
        evictions: list[Eviction] = []
        slot: Ints | int = filled
        for i, position in enumerate(chunk[idle:], start=idle):
            columns[groups, slot] = offset + i
            positions[groups, slot] = position
            memory[groups, slot] = 0.0
            filled += filled < shape[1]
            if late is not None and logits is not None and evictions:
                late.renew(logits, i, positions[:, :filled], columns[:, :filled])
            attention = None if softmax is None else softmax.over(i, groups, slot, offset + i, filled)
            step = Step(layers, position, positions[:, :filled], attention)
            policy.observe(step, memory[:, :filled])
            slot = filled
            if filled > budget:
                order, importance = _ranked(policy, step, memory[:, :filled])
                slot, runner_up = order[:, 0], order[:, 1]
                evictions.append((i, columns[groups, slot], importance[groups, slot], importance[groups, runner_up]))
        if filled > budget:
            kept = np.ones(shape, bool)
            kept[groups, slot] = False
            columns, memory = columns[kept].reshape(self.groups, -1), memory[kept].reshape(self.groups, -1)
        return columns, memory, evictions

    def _record_chunk(self, layer: int, of_columns: Ints, chunk: range, until: Ints, evictions: list[Eviction]) -> None:
        steps, columns, importance, runner_up = map(np.asarray, zip(*evictions, strict=True))
        groups = np.arange(self.groups)
        until[groups, columns] = steps[:, None]
        positions = of_columns[groups, columns]
        self._record(np.asarray(layer), groups, positions, steps[:, None] + chunk[0], importance, runner_up)

    def finish_chunk(self, chunk: range) -> None:
        """All layers have read the chunk."""
        self.positions = np.stack([positions for positions, _ in self._kept])
        self.memory = np.stack([memory for _, memory in self._kept])
        self._kept.clear()
        self._hole = None
        self.length = chunk.stop

    # A single token: all layers read it, then all decide at once.

    def place_token(self, position: int) -> Ints:
        """Give the token a slot. Returns (layers, groups), the slot."""
        if self._hole is None:
            new = (self.layers, self.groups, 1)
            self.positions = np.concatenate([self.positions, np.full(new, position, np.int32)], axis=2)
            self.memory = np.concatenate([self.memory, np.zeros(new)], axis=2)
            return np.full(new[:2], self.slots - 1)
        slots, self._hole = self._hole, None
        np.put_along_axis(self.positions, slots[:, :, None], position, axis=2)
        np.put_along_axis(self.memory, slots[:, :, None], 0.0, axis=2)
        return slots

    def decide_token(self, position: int, attention: Floats) -> Ints | None:
        """Evict after all layers have read one token.

        Args:
            position: of the token.
            attention: (layers, groups, query heads of the group, slots) float32.

        Returns:
            None if at most one row per group was evicted: its slot is free for the next token. Otherwise, after a
            one-shot prompt, kept (layers, groups, rows), the slots that remain, now renumbered in this order.
        """
        deciders = self.layers * self.groups
        layers = np.repeat(np.arange(self.layers), self.groups)
        groups = np.tile(np.arange(self.groups), self.layers)
        positions = self.positions.reshape(deciders, -1)
        memory = self.memory.reshape(deciders, -1)
        attention = attention.reshape(deciders, -1, self.slots)
        step = Step(layers[:, None], position, positions, attention if self.policy.reads_attention else None)
        self._received[layers[:, None], groups[:, None], positions] += attention.mean(axis=1)
        self.policy.observe(step, memory)
        self.length = position + 1
        excess = self.slots - self._budget_at(position)
        if excess <= 0:
            return None
        order, importance = _ranked(self.policy, step, memory)
        victims, runner_up = order[:, :excess], order[:, excess, None]
        self._record(
            layers[:, None],
            groups[:, None],
            np.take_along_axis(positions, victims, axis=1),
            np.asarray(position),
            np.take_along_axis(importance, victims, axis=1),
            np.take_along_axis(importance, runner_up, axis=1),
        )
        if excess == 1:
            np.put_along_axis(positions, victims, FREE, axis=1)
            self._hole = victims.reshape(self.layers, self.groups)
            return None
        kept = np.sort(order[:, excess:], axis=1).reshape(self.layers, self.groups, -1)
        self.positions = np.take_along_axis(self.positions, kept, axis=2)
        self.memory = np.take_along_axis(self.memory, kept, axis=2)
        return kept

    # The record.

    def receive(self, layer: int, positions: Ints, attention: Floats) -> None:
        """Add (groups, columns) attention, summed over the chunk's queries, to what the columns' tokens received."""
        for group in range(self.groups):
            live = positions[group] != FREE
            self._received[layer, group, positions[group, live]] += attention[group, live]

    def _record(
        self, layers: Ints, groups: Ints, positions: Ints, steps: Ints, importance: Floats, runner_up: Floats
    ) -> None:
        where = (layers, groups, positions)
        self._evicted_at[where] = steps
        self._importance[where] = importance
        self._runner_up[where] = runner_up

    def trace(self, model_id: str, tokens: Tokens) -> Trace:
        """What has happened so far, as arrays of its own, for the tokens read so far."""
        n = self.length
        return Trace(
            model_id=model_id,
            policy=settings_of(self.policy),
            prefill=self.prefill,
            positions=self.numbering,
            tokens=tokens,
            prompt_length=min(self.prompt_length, n),
            evicted_at=self._evicted_at[:, :, :n].copy(),
            nll=self.nll[:n].copy(),
            importance_at_eviction=self._importance[:, :, :n].copy(),
            runner_up_importance=self._runner_up[:, :, :n].copy(),
            attention_received=self._received[:, :, :n].astype(np.float32),
        )


class _SlotSoftmax:
    """Softmax over exactly the filled slots, step by step through a chunk.

    It keeps where each slot's logits are, since at every step only one slot changes its column.
    """

    def __init__(self, logits: Floats, columns: Ints) -> None:
        """Take logits (groups, query heads, chunk, all columns), contiguous, and columns (groups, slots)."""
        groups, heads, count, self._width = logits.shape
        self._flat = logits.ravel()
        self._starts = np.arange(0, logits.size, count * self._width).reshape(groups, heads)
        self._index = self._starts[:, :, None] + columns[:, None, :]

    def over(self, step: int, groups: Ints, slot: Ints | int, column: int, filled: int) -> Floats:
        """(groups, query heads, filled) at this step, after `slot` has taken this `column`."""
        self._index[groups, :, slot] = self._starts + column
        index = self._index[:, :, :filled]
        attention: Floats = self._flat[step * self._width :].take(index, mode="clip")
        attention -= attention.max(axis=2, keepdims=True)
        np.exp(attention, out=attention)
        attention /= attention.sum(axis=2, keepdims=True)
        return attention


def _ranked(policy: Policy, step: Step, memory: Floats) -> tuple[Ints, Floats]:
    """Slots from the least to the most important, ties from the oldest, (groups, slots); and the importance.

    Raises:
        NumericalError: an importance is not a number.
    """
    importance = policy.importance(step, memory)
    highest = importance.max()  # NaN if any is
    if highest != highest:
        raise NumericalError(
            f"At step {step.position} the importance that {policy.label} gives is not a number: the model's "
            "attention or the policy is broken. Try the model in float32."
        )
    return np.lexsort((step.positions, importance), axis=-1), importance
