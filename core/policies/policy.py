"""The interface of a policy. numpy only.

A policy returns an importance for every row; the engine evicts the row with the lowest, ties to the oldest. A policy
object holds settings, never the state of a run: what it must remember from step to step is in `memory`, an array of the
engine with one number per slot, set to zero when a new row takes the slot. A setting is a whole number; its field's
metadata give its "minimum" and "maximum" and, except for the budget, the "slider" maximum on the page.
"""

from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Protocol

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
            the policy's `reads_attention` is true.
    """

    layer: Ints
    position: int
    positions: Ints
    attention: Floats | None


class Policy(Protocol):
    """A rule of eviction.

    Attributes:
        key, label: its name in code, and its name on the page.
        paper: its source, such as "Oren et al. 2024", or "ours".
        scope: who decides: ``"layer"``, or ``"kv_head"`` if each KV head evicts for itself.
        reads_attention: whether it needs `Step.attention`.
        reason: what the page says of a row that it evicts; {rows} were attended to, the row's own importance is
            {importance} and the next lowest {runner_up}, and the policy's settings have their names.
        budget: how many rows may stay; None for all.
    """

    key: ClassVar[str]
    label: ClassVar[str]
    paper: ClassVar[str]
    scope: ClassVar[Scope]
    reads_attention: ClassVar[bool]
    reason: ClassVar[Message] = Message("least important of {rows} rows, {importance}; next lowest {runner_up}")
    budget: int | None

    def observe(self, step: Step, memory: Floats) -> None:
        """Called at every step, before `importance`; may change `memory` (groups, slots) in place."""
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


def settings_of(policy: Policy) -> PolicySettings:
    """The policy as a trace records it; fields with ``repr=False`` are left out."""
    names = [setting.name for setting in fields(policy) if setting.repr and setting.name != "budget"]  # type: ignore[arg-type]
    settings = {name: getattr(policy, name) for name in names}
    return PolicySettings(policy.key, policy.label, policy.scope, policy.budget, settings)
