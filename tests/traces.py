"""Traces made by hand and at random, for whatever needs a trace but no model."""

from typing import Any

import numpy as np

from core.policies import make_policy, settings_of
from core.trace import NEVER, PolicySettings, Tokens, Trace

HOSTILE = ("</script><img src=x onerror=document.title='owned'>", "<b>bold</b>", "&amp;", "'\"`${1}", "\n", "🦊", "")


def tokens_of(pieces: tuple[str, ...]) -> Tokens:
    ends = np.cumsum([len(piece) for piece in pieces], dtype=np.int32)
    starts = ends - np.array([len(piece) for piece in pieces], np.int32)
    return Tokens(
        ids=np.arange(len(pieces), dtype=np.int32),
        pieces=pieces,
        offsets=np.stack([starts, ends], axis=1).astype(np.int32),
        special=np.zeros(len(pieces), bool),
        continued=np.array([piece == "" for piece in pieces]),
    )


def trace_of(
    evicted_at: Any, pieces: tuple[str, ...], policy: str | PolicySettings = "tova", budget: int = 2, **more: Any
) -> Trace:
    """A trace with these evictions, (layers, groups, n); the other arrays are plain but consistent."""
    evicted = np.asarray(evicted_at, np.int32)
    gone = evicted != NEVER
    return Trace(
        **{
            "model_id": "by hand",
            "policy": settings_of(make_policy(policy, budget)) if isinstance(policy, str) else policy,
            "prefill": "token-by-token",
            "tokens": tokens_of(pieces),
            "prompt_length": len(pieces),
            "evicted_at": evicted,
            "nll": np.array([np.nan] + [1.0] * (len(pieces) - 1), np.float32),
            "importance_at_eviction": np.where(gone, 0.125, np.nan).astype(np.float32),
            "runner_up_importance": np.where(gone, 0.25, np.nan).astype(np.float32),
            "attention_received": np.ones(evicted.shape, np.float32),
        }
        | more
    )


def random_trace(seed: int, layers: int = 3, groups: int = 1, n: int = 40, budget: int = 8) -> Trace:
    """Evictions at random that obey the budget: from step `budget` on, one row per decider and step."""
    rng = np.random.default_rng(seed)
    evicted = np.full((layers, groups, n), NEVER, np.int32)
    for life in evicted.reshape(-1, n):
        for step in range(budget, n):
            life[rng.choice(np.flatnonzero(life[: step + 1] == NEVER))] = step
    pieces = tuple(rng.choice([*HOSTILE, " the", " fox", ",", " 海"], n).tolist())
    return trace_of(evicted, pieces, "tova" if groups == 1 else "tova-head", budget)
