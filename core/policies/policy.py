"""The contract of a policy: what it may look at, and what it says. numpy only.

A policy returns an importance for every row; the engine evicts the lowest, ties to the oldest. A policy holds
settings, never the state of a run: what it must remember from step to step lives in `memory`, which the engine
owns, one number per slot that is zero when a new row takes the slot. A setting is a whole number, whose field says from
which "minimum" to which "maximum", and, if it is the policy's own, how far its "slider" goes.
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
        layer: (groups, 1), the layer, from 0; when a single token is read, the groups of all layers are decided in
            one call.
        position: of the query token in the text.
        positions: (groups, slots), of the rows the query attended to, its own included; in no particular order.
        attention: (groups, query heads of the group, slots) float32, softmax over exactly these slots; None unless
            the policy's `reads_attention`.
    """

    layer: Ints
    position: int
    positions: Ints
    attention: Floats | None


class Policy(Protocol):
    """A rule of eviction.

    Attributes:
        key, label: its name in code and for people.
        paper: where it is from, such as "Oren et al. 2024", or "ours".
        scope: who decides, the layer as one, or each KV head for itself.
        reads_attention: whether it needs `Step.attention`.
        budget: how many rows may stay; None for all.
    """

    key: ClassVar[str]
    label: ClassVar[str]
    paper: ClassVar[str]
    scope: ClassVar[Scope]
    reads_attention: ClassVar[bool]
    budget: int | None

    def observe(self, step: Step, memory: Floats) -> None:
        """Called at every step, before `importance`; may add to `memory` (groups, slots) in place."""
        return

    def importance(self, step: Step, memory: Floats) -> Floats:
        """(groups, slots): the row with the lowest is evicted. Called when there are more than `budget` rows."""
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
    """What a trace records of the policy: the settings that it shows in its repr."""
    names = [setting.name for setting in fields(policy) if setting.repr and setting.name != "budget"]  # type: ignore[arg-type]
    settings = {name: getattr(policy, name) for name in names}
    return PolicySettings(policy.key, policy.label, policy.scope, policy.budget, settings)
