"""The measures as rows of tables and exported files: unrounded numbers, column names in English. numpy only."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from core.measures.costs import Cost
from core.measures.kinds import KINDS, kinds_of, lives_of_kinds
from core.measures.overlap import head_overlap, layer_overlap, trace_overlap
from core.measures.survival import (
    age_distribution,
    at_work_from,
    early_steps_kept,
    kept_to_the_end,
    lifespan,
    mean_recent_share,
    recent_share,
    survival,
)
from core.trace import NEVER, Trace

TableRow: TypeAlias = dict[str, Any]

COST_COLUMNS = (
    *("policy", "perplexity", "ΔNLL (nats)", "KL (nats)", "same top-1 (%)"),
    *("KV memory (MB)", "at 7B (MB)", "tokens/s"),
)


def cost_rows(costs: Sequence[Cost]) -> list[TableRow]:
    """One row per policy: its `Cost`, with memory in MB and agreement in percent."""
    return [
        dict(
            zip(
                COST_COLUMNS,
                (
                    *(str(cost.policy), cost.perplexity, cost.mean_delta_nll, cost.mean_kl, 100 * cost.agreement),
                    *(cost.memory / 1e6, cost.memory_llama_2_7b / 1e6, cost.tokens_per_second),
                ),
                strict=True,
            )
        )
        for cost in costs
    ]


def recency_rows(traces: Sequence[Trace]) -> list[TableRow]:
    """One row per run and layer: the share of recent rows, as the mean over steps and after the last step."""
    return [
        _run(trace) | {"layer": layer, "recent, mean over steps": float(mean), "recent at the end": float(last)}
        for trace in traces
        for layer, (mean, last) in enumerate(zip(mean_recent_share(trace), recent_share(trace)[:, -1], strict=True))
    ]


def recency_step_rows(traces: Sequence[Trace]) -> list[TableRow]:
    """One row per run and step from `at_work_from` on: the share of recent rows, mean and range over layers."""
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


def age_rows(traces: Sequence[Trace]) -> list[TableRow]:
    """One row per run and age up to the oldest: the share of kept rows that have this age, mean over layers."""
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


def early_rows(traces: Sequence[Trace]) -> list[TableRow]:
    """One row per run and early position: for how long the token was kept, and how many deciders kept it to the end."""
    rows = []
    for trace in traces:
        steps, kept = early_steps_kept(trace).mean(axis=0), kept_to_the_end(trace)
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


def early_layer_rows(traces: Sequence[Trace]) -> list[TableRow]:
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


def life_rows(trace: Trace, layer: int) -> list[TableRow]:
    """One row per group and token of a layer: when the token was evicted (None: never) and for how long it was kept."""
    steps = lifespan(trace)[layer]
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


def survival_rows(traces: Sequence[Trace]) -> list[TableRow]:
    """One row per run, layer (None: all layers) and age: the survival at the ages 1, 2, 4, … and at the budget."""
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


def overlap_rows(traces: Sequence[Trace]) -> list[TableRow]:
    """One row per pair of runs over the same tokens: how far they keep the same tokens.

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


def layer_overlap_rows(trace: Trace) -> list[TableRow]:
    """One row per pair of layers: how far they keep the same tokens."""
    overlap = layer_overlap(trace)
    return [
        _run(trace) | {"layer": i, "other layer": j, "overlap (Jaccard)": float(overlap[i, j])}
        for i in range(len(overlap))
        for j in range(i)
    ]


def head_overlap_rows(trace: Trace) -> list[TableRow]:
    """One row per pair of KV heads of a layer: how far they keep the same tokens; no rows if layers decide as one."""
    overlap = head_overlap(trace)
    layers, groups, _ = overlap.shape
    return [
        _run(trace) | {"layer": layer, "KV head": i, "other": j, "overlap (Jaccard)": float(overlap[layer, i, j])}
        for layer in range(layers)
        for i in range(groups)
        for j in range(i)
    ]


def kind_rows(traces: Sequence[Trace]) -> list[TableRow]:
    """One row per run and kind of token, and one for all tokens: how many there are and how long they were kept."""
    return [
        _run(trace)
        | {
            "kind": life.kind,
            "tokens": life.tokens,
            "mean steps kept": life.steps,
            "kept to the end": life.kept_to_the_end,
        }
        for trace in traces
        for life in lives_of_kinds(trace)
    ]


def longest_lived_rows(trace: Trace, count: int = 20) -> list[TableRow]:
    """One row for each of the tokens kept longest, mean over deciders; the longest first, ties to the earliest."""
    kinds, kept = kinds_of(trace.tokens), kept_to_the_end(trace)
    steps = lifespan(trace).mean(axis=(0, 1), dtype=np.float64)
    return [
        {
            "position": position,
            "token": trace.tokens.pieces[position],
            "kind": KINDS[kinds[position]],
            "mean steps kept": float(steps[position]),
            "of steps": len(trace) - position,
            "kept to the end by": int(kept[..., position].sum()),
            "of deciders": kept[..., position].size,
        }
        for position in np.argsort(-steps, kind="stable")[:count].tolist()
    ]


def _run(trace: Trace) -> TableRow:
    return {"policy": trace.policy.label, "budget": trace.policy.budget}
