"""The policies of the shelf: perplexity, rows left, time; and how much of what their papers say holds here."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import DynamicCache

from core import NEVER, LanguageModel, Tokens, Trace, foresee, make_policy, replay, scripted
from core.experiments.haystack import CHRONICLE
from core.measures.costs import perplexity
from core.measures.survival import not_recent_share
from core.policies import POLICIES, Policy
from core.trace import Floats
from tests.benchmarks.timing import medians, smollm2, table

LICENSE = Path(__file__).parents[2] / "LICENSE"
BUDGET, N = 64, 512


def beginning(lm: LanguageModel, file: Path) -> Tokens:
    return lm.encode(file.read_text(encoding="utf-8"))[:N]


def shelf(lm: LanguageModel) -> None:
    texts = [beginning(lm, file) for file in (LICENSE, CHRONICLE)]
    policies = [make_policy(key, None if key == "full" else BUDGET) for key in POLICIES]
    traces: dict[str, Trace] = {}

    def read(policy: Policy) -> None:
        traces[policy.label] = replay(lm, texts[0], policy)

    read(policies[0])
    taken = medians({policy.label: partial(read, policy) for policy in policies}, rounds=3)
    others = {policy.label: perplexity(replay(lm, texts[1], policy)) for policy in policies}
    future = [replay(lm, tokens, foresee(lm, tokens, budget=BUDGET)) for tokens in texts]
    first = taken[policies[0].label]
    table(
        f"the shelf, budget {BUDGET}: perplexity of {N} tokens of LICENSE and of the chronicle; of LICENSE also which "
        "rows are left, and the time, float32 (medians of 3)",
        {label: f"{_found(traces[label], others[label])}, {taken[label] / first:.1f} × TOVA" for label in taken}
        | {"Oracle": _found(future[0], perplexity(future[1]))},
    )


def _found(trace: Trace, other: float) -> str:
    kept = trace.kept(N - 1)
    age = (kept * np.arange(N)[::-1]).sum() / kept.sum()
    rows = {
        f"older than {BUDGET}": not_recent_share(trace, N - 1),
        "of the first four": kept[..., :4].mean(),
        "of the last eight": kept[..., -8:].mean(),
    }
    left = ", ".join(f"{share:4.0%} {name}" for name, share in rows.items())
    return f"{perplexity(trace):6.1f} {other:6.1f}, {left}, mean age {age:3.0f}"


def claims(lm: LanguageModel) -> None:
    tokens = beginning(lm, LICENSE)

    def cost(key: str, **options: Any) -> str:
        return f"{perplexity(replay(lm, tokens, make_policy(key, BUDGET), **options)):.1f}"

    rows = {}
    for key in ("knorm", "keydiff", "expected"):
        schedule = replay(lm, tokens, make_policy(key, BUDGET)).evicted_at.copy()
        schedule[:2] = NEVER
        rows[f"{key}, the first two layers left whole"] = f"{perplexity(replay(lm, tokens, scripted(schedule))):.1f}"
    for key in ("tova", "knorm", "keydiff", "expected", "rkv"):
        rows[f"{key}, every={BUDGET}"] = cost(key, every=BUDGET)
    for key, budgets in (("tova", "pyramid"), ("h2o", "pyramid"), ("h2o", "adaptive"), ("snapkv", "adaptive")):
        rows[f"{key}, budgets={budgets}"] = cost(key, budgets=budgets)
    table(f"perplexity of {N} tokens of LICENSE, budget {BUDGET}", rows)


def geometry(lm: LanguageModel) -> None:
    """Whether keys that are short, or unlike the others, are those that are attended to (Knorm, KeyDiff)."""
    tokens = beginning(lm, LICENSE)
    keys = _keys(lm, tokens)
    layers, heads = keys.shape[:2]
    whole = replay(lm, tokens, scripted(np.full((layers, heads, N), NEVER)))
    queries = np.arange(N, 0, -1)
    attention = (whole.attention_received / queries)[..., : N - 32]  # of the last tokens few queries tell
    length = np.linalg.norm(keys, axis=-1)
    unit = keys / length[..., None]
    likeness = np.einsum("lhnd,lhd->lhn", unit, unit.mean(axis=2))
    rows = {}
    for name, values in (("length of the key", length), ("likeness to the mean key", likeness)):
        found = _rank_correlation(values[..., : N - 32], attention)
        rows[f"{name}: rank correlation with attention"] = (
            f"{np.median(found):+.2f} (median of {found.size} KV heads), below 0 in {(found < 0).mean():.0%}"
        )
        rows[f"{name}: that of the first token is the lowest"] = f"in {(values.argmin(axis=-1) == 0).mean():.0%}"
    table(f"keys and attention, {N} tokens of LICENSE, the full model", rows)


def _keys(lm: LanguageModel, tokens: Tokens) -> Floats:
    """(layers, KV heads, n, head size), after the rotary embedding."""
    cache = DynamicCache()
    with torch.inference_mode():
        lm.model(torch.as_tensor(tokens.ids, dtype=torch.long)[None], past_key_values=cache, use_cache=True)
    return torch.stack([layer.keys[0] for layer in cache.layers]).numpy()


def _rank_correlation(one: Floats, other: Floats) -> Floats:
    a, b = (values.argsort(axis=-1).argsort(axis=-1) - (values.shape[-1] - 1) / 2 for values in (one, other))
    found: Floats = (a * b).sum(axis=-1) / (a * a).sum(axis=-1)
    return found


if __name__ == "__main__":
    model = smollm2()
    shelf(model)
    claims(model)
    geometry(model)
