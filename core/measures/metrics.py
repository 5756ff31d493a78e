"""Traces to numbers. Pure functions; numpy only."""

from dataclasses import dataclass

import numpy as np

from core.trace import NEVER, Bools, Floats, Trace

N_BEGINNING = 4  # tokens that count as the beginning of a text: as many as StreamingLLM calls sinks


def perplexity(trace: Trace) -> float:
    """The exponential of the mean nats per token; the first token has no prediction and does not count."""
    return float(np.exp(np.mean(trace.nll[1:], dtype=np.float64)))


def lifespan(trace: Trace) -> Floats:
    """(layers, groups, n) float32: for how many steps each token was kept, its own included.

    A token that is still there counts up to the last step, so the lifespans of recent tokens are cut short.
    """
    n = len(trace)
    position = np.arange(n)
    return (np.minimum(trace.evicted_at, n) - position).astype(np.float32)


def kept_to_the_end(trace: Trace) -> Bools:
    """(layers, groups, n): never evicted."""
    kept: Bools = trace.evicted_at == NEVER
    return kept


def not_recent_share(trace: Trace, step: int) -> float:
    """The share of the rows kept after this step that are not among the most recent `budget` positions.

    The paper (section 7.3) reports 73–76 % recent tokens without defining recent; this is our definition. 0 for the
    full model, whose budget is the whole text.
    """
    kept = trace.kept(step)
    if trace.policy.budget is None:
        return 0.0
    old = np.arange(len(trace)) <= step - trace.policy.budget
    return float(kept[..., old].sum() / max(kept.sum(), 1))


@dataclass(frozen=True)
class LongestLived:
    """A token and for how many steps it was kept, averaged over all deciders."""

    position: int
    steps: float


def longest_lived(trace: Trace) -> LongestLived | None:
    """The token that was kept longest and is not among the first `N_BEGINNING`; None if there is no such token."""
    if len(trace) <= N_BEGINNING:
        return None
    mean = lifespan(trace).mean(axis=(0, 1))
    position = N_BEGINNING + int(mean[N_BEGINNING:].argmax())
    return LongestLived(position, float(mean[position]))
