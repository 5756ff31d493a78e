"""Policies that look at keys and values rather than at attention, or at how both change the layer's output."""

from dataclasses import dataclass

import numpy as np

from core.messages import Message
from core.policies.policy import Explanation, Policy, Rows, Step, a_budget, arxiv
from core.trace import Floats


@dataclass(frozen=True, kw_only=True)
class Knorm(Policy):
    """Evicts the row with the longest key: importance is -‖k‖, in float32.

    Source: Devoto et al. 2024 (arXiv 2406.11430): short keys tend to receive much attention. kvpress calls it
    KnormPress. Deviation: the paper leaves the first layers whole, since the rule fails there; here every layer has its
    budget.
    """

    key = "knorm"
    label = "Knorm"
    paper = "Devoto et al. 2024"
    explanation = Explanation(
        Message("Forgets the token with the longest key, since short keys tend to receive much attention."),
        Message("importance(*j*) = −‖*k*_j‖"),
        arxiv("2406.11430"),
    )
    scope = "kv_head"
    reads_attention = False
    reads_rows = True
    reason = Message("the longest key of {rows} rows, of length {importance}; next longest {runner_up}")
    budget: int = a_budget()

    def born(self, rows: Rows) -> Floats:
        return lengths(rows.keys)

    def importance(self, step: Step, memory: Floats) -> Floats:
        return -memory


@dataclass(frozen=True, kw_only=True)
class KeyDiff(Policy):
    """Evicts the row whose key is most like the others: importance is -cos(k, m), m the mean of k/‖k‖ over all rows.

    Source: Park et al. 2025 (arXiv 2504.15364); kvpress calls it KeyDiffPress. Deviation: the paper reads a prompt in
    blocks and evicts after each; here one row goes per step.
    """

    key = "keydiff"
    label = "KeyDiff"
    paper = "Park et al. 2025"
    explanation = Explanation(
        Message("Forgets the token whose key is most like all others, and keeps what is different."),
        Message("importance(*j*) = −cos(*k*_j, *m*), *m* = mean of *k* / ‖*k*‖ over the rows held"),
        arxiv("2504.15364"),
    )
    scope = "kv_head"
    reads_attention = False
    reads_rows = True
    reason = Message("the key most like the mean of {rows} rows, cosine {importance}; next {runner_up}")
    budget: int = a_budget()

    def born(self, rows: Rows) -> Floats:
        assert rows.keys is not None
        return unit(rows.keys[:, 0])

    def importance(self, step: Step, memory: Floats) -> Floats:
        mean = memory.mean(axis=1)
        away: Floats = -(memory @ unit(mean)[:, :, None])[:, :, 0]
        return away


@dataclass(frozen=True, kw_only=True)
class Caote(Policy):
    """Evicts the row whose absence changes the attention's output least.

    If row j goes and the other attention weights are scaled up to sum to 1 again, the output o of a head moves by
    exactly a_j / (1 - a_j) · ‖o - v_j‖. Importance is the mean of that over the group's query heads; a row that has all
    the attention of a head cannot be replaced and is spared. If the head has a learned sink, what that gets is scaled
    up with the rest, and the formula stays exact.

    Source: CAOTE (arXiv 2504.14051), its rule by itself, with nothing mixed in.
    """

    key = "caote"
    label = "CAOTE"
    paper = "Goel et al. 2025"
    explanation = Explanation(
        Message("Forgets the token without which the output of the attention would change least."),
        Message("importance(*j*) = mean over *h* of *a*_h(*j*) / (1 − *a*_h(*j*)) · ‖*o*_h − *v*_j‖, *o* = the output"),
        arxiv("2504.14051"),
    )
    scope = "kv_head"
    reads_attention = False
    reads_logits = True
    reads_rows = True
    reason = Message("of {rows} rows, the one without which the output moves least, by {importance}; next {runner_up}")
    budget: int = a_budget()

    def born(self, rows: Rows) -> Floats:
        assert rows.values is not None
        return rows.values[:, 0].astype(np.float64)

    def importance(self, step: Step, memory: Floats) -> Floats:
        assert step.logits is not None
        # float32 would not tell shares near 1 apart
        highest = step.logits.max(axis=2, keepdims=True)
        if step.sinks is not None:
            highest = np.maximum(highest, step.sinks[:, :, None])
        powers = np.exp(step.logits.astype(np.float64) - highest)
        total = powers.sum(axis=2, keepdims=True)
        if step.sinks is not None:
            total += np.exp(step.sinks[:, :, None].astype(np.float64) - highest)
        output = powers @ memory / total
        squares = np.square(memory).sum(axis=2)[:, None] + np.square(output).sum(axis=2)[:, :, None]
        distance = np.sqrt(np.maximum(squares - 2 * output @ memory.swapaxes(1, 2), 0.0))
        rest = total - powers
        moves = np.divide(powers * distance, rest, out=np.full(rest.shape, np.inf), where=rest > 0)
        mean: Floats = moves.sum(axis=1) / moves.shape[1]
        return mean


def lengths(vectors: Floats | None) -> Floats:
    """(groups, rows) float32: the length of vectors (groups, KV heads, rows, head size), averaged over the KV heads."""
    assert vectors is not None
    each = np.sqrt(np.square(vectors).sum(axis=3))
    mean: Floats = each.sum(axis=1) / each.shape[1]
    return mean


def unit(vectors: Floats) -> Floats:
    """Vectors (…, numbers), scaled to length 1; a vector of zeros stays zero."""
    scaled: Floats = vectors / np.maximum(np.sqrt(np.square(vectors).sum(axis=-1, keepdims=True)), 1e-30)
    return scaled
