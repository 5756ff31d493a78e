"""How far layers, KV heads and runs agree on the tokens that they keep. numpy only."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from core.errors import BadInput
from core.measures.survival import Reals, at_work_from, running
from core.trace import Trace


def layer_overlap(trace: Trace) -> Reals:
    """(layers, layers): how far two layers keep the same tokens.

    The measure is the Jaccard index, tokens kept by both over tokens kept by at least one, averaged over the steps from
    `at_work_from` on. If KV heads decide, it is the mean over all pairs of a head of one layer and a head of the other.
    """
    layers, groups, _ = trace.evicted_at.shape
    every_head = _gone(trace).reshape(layers * groups, len(trace))
    overlap = _overlaps(every_head, at_work_from(trace)).reshape(layers, groups, layers, groups)
    mean: Reals = overlap.mean(axis=(1, 3))
    return mean


def head_overlap(trace: Trace) -> Reals:
    """(layers, groups, groups): how far two KV heads of a layer keep the same tokens, by the Jaccard index."""
    return np.array([_overlaps(layer, at_work_from(trace)) for layer in _gone(trace)])


def trace_overlap(traces: Sequence[Trace]) -> Reals:
    """(traces, traces): how far two runs over the same tokens keep the same tokens, averaged over layers.

    The measure is the Jaccard index, averaged over the steps at which all policies that evict are at work. If
    one run decides per layer and the other per KV head, the layer is compared with each head. For different budgets,
    the index is at most the smaller budget divided by the larger.

    Raises:
        BadInput: no traces, or traces with different tokens or numbers of layers.
    """
    if not traces:
        raise BadInput("Nothing to compare: choose at least one run.")
    first = traces[0]
    for trace in traces:
        if not np.array_equal(trace.tokens.ids, first.tokens.ids):
            raise BadInput("These runs are over different tokens, so what they keep cannot be compared.")
        if len(trace.evicted_at) != len(first.evicted_at):
            raise BadInput("These runs are of models with different numbers of layers.")
    start = max((at_work_from(trace) for trace in traces if not trace.policy.keeps_all), default=0)
    # A group is compared with the same group of the other run, or with all if that run has only one.
    groups = max(trace.evicted_at.shape[1] for trace in traces)
    shape = (len(first.evicted_at), groups, len(first))
    gone = np.stack([np.broadcast_to(np.minimum(trace.evicted_at, len(first)), shape) for trace in traces])
    return np.array([_jaccard(one, gone, start).mean(axis=(-2, -1)) for one in gone])


def _gone(trace: Trace) -> NDArray[np.int32]:
    """(layers, groups, n): the first step after which the token is not kept; n if it stays."""
    return np.minimum(trace.evicted_at, np.int32(len(trace)))


def _overlaps(gone: NDArray[np.int32], start: int) -> Reals:
    """(deciders, deciders): `_jaccard` for every two of the deciders, from their `gone` (deciders, n)."""
    return np.array([_jaccard(one, gone, start) for one in gone])


def _jaccard(one: NDArray[np.int32], others: NDArray[np.int32], start: int) -> Reals:
    """(…): the Jaccard index of one decider and others, averaged over steps from `start` on; both as `_gone` gives."""
    position = np.arange(others.shape[-1])
    both = running(position, np.minimum(one, others))[..., start:]
    either = running(position, np.maximum(one, others))[..., start:]
    mean: Reals = np.where(either > 0, both / np.maximum(either, 1), 1.0).mean(axis=-1)
    return mean
