"""Policies that read attention: that of the current query, or the sum over all queries so far."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from core.messages import Message
from core.policies.policy import Explanation, Policy, Step, a_budget, arxiv
from core.trace import Floats, Scope


@dataclass(frozen=True, kw_only=True)
class H2O(Policy):
    """Keeps the recent half of the budget, and of the older rows those with the most accumulated attention.

    Source: Zhang et al. 2023 (Heavy-Hitter Oracle). A row's attention is summed over all steps since it was written,
    the current one included, as in the official code, and over the query heads that share the KV head. Deviations from
    that code: of an odd budget, the larger part is for the older rows; the recent half is found by position, so that a
    budget of 1 spares no row (the official slice ``[-0:]`` would spare every row).
    """

    key = "h2o"
    label = "H2O"
    paper = "Zhang et al. 2023"
    explanation = Explanation(
        Message("Keeps the newest half, and of the older tokens those that have received the most attention so far."),
        Message("importance(*j*) = Σ_t Σ_h *a*_t,h(*j*) over all queries *t* so far; ∞ for the newest ⌊*B*/2⌋ rows"),
        arxiv("2306.14048"),
    )
    scope = "kv_head"
    reads_attention = True
    reason = Message(
        "of {rows} rows, the one outside the recent half with the least attention accumulated, {importance}; next "
        "lowest {runner_up}"
    )
    budget: int = a_budget()

    def observe(self, step: Step, memory: Floats) -> None:
        assert step.attention is not None
        memory += step.attention.sum(axis=1)

    def importance(self, step: Step, memory: Floats) -> Floats:
        n_recent = self.budget // 2
        return np.where(step.positions > step.position - n_recent, np.inf, memory)


@dataclass(frozen=True, kw_only=True)
class Tova(Policy):
    """Token Omission Via Attention: evicts what the current query attends to least, averaged over the layer's heads.

    Source: Oren et al. 2024, section 3.3. No row is spared: the newest may be evicted, and so may the first. The
    official code attends to the whole prompt and cuts it once at its end; ``prefill="one-shot"`` does that.
    """

    key = "tova"
    label = "TOVA"
    paper = "Oren et al. 2024"
    explanation = Explanation(
        Message("Forgets the token to which the one just read pays the least attention."),
        Message("importance(*j*) = mean of *a*_h(*j*) over the layer's heads *h*"),
        arxiv("2401.06104"),
    )
    scope: ClassVar[Scope] = "layer"
    reads_attention = True
    reason = Message("least attended of {rows} rows, {importance}; next lowest {runner_up}")
    budget: int = a_budget()

    def importance(self, step: Step, memory: Floats) -> Floats:
        assert step.attention is not None
        mean: Floats = step.attention.sum(axis=1) / step.attention.shape[1]  # numpy's own mean takes twice as long
        return mean


@dataclass(frozen=True, kw_only=True)
class TovaHead(Tova):
    """TOVA per KV head: averages over the query heads that share the KV head (Oren et al. 2024, table 3)."""

    key = "tova-head"
    label = "TOVA per head"
    explanation = Explanation(
        Message("As TOVA, but every KV head forgets for itself."),
        Message("importance(*j*) = mean of *a*_h(*j*) over the heads *h* that share the KV head"),
        arxiv("2401.06104"),
    )
    scope = "kv_head"
