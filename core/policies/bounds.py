"""Policies to compare others with: one that evicts nothing, one that evicts at random, one that knows the future."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from core.messages import Message
from core.policies.policy import Explanation, Policy, Step, a_budget, a_setting, arxiv
from core.trace import Floats, Ints
from core.whole_numbers import MOST_SEED


@dataclass(frozen=True, kw_only=True)
class Full(Policy):
    """Evicts nothing: the ordinary model, called the topline in Oren et al. 2024, section 3."""

    key = "full"
    label = "Full"
    paper = "Vaswani et al. 2017"
    explanation = Explanation(
        Message("Forgets nothing: the ordinary model."),
        Message("importance(*j*) = ∞"),
        arxiv("1706.03762"),
    )
    scope = "layer"
    reads_attention = False
    budget: None = None

    def importance(self, step: Step, memory: Floats) -> Floats:
        return np.full(step.positions.shape, np.inf)


@dataclass(frozen=True, kw_only=True)
class Random(Policy):
    """Evicts any row with equal probability. A policy that does no better than this is useless. Ours, from no paper.

    The draw depends only on the seed, the layer, the query's position and the row's position, so a run can be repeated.
    """

    key = "random"
    label = "Random"
    paper = "ours"
    explanation = Explanation(
        Message("Draws lots. A policy that does no better is useless."),
        Message("importance(*j*) = a random number"),
    )
    scope = "layer"
    reads_attention = False
    reason = Message("drawn at random from {rows} rows")
    budget: int = a_budget()
    seed: int = a_setting("seed", Message("Seed"), 0, maximum=MOST_SEED)

    def importance(self, step: Step, memory: Floats) -> Floats:
        return _hash(self.seed, step.layer, step.position, step.positions) / 2.0**64


@dataclass(frozen=True, kw_only=True)
class Oracle(Policy):
    """Knows the future: evicts the row to which the full model's later queries pay the least attention in total.

    Ours, from no paper. It shows how much better a policy could be, but it is no strict upper bound: attention changes
    once other rows are evicted, so a policy may beat it on some texts. `core.foresee` makes it for one text, which it
    can read but not continue; so it is not in `POLICIES`. For another budget and the same text, use
    ``dataclasses.replace(oracle, budget=32)``, which shares the table `future`.

    Attributes:
        model_id, ids: the model and the text (n,) whose future it knows.
        future: (layers, n (n + 1) / 2) float32. Row p at step t has entry t (t + 1) / 2 + p: the attention that
            the full model's queries after step t pay to token p, summed over them, averaged over all query heads.
    """

    key = "oracle"
    label = "Oracle"
    paper = "ours"
    explanation = Explanation(
        Message("Has read the whole text before, and forgets what will be attended to least."),
        Message(
            "importance(*j*) = Σ_t *a*_t(*j*) of the full model over all queries *t* still to come, mean of its heads"
        ),
    )
    scope = "layer"
    reads_attention = False
    budget: int = a_budget()
    model_id: str = field(repr=False)
    ids: Ints = field(repr=False, compare=False)
    future: Floats = field(repr=False, compare=False)

    def importance(self, step: Step, memory: Floats) -> Floats:
        row: Floats = self.future[step.layer, step.position * (step.position + 1) // 2 + step.positions]
        return row


def _hash(*keys: int | Ints) -> NDArray[np.uint64]:
    """64 random-looking bits for each combination of integers, which are broadcast (mixing steps of SplitMix64)."""
    bits = np.zeros(1, np.uint64)
    for key in keys:
        bits = (bits ^ np.asarray(key, np.uint64)) + np.uint64(0x9E3779B97F4A7C15)
        bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        bits = bits ^ (bits >> np.uint64(31))
    return bits
