"""A policy that follows a schedule made beforehand, such as that of another run."""

from dataclasses import dataclass, field

import numpy as np

from core.errors import BadInput
from core.messages import Message
from core.policies.policy import Policy, Step, a_budget
from core.trace import NEVER, Floats, Ints, Scope, Trace
from core.whole_numbers import whole


@dataclass(frozen=True, kw_only=True)
class Scripted(Policy):
    """Evicts each row at the step that a schedule says, for one text. Ours, from no paper; made by `scripted`.

    Importance is the step at which the row is to go.

    Attributes:
        budget: the most rows that any group holds after a step.
        evicted_at: (layers, groups, n) as in a trace.
        ids: (n,) the text's tokens; None if the schedule is for any text of n tokens.
    """

    key = "scripted"
    label = "Scripted"
    paper = "ours"
    reads_attention = False
    reason = Message("the schedule said so")
    budget: int = a_budget()
    scope: Scope  # type: ignore[misc]
    evicted_at: Ints = field(repr=False, compare=False)
    ids: Ints | None = field(repr=False, compare=False, default=None)

    def importance(self, step: Step, memory: Floats) -> Floats:
        steps: Floats = self.evicted_at[step.layer, step.group, step.positions].astype(np.float64)
        return steps


def scripted(schedule: Trace | Ints, budget: int | None = None) -> Scripted:
    """A policy that evicts as a trace did, or as an array says.

    A token has one step at which it goes, so no schedule can evict it twice.

    Args:
        schedule: a trace, or (layers, groups, n) integers: the last step that attends to each token, `NEVER` if it
            stays; one group per layer if the layer decides, or one per KV head.
        budget: the most rows that a group may hold after a step; None for as many as the schedule holds.

    Raises:
        BadInput: the array has another form; a token goes before it is read, or after the end; a group holds more rows
            than the budget. The message names the place.
    """
    budget = None if budget is None else whole("budget", budget, 1)
    trace = schedule if isinstance(schedule, Trace) else None
    evicted_at = np.array(trace.evicted_at if trace is not None else schedule)
    if evicted_at.ndim != 3 or evicted_at.size == 0 or not np.issubdtype(evicted_at.dtype, np.integer):
        raise BadInput(
            "A schedule is an array of integers (layers, groups, tokens), not {shape}.", shape=evicted_at.shape
        )
    n = evicted_at.shape[2]
    impossible = (evicted_at < np.arange(n)) | (evicted_at >= n) & (evicted_at != NEVER)
    if impossible.any():
        layer, group, token = np.argwhere(impossible)[0].tolist()
        raise BadInput(
            "In layer {layer}, group {group}, token {token} is to go at step {step}: it is read at step {token}, and "
            "the last step is {last}.",
            layer=layer,
            group=group,
            token=token,
            step=int(evicted_at[layer, group, token]),
            last=n - 1,
        )
    held = _held(evicted_at)
    most = int(held.max())
    if budget is not None and most > budget:
        layer, group, step = np.argwhere(held > budget)[0].tolist()
        raise BadInput(
            "In layer {layer}, group {group}, the schedule holds {rows} rows after step {step}, which is more than the "
            "budget of {budget}.",
            layer=layer,
            group=group,
            rows=int(held[layer, group, step]),
            step=step,
            budget=budget,
        )
    scope: Scope = "layer" if evicted_at.shape[1] == 1 else "kv_head"
    if trace is not None:
        scope = trace.policy.scope
    ids = None if trace is None else trace.tokens.ids
    return Scripted(budget=budget or most, scope=scope, evicted_at=evicted_at, ids=ids)


def _held(evicted_at: Ints) -> Ints:
    """(layers, groups, n): how many rows each group holds after each step."""
    layers, groups, n = evicted_at.shape
    gone = np.zeros((layers, groups, n), np.int64)
    layer, group, token = np.nonzero(evicted_at != NEVER)
    np.add.at(gone, (layer, group, evicted_at[layer, group, token]), 1)
    held: Ints = np.arange(1, n + 1) - gone.cumsum(axis=2)
    return held
