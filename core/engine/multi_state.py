"""One run of one policy on one text: which rows its layers hold, and the record that becomes its trace. numpy only.

`core.engine.batch` holds the keys and values; it asks the run, chunk by chunk or token by token, which rows are there
and which are evicted. A *slot* is a place in the multi-state. While a chunk is being read, a *column* is a row that it
may attend to: first the slots, then the tokens of the chunk.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from core.engine.eviction import (
    Columns,
    Computed,
    Evictions,
    Walked,
    least,
    needs_of,
    ranked,
    walk,
    walk_by_mean,
)
from core.engine.options import AS_USUAL, ReadOptions
from core.engine.sharing import Cut, first_of, rules
from core.engine.uneven import walk_by_rule
from core.policies import Floats, Ints, Policy, Rows, Step, Tova, settings_of
from core.trace import NEVER, Tokens, Trace

FREE = -1  # the position of a slot that holds no row


class Run:
    """The bookkeeping of one policy on one text.

    Attributes:
        policy: the policy, which is never changed.
        options: how the text is read.
        groups: deciders per layer.
        positions: (layers, groups, slots) int32, the position of the row in each slot, or `FREE`.
        memory: (layers, groups, slots, …), what the policy remembers of each row, see `Policy.born`.
        length: how many tokens have been read.
        seconds: how long the policy's decisions have taken.
        sliding_windows: per layer, the model's own sliding window in tokens, for the trace; 0 for none.
        needs: what the policy reads.
        by_token: whether a single token may be read by all layers before any of them decides. Then all layers and
            groups hold equally many rows and evict equally many, and the policy needs only attention.
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
        heads: tuple[int, int] = (1, 1),
    ) -> None:
        """A run that has read nothing.

        Args:
            policy: the policy.
            layers: how many layers the model has.
            kv_heads: how many KV heads each layer has.
            capacity: how many tokens it may read.
            prompt_length: how many of them are given.
            options: how they are read.
            heads: how many query heads the model has, and the size of each.

        Raises:
            BadInput: options that this policy cannot have.
        """
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
        self.needs = needs_of(policy)
        by_token = self.needs.alone and not (self.needs.rows or self.needs.logits)
        self._rules = rules(
            policy,
            options,
            layers=layers,
            deciders=self.groups,
            length=capacity,
            prompt_length=prompt_length,
            by_token=by_token,
        )
        self.by_token = by_token and self._rules is None
        shape = policy.notes(heads[0] // self.groups, heads[1]) if self.needs.queries else ()
        self._notes = np.zeros((layers, self.groups, *shape), np.float32) if shape else None
        self._hole: Ints | None = None  # (layers, groups): the slot freed last, where the next row goes
        self._kept: list[tuple[Ints, Floats]] = []  # positions and memory of the layers that have read the chunk
        self._ahead: list[Walked] = []  # of every layer, see `_ahead_of`
        record = (layers, self.groups, capacity)
        self._evicted_at = np.full(record, NEVER, np.int32)
        self._importance = np.full(record, np.nan, np.float32)
        self._runner_up = np.full(record, np.nan, np.float32)
        self._received = np.zeros(record)
        self.nll = np.full(capacity, np.nan, np.float32)

    @contextmanager
    def clock(self) -> Iterator[None]:
        """Add the time spent inside to `seconds`."""
        began = time.perf_counter()
        yield
        self.seconds += time.perf_counter() - began

    @property
    def slots(self) -> int:
        """How many slots the multi-state of each layer and group has now, free ones included."""
        return self.positions.shape[2]

    def _budget_at(self, position: int) -> int:
        """How many rows may stay after this step: all of them while a one-shot prompt is being read."""
        reading_at_once = self.options.prefill == "one-shot" and position < self.prompt_length - 1
        return NEVER if self.policy.budget is None or reading_at_once else self.policy.budget

    # Reading a chunk: layer by layer, and in each layer the evictions before the attention.

    def column_positions(self, layer: int, offset: int, chunk: range) -> Ints:
        """(groups, offset + chunk) positions of the rows in the columns, `FREE` where there is none.

        Args:
            layer: the layer.
            offset: the column of the chunk's first token; at least `slots`.
            chunk: the positions of the chunk's tokens.
        """
        positions = np.full((self.groups, offset + len(chunk)), FREE, np.int32)
        held = min(offset, self.slots)  # another layer may hold more
        positions[:, :held] = self.positions[layer, :, :held]
        positions[:, offset:] = chunk
        return positions

    def decide_chunk(self, layer: int, positions: Ints, chunk: range, computed: Computed) -> tuple[Ints, Ints | None]:
        """Go through the steps of a chunk in one layer, evicting what has to go.

        Args:
            layer: the layer.
            positions: (groups, columns) as `column_positions` gives them.
            chunk: the positions of the chunk's tokens, which are the last columns.
            computed: what the layer has computed.

        Returns:
            until (groups, columns), the last step of the chunk, counted from 0, that attends to the column (beyond
            the chunk if it is kept, -1 if the column is free), and kept (groups, rows), the columns that remain; a
            group that keeps fewer rows than another has column 0 in the places left. kept is None if all remain.
        """
        until = np.where(positions == FREE, -1, len(chunk))
        walked = self._walked(layer, self._columns(layer, positions, chunk, computed), computed)
        if walked.evictions is not None:
            self._record_chunk(layer, positions, chunk, until, walked.evictions)
        kept = np.maximum(walked.columns, 0)
        held = np.where(walked.columns < 0, FREE, np.take_along_axis(positions, kept, axis=1))
        self._kept.append((held, walked.memory))
        everything = kept.shape == positions.shape and bool((kept == np.arange(kept.shape[1])).all())
        return until, None if everything else kept

    def _columns(self, layer: int, positions: Ints, chunk: range, computed: Computed | None) -> Columns:
        """The columns of a layer before the chunk, with the positions of `column_positions`."""
        offset = positions.shape[1] - len(chunk)
        free = positions[:, :offset] == FREE
        live = np.argsort(free, axis=1, kind="stable")[:, : (~free).sum(axis=1).max(initial=0)]
        groups = np.arange(self.groups)[:, None]
        shape = self.groups, len(chunk)
        rows = computed.rows() if computed is not None and self.needs.rows else Rows(shape)
        born = np.zeros(shape) if self.needs.alone else self.policy.born(rows)
        memory = self.memory[layer][groups, live] if live.size else born[:, :0]
        live = np.where(free[groups, live], -1, live)
        notes = None if self._notes is None else self._notes[layer]
        return Columns(np.full((self.groups, 1), layer), groups, positions, chunk, live, memory, born, notes)

    def evicts_in(self, chunk: range) -> bool:
        """Whether reading this chunk next may evict a row. Under the paper's own rule (no `rules`) it is certain."""
        if self._rules is not None:
            return chunk[-1] >= first_of(self._rules[1])
        return self._rows() + len(chunk) > self._budget_at(chunk[-1])

    def evicts_from(self) -> int:
        """A step before which no row is evicted."""
        if self._rules is not None:
            return first_of(self._rules[1])
        budget = NEVER if self.policy.budget is None else self.policy.budget
        return max(budget, self.prompt_length - 1) if self.options.prefill == "one-shot" else budget

    def _rows(self) -> int:
        return self.slots - (self._hole is not None)

    def _walked(self, layer: int, before: Columns, computed: Computed) -> Walked:
        """The result of the chunk in this layer, by the fastest function that applies."""
        if self._rules is not None:
            policies, rules = self._rules
            return walk_by_rule(policies[layer], rules[layer], before, computed)
        policy, budget = self.policy, self._budget_at(before.chunk[-1])
        if before.live.shape[1] > budget:  # the end of a one-shot prompt, beside a run that is not `by_token`
            return walk_by_rule(policy, Cut(budget, 1, self.groups, before.chunk[-1]), before, computed)
        if self.by_token and not policy.reads_attention:
            return walk(policy, budget, before, computed) if computed.late else self._ahead_of(layer, before)
        attention = computed.attention
        if attention is not None and self._evicts_by_mean_attention and self.evicts_in(before.chunk):
            walked = walk_by_mean(budget, before, attention, computed.to_sinks)
            if walked is not None:
                return walked
        return walk(policy, budget, before, computed)

    def _ahead_of(self, layer: int, first: Columns) -> Walked:
        """The result of the chunk for a policy that reads nothing: at the first layer, all layers walk at once."""
        if layer == 0:
            chunk, offset = first.chunk, first.positions.shape[1] - len(first.chunk)
            places = [self.column_positions(at, offset, chunk) for at in range(self.layers)]
            every = [self._columns(at, positions, chunk, None) for at, positions in enumerate(places)]
            names = ("layer", "group", "positions", "live", "memory", "born")
            parts = {name: np.concatenate([getattr(one, name) for one in every]) for name in names}
            walked = walk(self.policy, self._budget_at(chunk[-1]), Columns(chunk=chunk, **parts))
            deciders = range(0, self.layers * self.groups, self.groups)
            self._ahead = [walked.of(slice(at, at + self.groups)) for at in deciders]
        return self._ahead[layer]

    @property
    def _evicts_by_mean_attention(self) -> bool:
        """Whether the policy has TOVA's importance and no memory, so that `walk_by_mean` applies."""
        kind = type(self.policy)
        return kind.importance is Tova.importance and kind.observe is Policy.observe

    def _record_chunk(self, layer: int, of_columns: Ints, chunk: range, until: Ints, gone: Evictions) -> None:
        where = gone.deciders, gone.columns
        until[where] = gone.steps
        positions = of_columns[where]
        steps = gone.steps + chunk[0]
        self._record(np.asarray(layer), gone.deciders, positions, steps, gone.importance, gone.runner_up)

    def finish_chunk(self, chunk: range) -> None:
        """Take over what the layers have decided; called after all of them have read the chunk."""
        positions, memories = zip(*self._kept, strict=True)
        self.positions, self.memory = _stacked(positions, FREE), _stacked(memories, 0)
        self._kept.clear()
        self._hole = None
        self.length = chunk.stop

    # Reading a single token: all layers read it, then all decide at once.

    def place_token(self, position: int) -> Ints:
        """Give the token the slot freed last, or a new one. Returns the slots, (layers, groups)."""
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
            position: the position of the token.
            attention: (layers, groups, query heads of the group, slots) float32, the attention it pays.

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
        paid = attention if self.policy.reads_attention else None
        step = Step(layers[:, None], position, positions, paid, group=groups[:, None])
        self._received[layers[:, None], groups[:, None], positions] += attention.mean(axis=1)
        self.policy.observe(step, memory)
        self.length = position + 1
        excess = self.slots - self._budget_at(position)
        if excess <= 0:
            return None
        if excess > 1:
            return self._cut(step, memory, excess)
        slot, importance = least(self.policy, step, memory)
        lowest = np.partition(importance, 1, axis=1)
        gone = positions[np.arange(deciders), slot]
        self._record(layers, groups, gone, np.asarray(position), lowest[:, 0], lowest[:, 1])
        positions[np.arange(deciders), slot] = FREE
        self._hole = slot.reshape(self.layers, self.groups)
        return None

    def _cut(self, step: Step, memory: Floats, excess: int) -> Ints:
        """Several evictions at once, after a one-shot prompt; see `decide_token`."""
        order, importance = ranked(self.policy, step, memory)
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

    # Recording the trace.

    def receive(self, layer: int, positions: Ints, attention: Floats) -> None:
        """Record attention (groups, columns), summed over the chunk's queries, as received by tokens at `positions`."""
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
        """The trace of the tokens read so far. Its arrays are copies, except for a finished run."""
        n, own = self.length, True if self.length < self.nll.size else None  # for a whole book, copies would be large
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
            budgets=self.options.budgets,
            beta=self.options.beta,
            every=self.options.every,
        )


def _stacked(layers: Sequence[Any], filler: int) -> Any:
    """Arrays (groups, rows, …) of all layers as one (layers, groups, most rows of any, …)."""
    most = max(len(rows[0]) for rows in layers)
    if all(len(rows[0]) == most for rows in layers):
        return np.stack(layers)
    shape = (len(layers), len(layers[0]), most, *layers[0].shape[2:])
    stacked = np.full(shape, filler, layers[0].dtype)
    for whole, rows in zip(stacked, layers, strict=True):
        whole[:, : len(rows[0])] = rows
    return stacked
