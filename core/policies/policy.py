"""The interface of a policy. numpy only.

A policy returns an importance for every row; the engine evicts the row with the lowest, ties to the oldest. A policy
object holds settings, never the state of a run: what it must remember from step to step is in `memory`, an array of the
engine with one number per slot, set to zero when a new row takes the slot. A setting is a whole number, made by
`a_setting`; its field's metadata name it and give its range.

Most policies need no more than this. One that looks at keys and values, or remembers several numbers per row, says in
`Policy.born` what the memory of a new row is. Example: Knorm returns the length of each new key there, so its memory is
that length from then on, and its importance is the memory with the sign turned.
"""

from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Protocol

import numpy as np

from core.messages import Message
from core.trace import Floats, Ints, PolicySettings, Scope
from core.whole_numbers import MOST_TOKENS, whole


@dataclass(frozen=True, slots=True)
class Step:
    """What a policy may look at when one query token has been read.

    Attributes:
        layer: (groups, 1), the layer of each group, from 0; one call may decide for groups of several layers.
        position: the position of the query token in the text.
        positions: (groups, slots), the positions of the rows attended to, the query's own included, in any order.
        attention: (groups, query heads of the group, slots) float32, the softmax over exactly these slots; None unless
            the policy's `reads_attention` is true. In a model with learned sinks it is what they leave, so it sums to
            less than 1 and the less the more a head gives to its sink.
        logits: (groups, query heads of the group, slots) float32, what that softmax is taken of, after the model's soft
            cap if it has one; None unless the policy's `reads_logits` is true.
        query: (groups, query heads of the group, head size) float32, the query before the rotary embedding; None
            unless the policy's `reads_queries` is true.
        notes: (groups, …) float32, what the policy remembers besides its rows, see `Policy.notes`; it may be changed
            in place. None if that is nothing.
        rotary: the model's rotary embedding; None unless the policy's `reads_queries` is true.
        group: (groups, 1), the number of each group in its layer.
        sinks: (groups, query heads of the group) float32, a logit more in each softmax, which is no row; None if the
            layer has no learned sinks, or unless the policy's `reads_logits` is true.
    """

    layer: Ints
    position: int
    positions: Ints
    attention: Floats | None
    logits: Floats | None = None
    query: Floats | None = None
    notes: Floats | None = None
    rotary: "TurnsBack | None" = None
    group: Ints | None = None
    sinks: Floats | None = None


@dataclass(frozen=True, slots=True)
class Rows:
    """New rows of one layer.

    Attributes:
        shape: groups, rows.
        keys, values: (groups, KV heads of the group, rows, head size) float32, the keys as the multi-state holds them:
            after the rotary embedding with original positions, before it with others. Values may have another size
            than keys. None unless the policy's `reads_rows` is true.
    """

    shape: tuple[int, int]
    keys: Floats | None = None
    values: Floats | None = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """How a policy decides, for its card on the page.

    In the formula ``*j*`` is set in italics and ``_h`` lowered, see `viz.cards.policy`; so translators read plain text.

    Attributes:
        sentence: for anybody.
        formula: of the importance; the row with the lowest goes.
        link: the address of its source; empty if the policy is ours.
        source: what stands there if it is not the policy's `paper`.
    """

    sentence: Message
    formula: Message
    link: str = ""
    source: Message | None = None


def arxiv(number: str) -> str:
    """The address of a paper."""
    return f"https://arxiv.org/abs/{number}"


class TurnsBack(Protocol):
    """A rotary embedding that can be undone."""

    def back(self, rows: Floats, positions: range) -> Floats:
        """Keys or queries (..., head size), turned back from each of these positions, averaged over the positions."""
        ...


class Policy(Protocol):
    """A rule of eviction.

    Attributes:
        key, label: its name in code, and its name on the page.
        paper: its source, such as "Oren et al. 2024", or "ours".
        scope: who decides: ``"layer"``, or ``"kv_head"`` if each KV head evicts for itself.
        reads_attention: whether it needs `Step.attention`.
        reads_logits: whether it needs `Step.logits`.
        reads_rows: whether it needs `Rows.keys` and `Rows.values`.
        reads_queries: whether it needs `Step.query` and `Step.rotary`; it then reads with original positions only.
        reason: what the page says of a row that it evicts; {rows} were attended to, the row's own importance is
            {importance} and the next lowest {runner_up}, and the policy's settings have their names.
        explanation: what its card on the page tells; if None, that has only the heading of its group and who decides.
        budget: how many rows may stay; None for all.
    """

    key: ClassVar[str]
    label: ClassVar[str]
    paper: ClassVar[str]
    scope: ClassVar[Scope]
    reads_attention: ClassVar[bool]
    reads_logits: ClassVar[bool] = False
    reads_rows: ClassVar[bool] = False
    reads_queries: ClassVar[bool] = False
    reason: ClassVar[Message] = Message("least important of {rows} rows, {importance}; next lowest {runner_up}")
    explanation: ClassVar[Explanation | None] = None
    budget: int | None

    def born(self, rows: Rows) -> Floats:
        """The memory of new rows: (groups, rows), or (groups, rows, numbers) to remember several numbers of each."""
        return np.zeros(rows.shape)

    def notes(self, heads: int, head_size: int) -> tuple[int, ...]:
        """The shape of what each group remembers besides its rows; it starts as zeros. `heads` are those of a group."""
        return ()

    def observe(self, step: Step, memory: Floats) -> None:
        """Called at every step, before `importance`; may change `memory` (groups, slots, as `born`) in place."""
        return

    def importance(self, step: Step, memory: Floats) -> Floats:
        """(groups, slots): how important each row is; called only if there are more than `budget` rows.

        The row with the lowest is evicted, of equal ones the oldest; `np.inf` spares a row while others are lower.
        """
        ...

    def __post_init__(self) -> None:
        for setting in fields(self):  # type: ignore[arg-type]
            if of := setting.metadata:
                value = whole(of["name"], getattr(self, setting.name), of["minimum"], of["maximum"])
                object.__setattr__(self, setting.name, value)


def a_budget() -> Any:
    """The field of a finite policy's budget."""
    return field(
        metadata={
            "name": Message("budget"),
            "label": Message("Multi-state size (budget)"),
            "minimum": 1,
            "maximum": MOST_TOKENS,
        }
    )


def a_setting(name: str, label: Message, default: int, minimum: int = 0, maximum: int = MOST_TOKENS) -> Any:
    """The field of a setting other than the budget, a whole number; `name` is that of the field, for errors."""
    return field(default=default, metadata={"name": name, "label": label, "minimum": minimum, "maximum": maximum})


def settings_of(policy: Policy) -> PolicySettings:
    """The policy as a trace records it; fields with ``repr=False`` are left out."""
    names = [setting.name for setting in fields(policy) if setting.repr and setting.name != "budget"]  # type: ignore[arg-type]
    settings = {name: getattr(policy, name) for name in names}
    return PolicySettings(policy.key, policy.label, policy.scope, policy.budget, settings)
