"""How long tokens are kept: lifespans, recency, ages, the early tokens, survival curves. numpy only."""

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from core.trace import NEVER, Bools, Floats, Trace

Reals: TypeAlias = NDArray[np.float64]

N_BEGINNING = 4  # tokens that count as the beginning of a text: StreamingLLM has as many sinks
N_EARLY = 26  # positions 0 … 25, as in figure 9 of Oren et al. 2024


def lifespan(trace: Trace) -> Floats:
    """(layers, groups, n) float32: for how many steps each token was kept, its own included.

    A token that is still there counts up to the last step, so the lifespans of recent tokens are cut short.
    """
    n = len(trace)
    position = np.arange(n)
    return (np.minimum(trace.evicted_at, n) - position).astype(np.float32)


def kept_to_the_end(trace: Trace) -> Bools:
    """(layers, groups, n): whether the token was never evicted."""
    kept: Bools = trace.evicted_at == NEVER
    return kept


def at_work_from(trace: Trace) -> int:
    """The first step that may evict a row; the last step of the trace if none may."""
    last = len(trace) - 1
    if trace.policy.is_recorded or trace.budgets != "uniform" or trace.every > 1:
        return min(int(trace.evicted_at.min()), last)
    if trace.policy.budget is None:
        return last
    cut = trace.prompt_length - 1 if trace.prefill == "one-shot" else 0
    return min(max(trace.policy.budget, cut), last)


def not_recent_share(trace: Trace, step: int) -> float:
    """The share of the rows kept after this step that are not among the most recent `budget` positions.

    This definition of recent is ours; the paper gives such a share without a definition, see `paper.RECENT_PERCENT`.
    The share is 0 for the full model. A recorded run has no budget: there a decider's recent positions are as many as
    the rows that it holds.
    """
    kept = trace.kept(step)
    if trace.policy.keeps_all:
        return 0.0
    recent = kept.sum(axis=-1, keepdims=True) if trace.policy.budget is None else trace.policy.budget
    old = np.arange(len(trace)) <= step - recent
    return float((kept & old).sum() / max(kept.sum(), 1))


def recent_share(trace: Trace) -> Reals:
    """(layers, n): after each step, the share of a layer's kept rows that are among the last `budget` positions.

    One minus `not_recent_share`, but for every layer and step; 1 for the full model.
    """
    layers, _, n = trace.evicted_at.shape
    if trace.policy.keeps_all:
        return np.ones((layers, n))
    position, gone = np.arange(n), np.minimum(trace.evicted_at, n)
    kept = running(position, gone).sum(axis=1)
    # With h rows held after step t, position p is old if p <= t - h, which is when more than p rows have been evicted.
    old_from = np.sort(gone, axis=-1) if trace.policy.budget is None else position + trace.policy.budget
    recent = running(position, np.minimum(gone, old_from)).sum(axis=1)
    share: Reals = 1 - (kept - recent) / np.maximum(kept, 1)
    return share


def mean_recent_share(trace: Trace) -> Reals:
    """(layers,): `recent_share`, averaged over the steps from `at_work_from` on."""
    mean: Reals = recent_share(trace)[:, at_work_from(trace) :].mean(axis=1)
    return mean


def age_distribution(trace: Trace) -> Reals:
    """(layers, n): the share of kept rows that are 0, 1, 2, … steps old, over all steps from `at_work_from` on.

    Each layer's shares sum to 1. Example: under Window they are 1 / budget for every age below the budget, then 0.
    """
    n, start = len(trace), at_work_from(trace)
    position, gone = np.arange(n), np.minimum(trace.evicted_at, n)
    youngest = np.maximum(start - position, 0)
    rows = running(youngest, np.maximum(gone - position, youngest)).sum(axis=1)
    share: Reals = rows / np.maximum(rows.sum(axis=1, keepdims=True), 1)
    return share


def early_steps_kept(trace: Trace) -> Reals:
    """(layers, min(n, `N_EARLY`)): for how many steps each of the first tokens was kept, mean over a layer's groups."""
    steps: Reals = lifespan(trace)[..., :N_EARLY].mean(axis=1, dtype=np.float64)
    return steps


@dataclass(frozen=True, eq=False)
class Survival:
    """The probability that a token is still kept at the age of 0 … n - 1 steps.

    Attributes:
        overall: (n,), over all deciders; NaN at ages at which no token was observed.
        by_layer: (layers, n), the same probability for each layer.
        at_risk: (n,), how many (token, decider) pairs were kept before this age and are observed at it.
    """

    overall: Reals
    by_layer: Reals
    at_risk: NDArray[np.int64]


def survival(trace: Trace) -> Survival:
    """The product-limit estimate of Kaplan and Meier (1958).

    A token evicted at step e was kept at the ages 0 … e - position - 1. A token still there at the end is observed only
    at the ages 0 … n - 1 - position. It is censored: it counts as kept at these ages and not at all afterwards. The
    probability of being kept at age a is the product over ages up to a of 1 - evicted / at risk.
    """
    layers, _, n = trace.evicted_at.shape
    last_seen = np.minimum(trace.evicted_at, n - 1) - np.arange(n)
    layer = np.broadcast_to(np.arange(layers)[:, None, None], last_seen.shape)
    evicted, at_risk = np.zeros((2, layers, n), np.int64)
    gone = trace.evicted_at != NEVER
    np.add.at(evicted, (layer[gone], last_seen[gone]), 1)
    np.add.at(at_risk, (layer, last_seen), 1)
    at_risk = at_risk[:, ::-1].cumsum(axis=1)[:, ::-1]
    everywhere = at_risk.sum(axis=0)
    return Survival(_product_limit(evicted.sum(axis=0), everywhere), _product_limit(evicted, at_risk), everywhere)


def _product_limit(evicted: NDArray[np.int64], at_risk: NDArray[np.int64]) -> Reals:
    kept: Reals = np.cumprod(1 - evicted / np.maximum(at_risk, 1), axis=-1, dtype=np.float64)
    # With none at risk the probability is unknown, unless all have been evicted: then it is 0.
    return np.where((at_risk == 0) & (kept > 0), np.nan, kept)


def median_age(kept: Reals) -> int | None:
    """The first age at which at most half of the tokens are kept, from a survival curve (n,); None if there is none."""
    below = np.flatnonzero(kept <= 0.5)
    return int(below[0]) if len(below) else None


def running(start: NDArray[Any], stop: NDArray[Any]) -> NDArray[np.int64]:
    """(…, n): how many of the n intervals [start, stop) contain each of 0, 1, … n - 1; the bounds are in 0 … n.

    Example: the intervals [0, 2), [1, 3) and [2, 2) give 1, 2, 1.
    """
    n = stop.shape[-1]
    row = np.arange(stop.size // n)[:, None] * (n + 1)
    size = stop.size + len(row)
    begun = np.bincount((row + np.broadcast_to(start, stop.shape).reshape(-1, n)).ravel(), minlength=size)
    ended = np.bincount((row + stop.reshape(-1, n)).ravel(), minlength=size)
    counts: NDArray[np.int64] = (begun - ended).reshape(-1, n + 1).cumsum(axis=1)[:, :n].reshape(stop.shape)
    return counts
