"""A policy that foretells the attention of queries to come from the distribution of those that have been."""

from dataclasses import dataclass

import numpy as np

from core.errors import BadInput
from core.messages import Message
from core.policies.history import softmax
from core.policies.policy import Explanation, Policy, Rows, Step, a_budget, a_setting, arxiv
from core.trace import Floats


@dataclass(frozen=True, kw_only=True)
class Expected(Policy):
    """Expected Attention: keeps the rows that coming queries are expected to attend to, if they are like the past ones.

    Let the queries of a head before the rotary embedding be normally distributed, with mean μ and covariance Σ. Then
    the expectation of exp(q · k / √d) is exp(k · μ / √d + kᵀ Σ k / 2d). Importance is the softmax of that exponent over
    the rows, averaged over the group's query heads, times ‖v‖. μ and Σ are those of the queries so far without the
    first `n_sink`, turned by the rotary embedding averaged over the next `future` positions; we turn the keys back
    instead, which gives the same products. The first `n_sink` rows are spared and take no part in the softmax.

    `notes` has, per query head, two things below each other: the sum of (q - μ)(q - μ)ᵀ over the queries q so far, of
    which Σ is made, and μ. Both are updated with each query (by Welford's method, which rounds little).

    Source: Expected Attention (arXiv 2510.00636); kvpress calls it ExpectedAttentionPress. Deviation: a row goes at
    every step, and μ and Σ are those of that step.
    """

    key = "expected"
    label = "Expected"
    paper = "Devoto et al. 2025"
    explanation = Explanation(
        Message("Guesses from the queries so far what those to come will ask for, and keeps that."),
        Message(
            "importance(*j*) = softmax(*k*_j·μ / √*d* + *k*_j·Σ*k*_j / 2*d*) · ‖*v*_j‖; μ, Σ = mean and covariance of "
            "the queries so far, turned to the positions to come; ∞ for the first tokens"
        ),
        arxiv("2510.00636"),
    )
    scope = "kv_head"
    reads_attention = False
    reads_rows = True
    reads_queries = True
    reason = Message(
        "of {rows} rows, the one that queries to come are expected to need least, {importance}; next {runner_up}"
    )
    budget: int = a_budget()
    n_sink: int = a_setting("n_sink", Message("First tokens spared"), 4, maximum=1024)
    future: int = a_setting("future", Message("Positions ahead"), 512, 1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n_sink >= self.budget:
            raise BadInput(
                "{policy} spares the first {n_sink} tokens, which leaves no room for others in a budget of {budget}: "
                "raise the budget above {n_sink}, or spare fewer.",
                policy=self.label,
                n_sink=self.n_sink,
                budget=self.budget,
            )

    def born(self, rows: Rows) -> Floats:
        assert rows.keys is not None and rows.values is not None
        length = np.sqrt(np.square(rows.values[:, 0]).sum(axis=2, keepdims=True))
        return np.concatenate([length, rows.keys[:, 0]], axis=2)

    def notes(self, heads: int, head_size: int) -> tuple[int, ...]:
        return heads, head_size + 1, head_size

    def observe(self, step: Step, memory: Floats) -> None:
        assert step.query is not None and step.notes is not None
        if step.position < self.n_sink:
            return
        squares, mean = step.notes[:, :, :-1], step.notes[:, :, -1]
        away = step.query - mean
        mean += away / (step.position - self.n_sink + 1)
        squares += away[:, :, :, None] * (step.query - mean)[:, :, None, :]

    def importance(self, step: Step, memory: Floats) -> Floats:
        assert step.notes is not None and step.rotary is not None
        keys = step.rotary.back(memory[:, :, 1:], range(step.position + 1, step.position + 1 + self.future))
        squares, mean = step.notes[:, :, :-1], step.notes[:, :, -1]
        of_mean = mean @ keys.swapaxes(1, 2)
        single = keys.astype(np.float32)  # twice as fast, and most of the work
        count = max(step.position - self.n_sink + 1, 1)
        variance = np.einsum("ghsd,gsd->ghs", single[:, None] @ squares, single) / count
        size = keys.shape[2]
        logits = of_mean / np.sqrt(size) + variance / (2 * size)
        sinks = step.positions < self.n_sink
        shares = softmax(np.where(sinks[:, None], -np.inf, logits), axis=2)
        return np.where(sinks, np.inf, shares.sum(axis=1) / shares.shape[1] * memory[:, :, 0])
