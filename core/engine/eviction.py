"""Which rows are evicted while a chunk is read. numpy only.

At every step the query attends to the rows held and its own, by a softmax over exactly these; the policy observes the
attention; if there are then more rows than the budget, each decider evicts the row with the lowest importance, and of
several such rows the oldest. A step depends on the evictions before it, so the steps go one after the other. But the
logits of all steps with all columns do not depend on evictions and are computed beforehand, so each step is cheap.

`walk` does this for any policy. Example: the budget is 3, the slots hold the tokens 0, 1, 2, and the chunk is the
tokens 3 and 4. Step 3 attends to 0 1 2 3; token 1 has the least importance and is evicted. Token 4 takes its slot. Step
4 attends to 0 4 2 3; token 4 itself has the least importance and is evicted. The multi-state keeps 0 2 3. A policy that
does not read attention needs nothing that the layers compute, so all layers walk in one call.

`walk_by_mean` is faster, for TOVA only, whose importance is the attention of the current step, averaged over heads. The
softmax over some of the columns is the softmax over all columns, divided by the sum that these columns have in it. The
softmax over all columns is known for all steps, as one matrix A per head. With a vector h that is 1 for rows held and 0
for others, the importance is the mean over heads of A[step] / (A[step] · h). Example: A[step] is .4 .3 .2 .1 and the
second column was evicted; A[step] · h is .7, and the attention is .57 – .29 .14. What a layer's sinks get (see
`core.engine.layer_attention`) is never evicted, so it is added to A[step] · h. Rounding could pick the wrong row if
that sum is almost zero or if two rows are almost equal; `walk_by_mean` then returns None, and `walk` decides.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from core.engine.rotation import LateLogits, TurnedBack
from core.engine.softmax import SlotSoftmax
from core.errors import NumericalError
from core.policies import Floats, Ints, Policy, Rows, Step

AS_GOOD_AS_EQUAL = 1e-6  # relative: two ways of adding up the same float32 numbers may differ by less
VANISHING = 1e-12  # of a softmax over all columns, the least sum of the rows held that is precise enough to divide by


@dataclass(frozen=True)
class Columns:
    """The rows that the steps of a chunk may attend to: first the slots, then the tokens of the chunk.

    Attributes:
        layer, group: (deciders, 1), the layer of each decider, and its number in the layer.
        positions: (deciders, columns), the position of each row in the text.
        chunk: the positions of the chunk's tokens, which are the last columns.
        live: (deciders, rows), the columns that hold a row before the chunk; -1 where a decider has fewer than others.
        memory: (deciders, rows, …), the policy's `memory` for the rows of `live`.
        born: (deciders, chunk, …), the policy's `memory` for the tokens of the chunk when they are written.
        notes: (deciders, …), the policy's `notes`, which it changes in place; None if it has none.
    """

    layer: Ints
    group: Ints
    positions: Ints
    chunk: range
    live: Ints
    memory: Floats
    born: Floats
    notes: Floats | None = None


@dataclass(frozen=True)
class Computed:
    """What one layer has computed of a chunk, for one run.

    The functions compute what they return only when they are called: few policies need it all.

    Attributes:
        logits: (groups, query heads of the group, chunk, columns) float32, contiguous.
        rows: the chunk's keys and values.
        queries: (chunk, groups, query heads of the group, head size), the queries before the rotary embedding.
        attention: the softmax of the logits over all columns up to the step; None if it is not known.
        late: computes logits again after an eviction; None without late rotation, where logits do not change.
        rotary: undoes the model's rotary embedding; None unless the policy reads queries.
        sinks: (groups, query heads of the group) float32, the logits of the layer's sinks; None if it has none.
        to_sinks: (groups, query heads of the group, chunk, 1), what sinks get beside `attention`; None likewise.
    """

    logits: Callable[[], Floats]
    rows: Callable[[], Rows]
    queries: Callable[[], Floats]
    attention: Floats | None = None
    late: LateLogits | None = None
    rotary: TurnedBack | None = None
    sinks: Floats | None = None
    to_sinks: Floats | None = None


@dataclass(frozen=True)
class Evictions:
    """The evictions of one chunk: arrays of one shape, or of shapes that numpy broadcasts to it.

    Attributes:
        steps: counted from 0 in the chunk.
        deciders: who evicts.
        columns: the column evicted.
        importance, runner_up: the importance of the row evicted, and the lowest of a row that stays.
    """

    steps: Ints
    deciders: Ints
    columns: Ints
    importance: Floats
    runner_up: Floats


@dataclass(frozen=True)
class Walked:
    """The rows that are held after a chunk, and what was evicted.

    Attributes:
        columns: (deciders, rows), the columns that are kept.
        memory: (deciders, rows, …), the policy's `memory` for these.
        evictions: None if there were none.
    """

    columns: Ints
    memory: Floats
    evictions: Evictions | None

    def of(self, deciders: slice) -> "Walked":
        """The result for some of the deciders only; for walks in which all evict at the same steps, as in `walk`."""
        gone = self.evictions
        if gone is not None:
            columns = gone.columns[:, deciders]
            importance, runner_up = gone.importance[:, deciders], gone.runner_up[:, deciders]
            gone = Evictions(gone.steps, np.arange(columns.shape[1]), columns, importance, runner_up)
        return Walked(self.columns[deciders], self.memory[deciders], gone)


def walk(policy: Policy, budget: int, before: Columns, computed: Computed | None = None) -> Walked:
    """Go through the steps of a chunk, evicting at most one row per decider and step.

    Args:
        policy: gives each row its importance.
        budget: how many rows may stay.
        before: the rows as they are before the chunk; every decider has equally many.
        computed: what the layer has computed; None for a policy that needs nothing of it.
    """
    chunk, filled = before.chunk, before.live.shape[1]
    deciders, offset = len(before.live), before.positions.shape[1] - len(chunk)
    shape = (deciders, min(filled + len(chunk), budget + 1))
    rows = np.arange(deciders) * shape[1]
    columns, positions = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    memory = np.zeros((*shape, *before.born.shape[2:]), before.born.dtype)
    columns[:, :filled] = before.live
    positions[:, :filled] = np.take_along_axis(before.positions, before.live, axis=1)
    memory[:, :filled] = before.memory
    # a policy without an `observe` of its own is not asked until there are more rows than the budget
    idle = min(len(chunk), budget - filled) if type(policy).observe is Policy.observe else 0
    columns[:, filled : filled + idle] = np.arange(offset, offset + idle)
    positions[:, filled : filled + idle] = chunk[:idle]
    memory[:, filled : filled + idle] = before.born[:, :idle]
    filled += idle
    needs, seen, softmax = needs_of(policy), Seen(policy, before, computed), None
    if computed is not None and (needs.attention or needs.logits):
        softmax = SlotSoftmax(computed.logits(), computed.sinks, keep=needs.logits)
        softmax.begin(columns)
    late = None if computed is None else computed.late
    steps: list[int] = []
    columns_gone: list[Ints] = []
    importances: list[Floats] = []
    slot: Ints | int = filled
    flat_columns, flat_positions = columns.ravel(), positions.ravel()  # views
    flat_memory = memory.reshape(columns.size, *memory.shape[2:])  # a view, too
    for i, position in enumerate(chunk[idle:], start=idle):
        place = rows + slot
        flat_columns[place] = offset + i
        flat_positions[place] = position
        flat_memory[place] = before.born[:, i]
        filled += filled < shape[1]
        if late is not None and steps:
            late.renew(i, positions[:, :filled], columns[:, :filled])
        attention = None if softmax is None else softmax.over(i, slot, offset + i, filled)
        step = seen.step(i, positions[:, :filled], attention, None if softmax is None else softmax.logits)
        policy.observe(step, memory[:, :filled])
        slot = filled
        if filled > budget:
            slot, importance = least(policy, step, memory)
            steps.append(i)
            columns_gone.append(flat_columns[rows + slot])
            importances.append(importance.astype(np.float32))
    if filled > budget:
        kept = np.ones(shape, bool)
        kept.ravel()[rows + slot] = False
        columns = columns[kept].reshape(deciders, -1)
        memory = memory[kept].reshape(*columns.shape, *memory.shape[2:])
    if not steps:
        return Walked(columns, memory, None)
    lowest = np.partition(importances, 1, axis=2)
    evicted_at = np.array(steps)[:, None]
    gone = Evictions(evicted_at, np.arange(deciders), np.array(columns_gone), lowest[..., 0], lowest[..., 1])
    return Walked(columns, memory, gone)


class Seen:
    """What a policy is shown at each step of a chunk."""

    def __init__(
        self, policy: Policy, before: Columns, computed: Computed | None, deciders: Ints | None = None
    ) -> None:
        """Ask the layer for what the policy reads, and for nothing else.

        Args:
            policy: the policy.
            before: the rows of the deciders that are asked in one call.
            computed: what the layer has computed for all its deciders.
            deciders: those that are asked, of the layer's; None for all.
        """
        needs = needs_of(policy)
        self._before, self._attention, self._logits = before, needs.attention, needs.logits
        self._queries = self._rotary = self._sinks = None
        if computed is not None and needs.logits and computed.sinks is not None:
            self._sinks = computed.sinks if deciders is None else computed.sinks[deciders]
        if computed is not None and needs.queries:
            self._queries, self._rotary = computed.queries(), computed.rotary
            if deciders is not None:
                self._queries = self._queries[:, deciders]

    def step(self, i: int, positions: Ints, attention: Floats | None, logits: Floats | None = None) -> Step:
        """Step i of the chunk, with the rows attended to."""
        return Step(
            self._before.layer,
            self._before.chunk[i],
            positions,
            attention if self._attention else None,
            logits if self._logits else None,
            None if self._queries is None else self._queries[i],
            self._before.notes,
            self._rotary,
            self._before.group,
            self._sinks,
        )


@dataclass(frozen=True)
class Needs:
    """What a policy reads; `alone` if all that it remembers is one number per row, zero at first."""

    attention: bool
    logits: bool
    rows: bool
    queries: bool
    alone: bool


def needs_of(policy: Policy) -> Needs:
    """What a policy reads. It need not be a subclass of `Policy`: what it does not name, it does not read."""
    logits, rows, queries = (getattr(policy, f"reads_{what}", False) for what in ("logits", "rows", "queries"))
    alone = not queries and getattr(type(policy), "born", Policy.born) is Policy.born
    return Needs(policy.reads_attention, logits, rows, queries, alone)


def walk_by_mean(budget: int, before: Columns, attention: Floats, to_sinks: Floats | None = None) -> Walked | None:
    """What `walk` gives for TOVA, by fewer and larger operations; None if a tie or rounding might decide.

    Args:
        budget: how many rows may stay; fewer than there would be after the chunk without evictions.
        before: the rows as they are before the chunk.
        attention: (deciders, query heads, chunk, columns), the softmax over all columns up to the step.
        to_sinks: (deciders, query heads, chunk, 1), what the layer's sinks get beside it; None if it has none.
    """
    count, columns = len(before.chunk), attention.shape[3]
    deciders, heads = attention.shape[:2]
    idle = budget - before.live.shape[1]
    held = np.zeros((deciders, columns), np.float32)
    np.put_along_axis(held, before.live, 1.0, axis=1)
    held[:, columns - count :] = 1.0  # later tokens of the chunk may count as held: their attention is still 0
    spared = np.where(held > 0, np.float32(0), np.float32(np.inf))
    spared[:, columns - count + idle :] = np.inf
    steps = range(columns - count + idle, columns)  # a step is named by the column of its own token
    totals = np.empty((len(steps), deciders, heads, 1), np.float32)
    importance = np.empty((len(steps), deciders, columns), np.float32)
    gone = np.empty((len(steps), deciders), np.int64)
    by_step = attention.transpose(2, 0, 1, 3)[idle:]
    beside = np.zeros(len(steps), np.float32) if to_sinks is None else to_sinks.transpose(2, 0, 1, 3)[idle:]
    flat_held, flat_spared, rows = held.ravel(), spared.ravel(), np.arange(0, held.size, columns)
    each = zip(steps, by_step, beside, totals, importance, gone, strict=True)
    for newest, shares, to_sink, total, row, victim in each:
        spared[:, newest] = 0.0
        np.matmul(shares, held[:, :, None], out=total)
        total += to_sink
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
    kept = np.nonzero(held)[1].reshape(deciders, -1)
    evicted_at = np.arange(idle, count)[:, None]
    evictions = Evictions(evicted_at, np.arange(deciders), gone, lowest / heads, runner_up / heads)
    return Walked(kept, np.zeros(kept.shape), evictions)


def least(policy: Policy, step: Step, memory: Floats) -> tuple[Ints, Floats]:
    """The slot (deciders,) of the lowest importance, ties to the oldest row; and the importance (deciders, slots).

    Raises:
        NumericalError: an importance is not a number.
    """
    importance = policy.importance(step, memory)
    slot = importance.argmin(axis=1)
    deciders = np.arange(len(slot))
    if np.count_nonzero(importance <= importance[deciders, slot, None]) != len(slot):  # ties, or not a number
        order, importance = ranked(policy, step, memory)
        slot = order[:, 0]
    return slot, importance


def ranked(policy: Policy, step: Step, memory: Floats) -> tuple[Ints, Floats]:
    """The slots by rising importance, ties to the oldest row first, (deciders, slots); and the importance.

    Raises:
        NumericalError: an importance is not a number.
    """
    importance = policy.importance(step, memory)
    highest = importance.max()  # NaN if one of them is NaN
    if highest != highest:
        raise not_a_number(policy, step)
    return in_order(importance, step.positions), importance


def in_order(importance: Floats, positions: Ints) -> Ints:
    """The indices of rows in the order in which they go, along the last axis: by rising importance.

    This is the tie rule: of equally important rows the one at the lowest position, the oldest, goes first; of rows
    that are equal in that, too, the one that comes first.
    """
    return np.lexsort((positions, importance), axis=-1)


def not_a_number(policy: Policy, step: Step) -> NumericalError:
    """The error for an importance that is not a number."""
    return NumericalError(
        "At step {step} the importance that {policy} gives is not a number: the model's attention or the policy is "
        "broken. Try the model in float32.",
        step=step.position,
        policy=policy.label,
    )
