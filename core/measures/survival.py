"""What kind of rows survive: their ages, the early tokens, survival curves, and how far deciders agree.

Pure functions from traces to numbers; numpy only. The `…_rows` functions give the same numbers as plain rows, for a
table or a file.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from core.errors import BadInput
from core.measures import metrics
from core.trace import NEVER, Trace

Row: TypeAlias = dict[str, Any]
Reals: TypeAlias = NDArray[np.float64]

N_EARLY = 26  # positions 0 … 25, as in figure 9 of Oren et al. 2024


def at_work_from(trace: Trace) -> int:
    """The first step at whose end the policy may have evicted something; the last step if everything fits."""
    if trace.policy.budget is None:
        return len(trace) - 1
    cut = trace.prompt_length - 1 if trace.prefill == "one-shot" else 0
    return min(max(trace.policy.budget, cut), len(trace) - 1)


def recent_share(trace: Trace) -> Reals:
    """(layers, n): after each step, the share of a layer's kept rows that are among the last `budget` positions.

    The complement of `metrics.not_recent_share`, for every layer and step; 1 for the full model.
    """
    layers, _, n = trace.evicted_at.shape
    if trace.policy.budget is None:
        return np.ones((layers, n))
    position, gone = np.arange(n), np.minimum(trace.evicted_at, n)
    kept = _running(position, gone).sum(axis=1)
    recent = _running(position, np.minimum(gone, position + trace.policy.budget)).sum(axis=1)
    share: Reals = 1 - (kept - recent) / np.maximum(kept, 1)
    return share


def mean_recent_share(trace: Trace) -> Reals:
    """(layers,): `recent_share`, averaged over the steps at which the policy is at work."""
    mean: Reals = recent_share(trace)[:, at_work_from(trace) :].mean(axis=1)
    return mean


def age_distribution(trace: Trace) -> Reals:
    """(layers, n): the share of kept rows that are 0, 1, 2, … steps old, over all steps the policy is at work.

    Each layer's shares sum to 1. Window's would be 1 / budget for every age below the budget, and 0 above.
    """
    n, start = len(trace), at_work_from(trace)
    position, gone = np.arange(n), np.minimum(trace.evicted_at, n)
    youngest = np.maximum(start - position, 0)
    rows = _running(youngest, np.maximum(gone - position, youngest)).sum(axis=1)
    share: Reals = rows / np.maximum(rows.sum(axis=1, keepdims=True), 1)
    return share


def early_steps_kept(trace: Trace) -> Reals:
    """(layers, `N_EARLY` or n): for how many steps the first tokens were kept, the mean over a layer's groups."""
    steps: Reals = metrics.lifespan(trace)[..., :N_EARLY].mean(axis=1, dtype=np.float64)
    return steps


@dataclass(frozen=True, eq=False)
class Survival:
    """The probability that a token is still kept at the age of 0 … n - 1 steps.

    Attributes:
        overall: (n,), over all deciders; NaN at ages that no token could be observed at.
        by_layer: (layers, n), the same for each layer.
        at_risk: (n,), of how many (token, decider) pairs the end is known to come at this age or later.
    """

    overall: Reals
    by_layer: Reals
    at_risk: NDArray[np.int64]


def survival(trace: Trace) -> Survival:
    """The product-limit estimate of Kaplan and Meier (1958).

    A token evicted at step e was kept at the ages 0 … e - position - 1. One that is there at the end has been seen at
    the ages 0 … n - 1 - position and no longer: it is censored, counted for as long as it was seen, and never taken
    for evicted.
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
    # Where all have been evicted, none is at risk any more, and the answer is known: 0.
    return np.where((at_risk == 0) & (kept > 0), np.nan, kept)


def median_age(kept: Reals) -> int | None:
    """The age by which half of the tokens are evicted, from a survival curve (n,); None if it was not reached."""
    below = np.flatnonzero(kept <= 0.5)
    return int(below[0]) if len(below) else None


def layer_overlap(trace: Trace) -> Reals:
    """(layers, layers): how far two layers keep the same tokens.

    The Jaccard index, tokens kept by both over tokens kept by either, averaged over the steps at which the policy is
    at work; of layers with several KV heads, the mean over all pairs of one head of each.
    """
    layers, groups, _ = trace.evicted_at.shape
    every_head = _gone(trace).reshape(layers * groups, len(trace))
    overlap = _overlaps(every_head, at_work_from(trace)).reshape(layers, groups, layers, groups)
    mean: Reals = overlap.mean(axis=(1, 3))
    return mean


def head_overlap(trace: Trace) -> Reals:
    """(layers, groups, groups): how far two KV heads of a layer keep the same tokens; as in `layer_overlap`."""
    return np.array([_overlaps(layer, at_work_from(trace)) for layer in _gone(trace)])


def trace_overlap(traces: Sequence[Trace]) -> Reals:
    """(traces, traces): how far two runs over the same tokens keep the same of them, in the mean over layers.

    The Jaccard index over the steps at which all policies that have a budget are at work. A layer that decides as one
    is compared with each KV head of one that does not. Runs with different budgets can at most agree to the ratio of
    their budgets.

    Raises:
        BadInput: no traces, other tokens, or another number of layers.
    """
    if not traces:
        raise BadInput("Nothing to compare: choose at least one run.")
    first = traces[0]
    for trace in traces:
        if not np.array_equal(trace.tokens.ids, first.tokens.ids):
            raise BadInput("These runs are over different tokens, so what they keep cannot be compared.")
        if len(trace.evicted_at) != len(first.evicted_at):
            raise BadInput("These runs are of models with different numbers of layers.")
    start = max((at_work_from(trace) for trace in traces if trace.policy.budget is not None), default=0)
    # Only a layer's own groups are compared, the same group of both or one with all.
    groups = max(trace.evicted_at.shape[1] for trace in traces)
    shape = (len(first.evicted_at), groups, len(first))
    gone = np.stack([np.broadcast_to(np.minimum(trace.evicted_at, len(first)), shape) for trace in traces])
    return np.array([_jaccard(one, gone, start).mean(axis=(-2, -1)) for one in gone])


def _gone(trace: Trace) -> NDArray[np.int32]:
    """(layers, groups, n): the step from which on a token is no longer there; n if it stays."""
    return np.minimum(trace.evicted_at, np.int32(len(trace)))


def _overlaps(gone: NDArray[np.int32], start: int) -> Reals:
    """(deciders, deciders), the Jaccard index of every two whose rows are gone at these steps (deciders, n)."""
    return np.array([_jaccard(one, gone, start) for one in gone])


def _jaccard(one: NDArray[np.int32], others: NDArray[np.int32], start: int) -> Reals:
    """(…): how far one decider and others, whose rows are gone at these steps (…, n), agree after step start and on."""
    position = np.arange(others.shape[-1])
    both = _running(position, np.minimum(one, others))[..., start:]
    either = _running(position, np.maximum(one, others))[..., start:]
    mean: Reals = np.where(either > 0, both / np.maximum(either, 1), 1.0).mean(axis=-1)
    return mean


def _running(start: NDArray[Any], stop: NDArray[Any]) -> NDArray[np.int64]:
    """(…, n): how many of the n intervals [start, stop), with bounds (…, n) in 0 … n, contain 0, 1, … n - 1."""
    n = stop.shape[-1]
    row = np.arange(stop.size // n)[:, None] * (n + 1)
    size = stop.size + len(row)
    begun = np.bincount((row + np.broadcast_to(start, stop.shape).reshape(-1, n)).ravel(), minlength=size)
    ended = np.bincount((row + stop.reshape(-1, n)).ravel(), minlength=size)
    counts: NDArray[np.int64] = (begun - ended).reshape(-1, n + 1).cumsum(axis=1)[:, :n].reshape(stop.shape)
    return counts


def recency_rows(traces: Sequence[Trace]) -> list[Row]:
    """One row per run and layer: the share of recent rows, in the mean over steps and after the last."""
    return [
        _run(trace) | {"layer": layer, "recent, mean over steps": float(mean), "recent at the end": float(last)}
        for trace in traces
        for layer, (mean, last) in enumerate(zip(mean_recent_share(trace), recent_share(trace)[:, -1], strict=True))
    ]


def recency_step_rows(traces: Sequence[Trace]) -> list[Row]:
    """One row per run and step at which the policy is at work: the mean share of recent rows, and over which layers."""
    rows = []
    for trace in traces:
        share, start = recent_share(trace), at_work_from(trace)
        rows += [
            _run(trace)
            | {
                "step": step,
                "recent, mean over layers": float(share[:, step].mean()),
                "lowest layer": float(share[:, step].min()),
                "highest layer": float(share[:, step].max()),
            }
            for step in range(start, len(trace))
        ]
    return rows


def age_rows(traces: Sequence[Trace]) -> list[Row]:
    """One row per run and age up to the oldest: the share of kept rows of this age, in the mean over layers."""
    rows = []
    for trace in traces:
        share = age_distribution(trace).mean(axis=0)
        up_to = np.cumsum(share)
        oldest = int(np.flatnonzero(share)[-1])
        rows += [
            _run(trace) | {"age": age, "share of kept rows": float(share[age]), "up to this age": float(up_to[age])}
            for age in range(oldest + 1)
        ]
    return rows


def early_rows(traces: Sequence[Trace]) -> list[Row]:
    """One row per run and early position: for how many of its steps the token was kept, and by how many to the end."""
    rows = []
    for trace in traces:
        steps, kept = early_steps_kept(trace).mean(axis=0), metrics.kept_to_the_end(trace)
        rows += [
            _run(trace)
            | {
                "position": position,
                "token": trace.tokens.pieces[position],
                "mean steps kept": float(mean),
                "of steps": len(trace) - position,
                "kept to the end by": int(kept[..., position].sum()),
                "of deciders": kept[..., position].size,
            }
            for position, mean in enumerate(steps)
        ]
    return rows


def early_layer_rows(traces: Sequence[Trace]) -> list[Row]:
    """One row per run, layer and early position: for how many steps the layer kept the token."""
    return [
        _run(trace)
        | {
            "layer": layer,
            "position": position,
            "token": trace.tokens.pieces[position],
            "mean steps kept": float(mean),
            "of steps": len(trace) - position,
        }
        for trace in traces
        for layer, steps in enumerate(early_steps_kept(trace))
        for position, mean in enumerate(steps)
    ]


def life_rows(trace: Trace, layer: int) -> list[Row]:
    """One row per token and group of a layer: when the token was evicted (None: never) and for how long it was kept."""
    steps = metrics.lifespan(trace)[layer]
    return [
        _run(trace)
        | {
            "layer": layer,
            "KV head": group if trace.policy.scope == "kv_head" else None,
            "position": position,
            "token": trace.tokens.pieces[position],
            "steps kept": int(steps[group, position]),
            "evicted at step": None if at == NEVER else at,
        }
        for group, life in enumerate(trace.evicted_at[layer].tolist())
        for position, at in enumerate(life)
    ]


def survival_rows(traces: Sequence[Trace]) -> list[Row]:
    """One row per run, layer (None: all of them) and age, the ages 1, 2, 4, … and the budget."""
    rows = []
    for trace in traces:
        curves, n = survival(trace), len(trace)
        ages = {2**power for power in range(n.bit_length())} | {trace.policy.budget or 0}
        for layer, kept in [(None, curves.overall), *enumerate(curves.by_layer)]:
            rows += [
                _run(trace) | {"layer": layer, "age": age, "still kept": float(kept[age])}
                for age in sorted(ages)
                if 0 < age < n and not np.isnan(kept[age])
            ]
    return rows


def overlap_rows(traces: Sequence[Trace]) -> list[Row]:
    """One row per two runs over the same tokens: how far they keep the same of them.

    Raises:
        BadInput: as `trace_overlap`.
    """
    overlap = trace_overlap(traces)
    return [
        {"one": str(one.policy), "other": str(other.policy), "overlap (Jaccard)": float(overlap[i, j])}
        for i, one in enumerate(traces)
        for j, other in enumerate(traces)
        if i < j
    ]


def layer_overlap_rows(trace: Trace) -> list[Row]:
    """One row per two layers: how far they keep the same tokens."""
    overlap = layer_overlap(trace)
    return [
        _run(trace) | {"layer": i, "other layer": j, "overlap (Jaccard)": float(overlap[i, j])}
        for i in range(len(overlap))
        for j in range(i)
    ]


def head_overlap_rows(trace: Trace) -> list[Row]:
    """One row per two KV heads of a layer: how far they keep the same tokens; none if its layers decide as one."""
    overlap = head_overlap(trace)
    layers, groups, _ = overlap.shape
    return [
        _run(trace) | {"layer": layer, "KV head": i, "other": j, "overlap (Jaccard)": float(overlap[layer, i, j])}
        for layer in range(layers)
        for i in range(groups)
        for j in range(i)
    ]


def _run(trace: Trace) -> Row:
    return {"policy": trace.policy.label, "budget": trace.policy.budget}
