"""One run: one policy reading one text, which rows its layers hold, and the record from which its trace is made.

numpy only. The engine owns the keys and values and asks the run, chunk by chunk or token by token, which of them may
be attended to and which go. A *slot* is a place in the multi-state; while a chunk is being read, a *column* is a row
it may attend to: first the slots, then the tokens of the chunk.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from core.engine.options import ReadOptions
from core.engine.rotation import LateLogits
from core.errors import NumericalError
from core.policies import Floats, Ints, Policy, Step, Tova, settings_of
from core.trace import NEVER, Tokens, Trace

AS_USUAL = ReadOptions()
FREE = -1  # the position of a slot that holds no row
AS_GOOD_AS_EQUAL = 1e-6  # relative: two ways of adding up the same float32 numbers may differ by less
VANISHING = 1e-12  # of a softmax over more columns, what is at least left for the slots: below, it has no precision


class Run:
    """The bookkeeping of one policy on one text.

    Attributes:
        policy: the policy; its settings are read, it is never changed.
        options: how the text is read.
        groups: deciders per layer.
        positions: (layers, groups, slots) int32, the position of the row in each slot, or `FREE`.
        memory: (layers, groups, slots) float64, what the policy remembers of each row; zero for a new row.
        length: tokens read so far.
        seconds: what its decisions have taken so far.
        sliding_windows: per layer, the model's own, as its attention is called with it, for the record; 0 for none.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        layers: int,
        kv_heads: int,
        capacity: int,
        prompt_length: int,
        options: ReadOptions = AS_USUAL,
    ) -> None:
        self.policy = policy
        self.options = options
        self.prompt_length = prompt_length
        self.layers = layers
        self.groups = kv_heads if policy.scope == "kv_head" else 1
        self.length = 0
        self.seconds = 0.0
        self.sliding_windows = [0] * layers
        self.positions = np.empty((layers, self.groups, 0), np.int32)
        self.memory = np.empty((layers, self.groups, 0))
        self._hole: Ints | None = None  # (layers, groups): the slot freed last, where the next row goes
        self._kept: list[tuple[Ints, Floats]] = []  # positions and memory of the layers that have read the chunk
        self._ahead: list[_Walked] = []  # of every layer, decided while the first reads the chunk
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
        reading_at_once = self.options.prefill == "one-shot" and position < self.prompt_length - 1
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
        self,
        layer: int,
        positions: Ints,
        chunk: range,
        logits: Callable[[], Floats],
        attention: Floats | None,
        late: LateLogits | None = None,
    ) -> tuple[Ints, Ints]:
        """Go through the steps of a chunk in one layer, evicting at most one row per group and step.

        Args:
            layer: the layer.
            positions: (groups, columns) as `column_positions` gives them.
            chunk: the positions of the chunk's tokens, which are the last columns.
            logits: gives them, (groups, query heads of the group, chunk, columns) float32, contiguous; only asked if
                the policy reads attention.
            attention: their softmax over all columns up to the step; None if that is not known.
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
            columns, memory, evictions = self._walked(layer, positions, chunk, live, logits, attention, late)
            if evictions is not None:
                self._record_chunk(layer, positions, chunk, until, evictions)
        self._kept.append((np.take_along_axis(positions, columns, axis=1), memory))
        return until, columns

    def evicts_in(self, chunk: range) -> bool:
        """Whether any row goes while the chunk, which comes next, is read."""
        return self._rows() + len(chunk) > self._budget_at(chunk[-1])

    def evicts_from(self) -> int:
        """The position of the first token with which a row goes."""
        budget = NEVER if self.policy.budget is None else self.policy.budget
        return max(budget, self.prompt_length - 1) if self.options.prefill == "one-shot" else budget

    def _rows(self) -> int:
        return self.slots - (self._hole is not None)

    def _walked(
        self,
        layer: int,
        positions: Ints,
        chunk: range,
        live: Ints,
        logits: Callable[[], Floats],
        attention: Floats | None,
        late: LateLogits | None,
    ) -> "_Walked":
        """By the shortest way that is exact."""
        if not self.policy.reads_attention and late is None:
            return self._walked_ahead(layer, positions.shape[1] - len(chunk), chunk)
        if attention is not None and self.policy.reads_attention:
            if self._evicts_by_mean_attention and self.evicts_in(chunk):
                walked = self._walk_by_mean(chunk, live, attention)
                if walked is not None:
                    return walked
            renormalised = _Renormalised(attention)
            walked = self._walk(range(layer, layer + 1), positions, chunk, live, renormalised, late)
            if not renormalised.vanished:
                return walked
        softmax = _SlotSoftmax(logits()) if self.policy.reads_attention else None
        return self._walk(range(layer, layer + 1), positions, chunk, live, softmax, late)

    def _walked_ahead(self, layer: int, offset: int, chunk: range) -> "_Walked":
        """The same for a policy that sees nothing of what the layers compute: all are decided with the first."""
        if layer == 0:
            positions = np.concatenate([self.column_positions(at, offset, chunk) for at in range(self.layers)])
            live = np.argsort(positions[:, :offset] == FREE, axis=1, kind="stable")[:, : self._rows()]
            columns, memory, evictions = self._walk(range(self.layers), positions, chunk, live, None, None)
            of_layers = [slice(at, at + self.groups) for at in range(0, len(columns), self.groups)]
            self._ahead = [(columns[own], memory[own], evictions and evictions.of(own)) for own in of_layers]
        return self._ahead[layer]

    def _walk(
        self,
        layers: range,
        of_columns: Ints,
        chunk: range,
        live: Ints,
        softmax: "_SlotSoftmax | None",
        late: LateLogits | None,
    ) -> "_Walked":
        """The light loop over the steps, for the groups of one layer or of several.

        Returns the columns kept, their memory (groups, rows), and the evictions.
        """
        policy, budget = self.policy, self._budget_at(chunk[-1])
        filled, offset = live.shape[1], of_columns.shape[1] - len(chunk)
        shape = (len(live), min(filled + len(chunk), budget + 1))
        of_groups, rows = np.repeat(layers, self.groups)[:, None], np.arange(len(live)) * shape[1]
        columns, positions, memory = np.zeros(shape, np.int64), np.zeros(shape, np.int64), np.zeros(shape)
        columns[:, :filled] = live
        positions[:, :filled] = np.take_along_axis(of_columns, live, axis=1)
        held = self.memory[layers.start : layers.stop].reshape(len(live), -1)
        memory[:, :filled] = np.take_along_axis(held, live, axis=1)
        # a policy that remembers nothing has nothing to do before there are more rows than it may keep
        idle = min(len(chunk), budget - filled) if type(policy).observe is Policy.observe else 0
        columns[:, filled : filled + idle] = np.arange(offset, offset + idle)
        positions[:, filled : filled + idle] = chunk[:idle]
        filled += idle
        if softmax is not None:
            softmax.begin(columns)
        steps: list[int] = []
        columns_gone: list[Ints] = []
        importances: list[Floats] = []
        slot: Ints | int = filled
        flat_columns, flat_positions, flat_memory = columns.ravel(), positions.ravel(), memory.ravel()  # views
        for i, position in enumerate(chunk[idle:], start=idle):
            place = rows + slot
            flat_columns[place] = offset + i
            flat_positions[place] = position
            flat_memory[place] = 0.0
            filled += filled < shape[1]
            if late is not None and steps:
                late.renew(i, positions[:, :filled], columns[:, :filled])
            attention = None if softmax is None else softmax.over(i, slot, offset + i, filled)
            step = Step(of_groups, position, positions[:, :filled], attention)
            policy.observe(step, memory[:, :filled])
            slot = filled
            if filled > budget:
                slot, importance = _least(policy, step, memory)
                steps.append(i)
                columns_gone.append(flat_columns[rows + slot])
                importances.append(importance.astype(np.float32))
        if filled > budget:
            kept = np.ones(shape, bool)
            kept.ravel()[rows + slot] = False
            columns, memory = columns[kept].reshape(len(live), -1), memory[kept].reshape(len(live), -1)
        if not steps:
            return columns, memory, None
        lowest = np.partition(importances, 1, axis=2)
        return columns, memory, _Evictions(np.array(steps), np.array(columns_gone), lowest[..., 0], lowest[..., 1])

    @property
    def _evicts_by_mean_attention(self) -> bool:
        """Whether the policy is TOVA or one that only differs in who decides."""
        kind = type(self.policy)
        return kind.importance is Tova.importance and kind.observe is Policy.observe

    def _walk_by_mean(self, chunk: range, live: Ints, attention: Floats) -> "_Walked | None":
        """The same for TOVA, whose importance is the mean attention; None if a tie or rounding might decide.

        It goes by columns and without a `Step`. At every step it multiplies twice: for the sum, over the rows held, of
        the softmax over all columns, and for the mean over the heads of what is divided by it.
        """
        count, filled = len(chunk), live.shape[1]
        idle = self._budget_at(chunk[-1]) - filled
        heads, columns = attention.shape[1], attention.shape[3]
        held = np.zeros((self.groups, columns), np.float32)
        np.put_along_axis(held, live, 1.0, axis=1)
        held[:, columns - count :] = 1.0  # those to come have no attention yet
        spared = np.where(held > 0, np.float32(0), np.float32(np.inf))
        spared[:, columns - count + idle :] = np.inf
        evictions = range(columns - count + idle, columns)  # by the column of the step's own token
        totals = np.empty((len(evictions), self.groups, heads, 1), np.float32)
        importance = np.empty((len(evictions), self.groups, columns), np.float32)
        gone = np.empty((len(evictions), self.groups), np.int64)
        by_step = attention.transpose(2, 0, 1, 3)[idle:]
        flat_held, flat_spared, rows = held.ravel(), spared.ravel(), np.arange(0, held.size, columns)
        for newest, shares, total, row, victim in zip(evictions, by_step, totals, importance, gone, strict=True):
            spared[:, newest] = 0.0
            np.matmul(shares, held[:, :, None], out=total)
            mean = (1 / np.maximum(total, VANISHING)).swapaxes(1, 2) @ shares
            np.add(mean[:, 0], spared, out=row)
            row.argmin(axis=1, out=victim)
            place = rows + victim
            flat_held[place] = 0.0
            flat_spared[place] = np.inf
        lowest = np.take_along_axis(importance, gone[:, :, None], axis=2)
        np.put_along_axis(importance, gone[:, :, None], np.inf, axis=2)
        runner_up = importance.min(axis=2)
        lowest = lowest[:, :, 0]
        if not (totals.min() > VANISHING and (runner_up - lowest > AS_GOOD_AS_EQUAL * lowest).all()):
            return None
        kept = np.nonzero(held)[1].reshape(self.groups, -1)
        steps = np.arange(idle, count)
        return kept, np.zeros(kept.shape), _Evictions(steps, gone, lowest / heads, runner_up / heads)

    def _record_chunk(self, layer: int, of_columns: Ints, chunk: range, until: Ints, gone: "_Evictions") -> None:
        groups, steps = np.arange(self.groups), gone.steps[:, None]
        until[groups, gone.columns] = steps
        positions = of_columns[groups, gone.columns]
        self._record(np.asarray(layer), groups, positions, steps + chunk[0], gone.importance, gone.runner_up)

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
        if excess > 1:
            return self._cut(step, memory, excess)
        slot, importance = _least(self.policy, step, memory)
        lowest = np.partition(importance, 1, axis=1)
        gone = positions[np.arange(deciders), slot]
        self._record(layers, groups, gone, np.asarray(position), lowest[:, 0], lowest[:, 1])
        positions[np.arange(deciders), slot] = FREE
        self._hole = slot.reshape(self.layers, self.groups)
        return None

    def _cut(self, step: Step, memory: Floats, excess: int) -> Ints:
        """Several evictions at once, after a one-shot prompt; see `decide_token`."""
        order, importance = _ranked(self.policy, step, memory)
        victims, runner_up = order[:, :excess], order[:, excess, None]
        self._record(
            step.layer,
            np.tile(np.arange(self.groups), self.layers)[:, None],
            np.take_along_axis(step.positions, victims, axis=1),
            np.asarray(step.position),
            np.take_along_axis(importance, victims, axis=1),
            np.take_along_axis(importance, runner_up, axis=1),
        )
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
        """What has happened so far, for the tokens read so far; as arrays of its own, unless no token is to come."""
        n, own = self.length, True if self.length < self.nll.size else None  # of a whole book, copies would be large
        return Trace(
            model_id=model_id,
            policy=settings_of(self.policy),
            prefill=self.options.prefill,
            positions=self.options.positions,
            tokens=tokens,
            prompt_length=min(self.prompt_length, n),
            evicted_at=np.array(self._evicted_at[:, :, :n], copy=own),
            nll=np.array(self.nll[:n], copy=own),
            importance_at_eviction=np.array(self._importance[:, :, :n], copy=own),
            runner_up_importance=np.array(self._runner_up[:, :, :n], copy=own),
            attention_received=self._received[:, :, :n].astype(np.float32),
            sliding_windows=tuple(self.sliding_windows) if any(self.sliding_windows) else (),
        )


@dataclass(frozen=True)
class _Evictions:
    """Those of one layer, or of several, in one chunk.

    Attributes:
        steps: (evictions,), counted from the chunk's first.
        columns: (evictions, groups), which went.
        importance, runner_up: (evictions, groups), of the column that went and of the next.
    """

    steps: Ints
    columns: Ints
    importance: Floats
    runner_up: Floats

    def of(self, groups: slice) -> "_Evictions":
        """Those of these groups."""
        return _Evictions(self.steps, self.columns[:, groups], self.importance[:, groups], self.runner_up[:, groups])


_Walked: TypeAlias = tuple[Ints, Floats, _Evictions | None]  # the columns kept, their memory, and what went


class _SlotSoftmax:
    """Softmax over exactly the filled slots, step by step through a chunk.

    It keeps where each slot's logits are, since at every step only one slot changes its column.
    """

    def __init__(self, values: Floats) -> None:
        """Take logits, (groups, query heads, chunk, columns), contiguous."""
        groups, heads, count, self._width = values.shape
        self._flat = values.ravel()
        self._starts = np.arange(0, values.size, count * self._width).reshape(groups, heads)

    def begin(self, columns: Ints) -> None:
        """Take the columns (groups, slots) of the rows before the first step."""
        self._index = self._starts[:, :, None] + columns[:, None, :]
        self._flat_index = self._index.ravel()  # a view
        self._rows = np.arange(0, self._index.size, columns.shape[1]).reshape(self._starts.shape)

    def over(self, step: int, slot: Ints | int, column: int, filled: int) -> Floats:
        """(groups, query heads, filled) at this step, after `slot` of each group has taken this `column`."""
        self._flat_index[self._rows + (slot if isinstance(slot, int) else slot[:, None])] = self._starts + column
        values: Floats = self._flat[step * self._width :].take(self._index[:, :, :filled], mode="clip")
        return self._normalised(values)

    def _normalised(self, values: Floats) -> Floats:
        values -= values.max(axis=2, keepdims=True)
        np.exp(values, out=values)
        values /= values.sum(axis=2, keepdims=True)
        return values


class _Renormalised(_SlotSoftmax):
    """The same from a softmax over more columns, which only has to be divided by its sum over the slots."""

    def __init__(self, values: Floats) -> None:
        """Take what softmax gave, (groups, query heads, chunk, columns), contiguous."""
        super().__init__(values)
        self._totals: list[Floats] = []

    def _normalised(self, values: Floats) -> Floats:
        total = values.sum(axis=2, keepdims=True)
        self._totals.append(total)
        values /= np.maximum(total, VANISHING)
        return values

    @property
    def vanished(self) -> bool:
        """Whether the slots' sum was ever so small that it has no precision."""
        return bool(np.min(self._totals, initial=1.0) < VANISHING)


def _least(policy: Policy, step: Step, memory: Floats) -> tuple[Ints, Floats]:
    """The slot (groups,) of the lowest importance, the oldest of several; and the importance (groups, slots)."""
    importance = policy.importance(step, memory)
    slot = importance.argmin(axis=1)
    groups = np.arange(len(slot))
    if np.count_nonzero(importance <= importance[groups, slot, None]) != len(slot):  # ties, or not a number
        order, importance = _ranked(policy, step, memory)
        slot = order[:, 0]
    return slot, importance


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
