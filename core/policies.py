"""The policies: rules that say which row of a finite multi-state is evicted. numpy only.

A policy returns an importance for every row; the engine evicts the lowest, ties to the oldest. A policy holds
settings, never the state of a run: what it must remember from step to step lives in `memory`, which the engine
owns, one number per slot that is zero when a new row takes the slot. To add one, write a class like those below and
name it in `POLICIES`; the menus, the sliders and the tests read it from there. A setting is a whole number, whose field
says from which "minimum" to which "maximum", and, if it is the policy's own, how far its "slider" goes.
"""

from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from core.errors import BadInput, UnknownPolicy
from core.trace import PolicySettings, Scope
from core.whole_numbers import MOST_SEED, MOST_TOKENS, whole

Ints: TypeAlias = NDArray[np.integer[Any]]
Floats: TypeAlias = NDArray[np.floating[Any]]


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
                value = whole(setting.name, getattr(self, setting.name), of["minimum"], of["maximum"])
                object.__setattr__(self, setting.name, value)


def _budget() -> Any:
    return field(metadata={"label": "Multi-state size (budget)", "minimum": 1, "maximum": MOST_TOKENS})


@dataclass(frozen=True, kw_only=True)
class Full(Policy):
    """Evicts nothing: the infinite MSRNN, the topline (Oren et al. 2024, section 3)."""

    key = "full"
    label = "Full"
    paper = "Vaswani et al. 2017"
    scope = "layer"
    reads_attention = False
    budget: None = None

    def importance(self, step: Step, memory: Floats) -> Floats:
        return np.full(step.positions.shape, np.inf)


@dataclass(frozen=True, kw_only=True)
class Window(Policy):
    """Evicts the oldest row: first in, first out (Wang et al. 2019; Oren et al. 2024, section 3.2)."""

    key = "window"
    label = "Window"
    paper = "Wang et al. 2019"
    scope = "layer"
    reads_attention = False
    budget: int = _budget()

    def importance(self, step: Step, memory: Floats) -> Floats:
        return step.positions.astype(np.float64)


@dataclass(frozen=True, kw_only=True)
class WindowPlusI(Policy):
    """Evicts the oldest row that is not among the first `n_sink` tokens of the text.

    Source: Xiao et al. 2023 (StreamingLLM), Han et al. 2023 (LM-Infinite). Unlike StreamingLLM, rows keep the
    rotary position they were written with, as in Oren et al. 2024, unless ``positions="in-cache"`` is asked for.
    """

    key = "window+i"
    label = "Window+i"
    paper = "Xiao et al. 2023"
    scope = "layer"
    reads_attention = False
    budget: int = _budget()
    n_sink: int = field(
        default=4,
        metadata={
            "label": "Sink tokens (i)",
            "info": "The first i tokens are never evicted.",
            "minimum": 0,
            "maximum": MOST_TOKENS,
            "slider": 16,
        },
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n_sink >= self.budget:
            raise BadInput(
                f"{self.n_sink} sink tokens leave no room for recent ones in a budget of {self.budget}: "
                f"raise the budget above {self.n_sink}, or spare fewer."
            )

    def importance(self, step: Step, memory: Floats) -> Floats:
        return np.where(step.positions < self.n_sink, np.inf, step.positions)


@dataclass(frozen=True, kw_only=True)
class H2O(Policy):
    """Keeps the recent half of the budget, and of the older rows those with the most accumulated attention.

    Source: Zhang et al. 2023 (Heavy-Hitter Oracle). Attention is summed since the row arrived, over the query heads
    that share the KV head, the evicting step included as in the official code. Deviations from it: an odd budget
    gives its odd row to the heavy hitters, and the recent half is found by position, so a budget of 1 protects none
    (the official slice ``[-0:]`` would protect every row).
    """

    key = "h2o"
    label = "H2O"
    paper = "Zhang et al. 2023"
    scope = "kv_head"
    reads_attention = True
    budget: int = _budget()

    def observe(self, step: Step, memory: Floats) -> None:
        assert step.attention is not None
        memory += step.attention.sum(axis=1)

    def importance(self, step: Step, memory: Floats) -> Floats:
        n_recent = self.budget // 2
        return np.where(step.positions > step.position - n_recent, np.inf, memory)


@dataclass(frozen=True, kw_only=True)
class Tova(Policy):
    """Token Omission Via Attention: evicts what the current query attends to least, averaged over the layer's heads.

    Source: Oren et al. 2024, section 3.3. Nobody is protected: the newest row may go, and so may the first. The
    official code attends to the whole prompt and cuts it once at its end; that is the engine's ``one-shot`` prefill.
    """

    key = "tova"
    label = "TOVA"
    paper = "Oren et al. 2024"
    scope: ClassVar[Scope] = "layer"
    reads_attention = True
    budget: int = _budget()

    def importance(self, step: Step, memory: Floats) -> Floats:
        assert step.attention is not None
        mean: Floats = step.attention.sum(axis=1) / step.attention.shape[1]  # numpy's own mean takes twice as long
        return mean


@dataclass(frozen=True, kw_only=True)
class TovaHead(Tova):
    """TOVA decided by every KV head for itself, from the query heads that share it (Oren et al. 2024, table 3)."""

    key = "tova-head"
    label = "TOVA per head"
    scope = "kv_head"


@dataclass(frozen=True, kw_only=True)
class Random(Policy):
    """Evicts a row at random, all equally likely: the floor under every policy. Ours, from no paper.

    The draw depends on nothing but the seed, the layer, the query's position and the row's.
    """

    key = "random"
    label = "Random"
    paper = "ours"
    scope = "layer"
    reads_attention = False
    budget: int = _budget()
    seed: int = field(
        default=0,
        metadata={
            "label": "Seed",
            "info": "Another seed evicts other tokens.",
            "minimum": 0,
            "maximum": MOST_SEED,
            "slider": 999,
        },
    )

    def importance(self, step: Step, memory: Floats) -> Floats:
        return _hash(self.seed, step.layer, step.position, step.positions) / 2.0**64


@dataclass(frozen=True, kw_only=True)
class Oracle(Policy):
    """Knows the future: evicts the row to which the full model's later queries pay the least attention in total.

    Ours, from no paper: the ceiling over the policies, as `Random` is the floor. It is greedy, and what the full
    model attends to is not all that counts once other rows are gone, so a policy may well beat it here and there.
    Made by `core.foresee` for one text, which it can read but not continue; hence not in `POLICIES`. Another budget
    for the same text: ``dataclasses.replace(oracle, budget=32)``, which shares the table.

    Attributes:
        model_id, ids: the model and the text (n,) whose future it knows.
        future: (layers, n (n + 1) / 2) float32. Row p at step t has entry t (t + 1) / 2 + p: the attention that
            the full model's queries after step t pay to token p, summed over them, averaged over all query heads.
    """

    key = "oracle"
    label = "Oracle"
    paper = "ours"
    scope = "layer"
    reads_attention = False
    budget: int = _budget()
    model_id: str = field(repr=False)
    ids: Ints = field(repr=False, compare=False)
    future: Floats = field(repr=False, compare=False)

    def importance(self, step: Step, memory: Floats) -> Floats:
        row: Floats = self.future[step.layer, step.position * (step.position + 1) // 2 + step.positions]
        return row


def _hash(*keys: int | Ints) -> NDArray[np.uint64]:
    """Mix integers, broadcast against each other, to 64 random-looking bits (the finaliser of SplitMix64)."""
    bits = np.zeros(1, np.uint64)
    for key in keys:
        bits = (bits ^ np.asarray(key, np.uint64)) + np.uint64(0x9E3779B97F4A7C15)
        bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        bits = bits ^ (bits >> np.uint64(31))
    return bits


POLICIES: dict[str, type[Policy]] = {
    policy.key: policy for policy in (Tova, Window, WindowPlusI, H2O, TovaHead, Random, Full)
}


def make_policy(key: str, budget: int | None = None, **settings: Any) -> Policy:
    """The policy of that key with its settings, e.g. ``make_policy("window+i", budget=64, n_sink=4)``.

    Raises:
        UnknownPolicy: no such key.
        BadInput: a budget or setting that is missing, unknown, not a whole number, or out of its range.
    """
    if key not in POLICIES:
        raise UnknownPolicy(f"There is no policy {key!r}; choose one of {', '.join(POLICIES)}.")
    policy = POLICIES[key]
    if policy is Full:
        if budget is not None:
            raise BadInput("The full model keeps every token: it takes no budget.")
    else:
        settings["budget"] = budget
    known = [setting.name for setting in fields(policy)]  # type: ignore[arg-type]
    if unknown := settings.keys() - set(known):
        raise BadInput(f"{policy.label} has no setting {', '.join(sorted(unknown))}; it has {', '.join(known)}.")
    return policy(**settings)


def settings_of(policy: Policy) -> PolicySettings:
    """What a trace records of the policy: the settings that it shows in its repr."""
    names = [setting.name for setting in fields(policy) if setting.repr and setting.name != "budget"]  # type: ignore[arg-type]
    settings = {name: getattr(policy, name) for name in names}
    return PolicySettings(policy.key, policy.label, policy.scope, policy.budget, settings)
