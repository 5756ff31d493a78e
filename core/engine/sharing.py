"""How a budget is shared out over layers and KV heads, and at which steps rows go. numpy only.

A *rule* decides for one layer. At every step it sees how many rows the layer's deciders hold, and if that is too many,
it picks those that go, by their importance. There are three: every decider is cut to the same number of rows (`Cut`);
the deciders of the layer compete (`Compete`); a schedule says it (`Follow`). The paper's own, one row in and one row
out for every decider, is `Cut` with ``every=1``; for that alone `core.engine.eviction` has faster ways.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from core.engine.eviction import in_order
from core.engine.options import ReadOptions
from core.errors import BadInput
from core.policies import Floats, Ints, Policy, Scripted
from core.trace import NEVER, Bools

FLOOR = 0.2  # of the budget: what each KV head keeps under adaptive budgets


class Rule(Protocol):
    """Says which rows of one layer go.

    Attributes:
        alike: whether all deciders always hold equally many rows.
        first: a step before which no row goes.
    """

    @property
    def alike(self) -> bool: ...

    @property
    def first(self) -> int: ...

    def due(self, position: int, rows: int) -> bool:
        """Whether rows may go after this step, if the layer's deciders hold so many in all."""
        ...

    def going(self, position: int, positions: Sequence[Ints], importance: Sequence[Floats]) -> list[Bools]:
        """Which rows go, for several lists of deciders: each (deciders, rows), like positions and importance."""
        ...


@dataclass(frozen=True)
class Cut:
    """Every decider holds at most `budget` rows, plus ``every - 1`` that wait.

    Attributes:
        budget: how many rows stay.
        every: rows go when a decider holds so many more than the budget, and then all of these.
        deciders: how many there are in the layer.
        at_once: the last step of a one-shot prompt, before which no row goes; -1 if there is none.
    """

    budget: int
    every: int
    deciders: int
    at_once: int
    alike = True

    @property
    def first(self) -> int:
        return max(self.at_once, self.budget)

    def due(self, position: int, rows: int) -> bool:
        most = self.budget * self.deciders
        if position <= self.at_once:
            return position == self.at_once and rows > most
        return rows >= most + self.every * self.deciders

    def going(self, position: int, positions: Sequence[Ints], importance: Sequence[Floats]) -> list[Bools]:
        gone = []
        for where, values in zip(positions, importance, strict=True):
            order = in_order(values, where)
            mask = np.zeros(where.shape, bool)
            np.put_along_axis(mask, order[:, : where.shape[1] - self.budget], True, axis=1)
            gone.append(mask)
        return gone


@dataclass(frozen=True)
class Compete(Cut):
    """The deciders of a layer hold at most `budget` rows each on average; the least important of all go.

    No decider is left with fewer than `FLOOR` of the budget. Of equally important rows the oldest goes first, then that
    of the first decider.
    """

    alike = False

    def going(self, position: int, positions: Sequence[Ints], importance: Sequence[Floats]) -> list[Bools]:
        counts = [where.size for where in positions]
        decider = np.repeat(np.arange(len(counts)), counts)
        order = in_order(np.concatenate(importance, axis=1)[0], np.concatenate(positions, axis=1)[0])
        excess, floor = sum(counts) - self.budget * len(counts), max(1, int(FLOOR * self.budget))
        gone = np.zeros(len(order), bool)
        left = list(counts)
        for row in order:
            if excess == 0:
                break
            if left[decider[row]] > floor:
                gone[row] = True
                left[decider[row]] -= 1
                excess -= 1
        return [mask[None] for mask in np.split(gone, np.cumsum(counts)[:-1])]


@dataclass(frozen=True)
class Follow:
    """The rows go at the step that a schedule (deciders, n) says."""

    evicted_at: Ints
    alike = False

    @property
    def first(self) -> int:
        return int(self.evicted_at.min())

    def due(self, position: int, rows: int) -> bool:
        return bool((self.evicted_at == position).any())

    def going(self, position: int, positions: Sequence[Ints], importance: Sequence[Floats]) -> list[Bools]:
        return [values == position for values in importance]


def rules(
    policy: Policy,
    options: ReadOptions,
    *,
    layers: int,
    deciders: int,
    length: int,
    prompt_length: int,
    by_token: bool,
) -> tuple[list[Policy], list[Rule]] | None:
    """Per layer, the policy with the layer's own budget, and the rule by which rows go; None for the paper's own rule.

    Args:
        policy: the policy.
        options: how the text is read.
        layers: how many there are.
        deciders: how many decide in each layer.
        length: how many tokens will be read, those to be written included.
        prompt_length: how many of them are given.
        by_token: whether all layers may read a token before they decide. Then these rules are used for a one-shot
            prompt, too, whose rows above the budget go all at once.

    Raises:
        BadInput: budgets that this policy cannot have.
    """
    if policy.budget is None:
        return None
    if isinstance(policy, Scripted):
        check_schedule(policy, layers, deciders, length)
        if options.budgets != "uniform" or options.every != 1:
            raise BadInput("A schedule already says which rows go and when: leave out budgets and every.")
        return [policy] * layers, [Follow(own) for own in policy.evicted_at]
    at_once = prompt_length - 1 if options.prefill == "one-shot" else -1
    if options.budgets == "uniform" and options.every == 1 and (by_token or at_once < 0):
        return None
    check_sharing(policy, options)
    if options.budgets == "adaptive":
        return [policy] * layers, [Compete(policy.budget, options.every, deciders, at_once)] * layers
    budgets = [policy.budget] * layers
    if options.budgets == "pyramid":
        length = prompt_length if at_once >= 0 else length
        budgets = pyramid(policy.budget, options.beta, layers, length, getattr(policy, "window", 1))
    try:
        policies: list[Policy] = [replace(policy, budget=budget) for budget in budgets]  # type: ignore[type-var]
    except BadInput:  # the smallest layer has no room for the rows that the policy spares
        budgets, policies = [policy.budget] * layers, [policy] * layers
    return policies, [Cut(budget, options.every, deciders, at_once) for budget in budgets]


def pyramid(budget: int, beta: int, layers: int, length: int, window: int = 1) -> list[int]:
    """How many rows each layer keeps, falling in equal steps from the first to the last; `budget` on average.

    The last layer keeps budget / beta, at least 1, the first as many more than the budget as the last fewer. No layer
    can keep more rows than the text has: then the first keeps them all, and the last so many more. Example: 64 and 20
    over 3 layers give 125, 64, 3; of a text of 100 tokens, 100, 64, 28. If even that is impossible, or if the last
    layer would have fewer rows than the policy's `window`, every layer has the budget, as in kvpress.

    Source: Cai et al. 2024 (PyramidKV, arXiv 2406.02069); kvpress's PyramidKVPress.
    """
    least = max(1, budget / beta)
    most = 2 * budget - least
    if most > length:
        most, least = length, 2 * budget - length
    if layers == 1 or most < least or least < window:
        return [budget] * layers
    return [round(most - layer * (most - least) / (layers - 1)) for layer in range(layers)]


def check_sharing(policy: Policy, options: ReadOptions) -> None:
    """Raise BadInput if the heads of a layer are to compete under a policy that decides for the whole layer."""
    if options.budgets == "adaptive" and policy.scope == "layer" and policy.budget is not None:
        raise BadInput(
            "With adaptive budgets the KV heads of a layer compete, but {policy} decides for the whole layer. Choose a "
            "policy that decides per KV head, or other budgets.",
            policy=policy.label,
        )


def check_schedule(policy: Scripted, layers: int, deciders: int, length: int) -> None:
    """Raise BadInput if the schedule has not so many layers, deciders in each, and tokens."""
    expected, found = (layers, deciders, length), policy.evicted_at.shape
    if found != expected:
        raise BadInput(
            "This schedule is for {found} layers, groups and tokens; here there are {expected}.",
            found=" × ".join(map(str, found)),
            expected=" × ".join(map(str, expected)),
        )


def first_of(rules: Sequence[Rule]) -> int:
    """A step before which no row of any layer goes."""
    return min((rule.first for rule in rules), default=NEVER)
