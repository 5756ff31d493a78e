"""Which rows are evicted while a chunk is read, if several may go at once or some deciders hold more. numpy only.

`walk_by_rule` does what `core.engine.eviction.walk` does, for any rule of `core.engine.sharing`, but more slowly.
Deciders that always hold equally many rows stand in one *block* and are asked in one call; others have a block each.

Two KV heads with a budget of 3 compete, for example. They hold 0 1 2 and 0 1 2; after token 3 that is 8 rows, two too
many. The least important are the rows 0 and 1 of the first head, so it holds 2 3, and the second head 0 1 2 3.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.engine.eviction import Columns, Computed, Evictions, Seen, Walked, needs_of, not_a_number
from core.engine.sharing import Rule
from core.engine.softmax import softmax_beside
from core.policies import Floats, Ints, Policy, Step


@dataclass
class Block:
    """Deciders of a layer that hold equally many rows.

    Attributes:
        deciders: their numbers in the layer.
        columns: (deciders, rows), the columns of the rows that they hold.
        memory: (deciders, rows, …), the policy's memory of these.
        seen: shows the policy the steps.
    """

    deciders: Ints
    columns: Ints
    memory: Floats
    seen: Seen


def walk_by_rule(policy: Policy, rule: Rule, before: Columns, computed: Computed) -> Walked:
    """Go through the steps of a chunk in one layer, evicting what the rule says.

    Args:
        policy: gives each row its importance.
        rule: says when rows go, and which.
        before: the rows as they are before the chunk.
        computed: what the layer has computed.

    Raises:
        NumericalError: an importance is not a number.
    """
    blocks = _blocks(policy, rule, before, computed)
    logits = _logits(policy, computed)
    offset = before.positions.shape[1] - len(before.chunk)
    events: list[Evictions] = []
    for i, position in enumerate(before.chunk):
        steps = []
        for block in blocks:
            new = np.full((len(block.deciders), 1), offset + i)
            block.columns = np.concatenate([block.columns, new], axis=1)
            block.memory = np.concatenate([block.memory, before.born[block.deciders, i : i + 1]], axis=1)
            if computed.late is not None and events:
                computed.late.renew(i, _positions(before, block), block.columns, block.deciders)
            step = _step(block, i, _positions(before, block), logits, computed.sinks)
            policy.observe(step, block.memory)
            steps.append(step)
        if rule.due(position, sum(block.columns.size for block in blocks)):
            events += _evict(policy, rule, i, blocks, steps)
    return Walked(_together([b.columns for b in blocks], -1), _together([b.memory for b in blocks], 0), _all(events))


def _blocks(policy: Policy, rule: Rule, before: Columns, computed: Computed) -> list[Block]:
    deciders = np.arange(len(before.live))
    blocks = []
    for own in [deciders] if rule.alike else np.split(deciders, len(deciders)):
        filled = before.live[own[0]] >= 0  # alike deciders have the same number of rows, without gaps
        notes = None if before.notes is None else before.notes[own[0] : own[-1] + 1]  # a view, to be changed in place
        seen = Seen(
            policy, replace(before, layer=before.layer[own], group=before.group[own], notes=notes), computed, own
        )
        blocks.append(Block(own, before.live[own][:, filled], before.memory[own][:, filled], seen))
    return blocks


def _logits(policy: Policy, computed: Computed) -> Floats | None:
    needs = needs_of(policy)
    return computed.logits() if needs.attention or needs.logits else None


def _positions(before: Columns, block: Block) -> Ints:
    return before.positions[block.deciders[:, None], block.columns]


def _step(block: Block, i: int, positions: Ints, logits: Floats | None, sinks: Floats | None) -> Step:
    if logits is None:
        return block.seen.step(i, positions, None)
    own = np.take_along_axis(logits[block.deciders, :, i], block.columns[:, None], axis=2)
    attention = softmax_beside(None if sinks is None else sinks[block.deciders], own.copy())
    return block.seen.step(i, positions, attention, own)


def _evict(policy: Policy, rule: Rule, i: int, blocks: list[Block], steps: list[Step]) -> list[Evictions]:
    """Take the rows out of the blocks that the rule names at step i of the chunk."""
    importance = [policy.importance(step, block.memory) for step, block in zip(steps, blocks, strict=True)]
    if any(np.isnan(values).any() for values in importance):
        raise not_a_number(policy, steps[0])
    going = rule.going(steps[0].position, [step.positions for step in steps], importance)
    stay = [np.where(mask, np.inf, values) for mask, values in zip(going, importance, strict=True)]
    lowest = [values.min(axis=1) for values in stay]
    if not rule.alike:
        lowest = [np.full(1, np.min(lowest))] * len(blocks)
    events = []
    for block, mask, values, runner_up in zip(blocks, going, importance, lowest, strict=True):
        if not mask.any():
            continue
        row, place = np.nonzero(mask)
        gone = block.columns[row, place]
        events.append(Evictions(np.full(len(row), i), block.deciders[row], gone, values[row, place], runner_up[row]))
        block.columns = block.columns[~mask].reshape(len(mask), -1)
        block.memory = block.memory[~mask].reshape(*block.columns.shape, *block.memory.shape[2:])
    return events


def _together(parts: Sequence[NDArray[Any]], filler: int) -> NDArray[Any]:
    """Arrays (deciders, rows, …) of several blocks as one, filled up to the most rows of any."""
    most = max(part.shape[1] for part in parts)
    whole = [
        np.pad(part, [(0, 0), (0, most - part.shape[1])] + [(0, 0)] * (part.ndim - 2), constant_values=filler)
        for part in parts
    ]
    return np.concatenate(whole)


def _all(events: list[Evictions]) -> Evictions | None:
    if not events:
        return None
    names = ("steps", "deciders", "columns", "importance", "runner_up")
    return Evictions(*(np.concatenate([getattr(event, name) for event in events]) for name in names))
