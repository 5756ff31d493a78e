"""A family of policies in which TOVA, H2O, Window, Window+i and Knorm are single points."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from core.errors import BadInput
from core.messages import Message
from core.policies.keys_values import lengths
from core.policies.policy import Explanation, Policy, Rows, Step, a_budget, a_setting
from core.trace import Floats, Ints, Scope


@dataclass(frozen=True, kw_only=True)
class Own(Policy):
    """A policy of one's own: a mix of attention, age and the length of keys. Ours, from no paper.

        importance = w_attention · R(memory) + w_recent · R(position) + w_keys · R(-‖k‖)
        memory     ← γ · memory + attention

    R is the rank among the rows held, from 0 for the lowest to 1 for the highest, so that the weights compare; equal
    rows share the mean of their ranks. The setting `gamma` is γ in percent, from 0 (only the current query counts, as
    in TOVA) to 100 (all queries so far count alike, as in H2O). The first `n_sink` tokens and the last `n_recent` rows
    are spared. With `per_head` 1 each KV head decides for itself, else the layer, by the attention averaged over its
    query heads and the length of keys averaged over its KV heads. `presets` gives the points that have names.
    """

    key = "own"
    label = "Your own"
    paper = "ours"
    explanation = Explanation(
        Message("You say how much it counts that a token is attended to, recent, or has a short key."),
        Message(
            "importance(*j*) = *w*_1 · R(memory of *j*) + *w*_2 · R(position of *j*) + *w*_3 · R(−‖*k*_j‖), memory ← "
            "γ · memory + *a*; R = rank among the rows held, from 0 to 1"
        ),
    )
    reason = Message("the lowest of {rows} rows by your weights, {importance}; next lowest {runner_up}")
    budget: int = a_budget()
    gamma: int = a_setting("gamma", Message("γ: past attention that stays (%)"), 50, maximum=100)
    w_attention: int = a_setting("w_attention", Message("Weight of attention"), 5, maximum=10)
    w_recent: int = a_setting("w_recent", Message("Weight of being recent"), 2, maximum=10)
    w_keys: int = a_setting("w_keys", Message("Weight of short keys"), 0, maximum=10)
    n_sink: int = a_setting("n_sink", Message("First tokens spared"), 0, maximum=1024)
    n_recent: int = a_setting("n_recent", Message("Last rows spared"), 0, maximum=1024)
    per_head: int = a_setting("per_head", Message("Each KV head decides (0, 1)"), 0, maximum=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n_sink + self.n_recent >= self.budget:
            raise BadInput(
                "{n_sink} first and {n_recent} last rows spared leave no room for others in a budget of {budget}: "
                "raise the budget, or spare fewer.",
                n_sink=self.n_sink,
                n_recent=self.n_recent,
                budget=self.budget,
            )
        if not (self.w_attention or self.w_recent or self.w_keys):
            raise BadInput("All weights are zero, so every row is as important as any other: give one a weight.")

    @property
    def scope(self) -> Scope:  # type: ignore[override]
        return "kv_head" if self.per_head else "layer"

    @property
    def reads_attention(self) -> bool:  # type: ignore[override]
        return self.w_attention > 0

    @property
    def reads_rows(self) -> bool:  # type: ignore[override]
        return self.w_keys > 0

    def born(self, rows: Rows) -> Floats:
        memory = np.zeros((*rows.shape, 2))
        if rows.keys is not None:
            memory[:, :, 1] = lengths(rows.keys)
        return memory

    def observe(self, step: Step, memory: Floats) -> None:
        if step.attention is None:
            return
        paid = step.attention.sum(axis=1)
        if not self.per_head:
            # ranks do not change with a factor; these are the roundings of TOVA, and the sum alone is that of H2O
            paid /= step.attention.shape[1]
        memory[:, :, 0] = memory[:, :, 0] * (self.gamma / 100) + paid

    def importance(self, step: Step, memory: Floats) -> Floats:
        terms = (
            (self.w_attention, memory[:, :, 0]),
            (self.w_recent, step.positions),
            (self.w_keys, -memory[:, :, 1]),
        )
        # whole numbers up to here, so that rounding neither makes ties nor breaks them
        total = sum(weight * doubled_ranks(values) for weight, values in terms if weight)
        total = total / (2 * max(step.positions.shape[1] - 1, 1))
        spared = (step.positions < self.n_sink) | (step.positions > step.position - self.n_recent)
        return np.where(spared, np.inf, total)


def presets(budget: int) -> dict[str, dict[str, Any]]:
    """By key of a policy, the settings with which `Own` evicts exactly what that policy evicts."""
    nothing = {"gamma": 0, "w_attention": 0, "w_recent": 0, "w_keys": 0, "n_sink": 0, "n_recent": 0, "per_head": 0}
    of = {
        "tova": {"w_attention": 1},
        "h2o": {"w_attention": 1, "gamma": 100, "n_recent": budget // 2, "per_head": 1},
        "window": {"w_recent": 1},
        "window+i": {"w_recent": 1, "n_sink": 4},
        "knorm": {"w_keys": 1, "per_head": 1},
    }
    return {key: nothing | settings for key, settings in of.items()}


def doubled_ranks(values: Floats | Ints) -> Ints:
    """(groups, rows): twice each row's rank in its group, counted from 0; equal rows share the mean of their ranks.

    Example: 5 2 5 9 has the ranks 1.5 0 1.5 3, so twice that is 3 0 3 6.
    """
    order = values.argsort(axis=1)
    ordered = np.take_along_axis(values, order, axis=1)
    place = np.arange(values.shape[1])
    begins = np.ones(values.shape, bool)
    begins[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    ends = np.ones(values.shape, bool)
    ends[:, :-1] = begins[:, 1:]
    first = np.maximum.accumulate(np.where(begins, place, 0), axis=1)
    last = np.minimum.accumulate(np.where(ends, place, place[-1])[:, ::-1], axis=1)[:, ::-1]
    doubled = np.empty(values.shape, np.int64)
    np.put_along_axis(doubled, order, first + last, axis=1)
    return doubled
