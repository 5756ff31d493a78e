"""What happened to a token, in a sentence. Plain text: whoever shows it escapes it."""

import numpy as np

from core import metrics
from core.trace import NEVER, Trace

REASONS = {
    "tova": "least attended of {rows} rows, {importance}; next lowest {runner_up}",
    "tova-head": "least attended of {rows} rows, {importance}; next lowest {runner_up}",
    "h2o": "of {rows} rows, the one outside the recent half with the least attention accumulated, {importance}; "
    "next lowest {runner_up}",
    "window": "the oldest of {rows} rows",
    "window+i": "the oldest of {rows} rows that is not among the first {n_sink} tokens",
    "random": "drawn at random from {rows} rows",
}


def quoted(trace: Trace, position: int) -> str:
    """The token in quotation marks, line breaks made visible, long ones cut."""
    tokens = trace.tokens
    if tokens.continued[position]:
        return f"a part of {quoted(trace, position - 1)}" if position else "a part of a character"
    piece = tokens.pieces[position].replace("\n", "⏎")
    return f"“{piece if len(piece) <= 24 else piece[:23] + '…'}”"


def decider(trace: Trace, layer: int, group: int) -> str:
    """Who decided: the layer, or one KV head of it."""
    return f"Layer {layer}, KV head {group}," if trace.policy.scope == "kv_head" else f"Layer {layer}"


def why(trace: Trace, layer: int, group: int, position: int) -> str:
    """When and why a decider evicted a token, or that it still has it."""
    who, token = decider(trace, layer, group), quoted(trace, position)
    evicted_at = int(trace.evicted_at[layer, group, position])
    if evicted_at == NEVER:
        last = len(trace) - 1
        return f"{who} still holds {token} at the end (step {last}), {last - position} steps after reading it."
    at_once = trace.prefill == "one-shot" and evicted_at == trace.prompt_length - 1
    reason = "not among the rows kept when the whole prompt was cut at once, {importance}"
    if not at_once:
        reason = REASONS.get(trace.policy.key, "least important of {rows} rows, {importance}; next lowest {runner_up}")
    runner_up = float(trace.runner_up_importance[layer, group, position])
    facts = reason.format(
        rows=int(trace.attended(evicted_at)[layer, group].sum()),
        importance=f"{float(trace.importance_at_eviction[layer, group, position]):.2g}",
        runner_up=f"{runner_up:.2g}" if np.isfinite(runner_up) else "none",
        **trace.policy.settings,
    )
    reading = "itself" if evicted_at == position else quoted(trace, evicted_at)
    return f"{who} forgot {token} while reading {reading} (step {evicted_at}): {facts}."


def life(trace: Trace, position: int) -> str:
    """A token's life over all deciders."""
    evicted_at = trace.evicted_at[..., position]
    kept, deciders = int((evicted_at == NEVER).sum()), evicted_at.size
    unit = "KV heads" if trace.policy.scope == "kv_head" else "layers"
    mean = float(metrics.lifespan(trace)[..., position].mean())
    return (
        f"Token {position}, {quoted(trace, position)}: kept for {mean:.0f} of {len(trace) - position} steps on "
        f"average; still held at the end by {kept} of {deciders} {unit}."
    )
