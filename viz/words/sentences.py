"""Sentences about what happened to a token. Plain text, not yet escaped."""

import re
from typing import Any

import numpy as np

from core.measures.survival import lifespan
from core.messages import Message
from core.policies import POLICIES, Policy
from core.trace import NEVER, Trace
from viz.words.catalogue import _, ngettext
from viz.words.letters import isolated

NEWLINE, TAB = "↵", "⇥"
"""How a line break and a tab are shown."""


def quoted(trace: Trace, position: int) -> str:
    """The token in quotation marks, cut to 24 characters, line breaks and tabs made visible; or “a part of …”."""
    tokens = trace.tokens
    if tokens.continued[position]:
        if not position:
            return _("a part of a character")
        return _("a part of {token}", token=quoted(trace, position - 1))
    piece = re.sub(r"\r?\n", NEWLINE, tokens.pieces[position]).replace("\t", TAB)
    return f"“{isolated(piece if len(piece) <= 24 else piece[:23] + '…')}”"


def decider(trace: Trace, layer: int, group: int) -> str:
    """A decider as the beginning of a sentence: the layer, or one KV head of it."""
    if trace.policy.scope == "kv_head":
        return _("Layer {layer}, KV head {group},", layer=layer, group=group)
    return _("Layer {layer}", layer=layer)


def why(trace: Trace, layer: int, group: int, position: int) -> str:
    """When and why a decider evicted a token, or, if it still holds it at the end, what it evicted instead."""
    who, token, last = decider(trace, layer, group), quoted(trace, position), len(trace) - 1
    evicted_at = int(trace.evicted_at[layer, group, position])
    unseen = ""
    if not trace.in_sight(min(evicted_at, last))[layer, group, position]:
        unseen = _(
            " The model itself looks back at most {window} tokens here: at that step it no longer saw it.",
            window=trace.sliding_windows[layer],
        )
    if evicted_at == NEVER:
        held = _(
            "{who} still holds {token} at the end (step {last}), {age} steps after reading it.",
            who=who,
            token=token,
            last=last,
            age=last - position,
        )
        return held + unseen + _evicted_instead(trace, layer, group, position)
    told: dict[str, Any] = {"who": who, "token": token, "step": evicted_at}
    told["reason"] = _reason(trace, layer, group, position)
    if evicted_at == position:
        return _("{who} forgot {token} while reading itself (step {step}): {reason}.", **told)
    told["reading"] = quoted(trace, evicted_at)
    return _("{who} forgot {token} while reading {reading} (step {step}): {reason}.", **told) + unseen


AT_ONCE = Message("not among the rows kept when the whole prompt was cut at once, {importance}")
UNTOLD = Message("a recording does not tell why")
UNTOLD_AT_ONCE = Message("not among the rows kept when the prompt had been read; a recording does not tell why")


def _reason(trace: Trace, layer: int, group: int, position: int) -> str:
    where = (layer, group, position)
    evicted_at = int(trace.evicted_at[where])
    at_once = trace.prefill == "one-shot" and evicted_at == trace.prompt_length - 1
    if trace.policy.is_recorded:
        return _(UNTOLD_AT_ONCE if at_once else UNTOLD)
    importance = f"{float(trace.importance_at_eviction[where]):.2g}"
    runner_up = float(trace.runner_up_importance[where])
    next_lowest = f"{runner_up:.2g}" if np.isfinite(runner_up) else _("none")
    return _(
        AT_ONCE if at_once else POLICIES.get(trace.policy.key, Policy).reason,
        rows=int(trace.attended(evicted_at)[layer, group].sum()),
        importance=importance,
        runner_up=next_lowest,
        **trace.policy.settings,
    )


def _evicted_instead(trace: Trace, layer: int, group: int, position: int) -> str:
    if trace.policy.keeps_all or trace.policy.is_recorded:
        return ""
    others = trace.evicted_at[layer, group]
    n = int(((others >= position) & (others != NEVER)).sum())
    if not n:
        return _(" Nothing had to be evicted since.")
    return ngettext(
        " It evicted {n} other since, which was less important to the policy.",
        " It evicted {n} others since, each the least important to the policy at its step.",
        n,
    )


def life(trace: Trace, position: int) -> str:
    """For how many steps a token was kept, averaged over all deciders, and how many of them hold it at the end."""
    kept = trace.evicted_at[..., position] == NEVER
    told: dict[str, Any] = {"position": position, "token": quoted(trace, position)}
    told |= {"mean": float(lifespan(trace)[..., position].mean()), "steps": len(trace) - position}
    told |= {"kept": int(kept.sum()), "deciders": kept.size}
    if trace.policy.scope == "kv_head":
        sentence = _(
            "Token {position}, {token}: kept for {mean:.0f} of {steps} steps on average; still held at the end by "
            "{kept} of {deciders} KV heads.",
            **told,
        )
    else:
        sentence = _(
            "Token {position}, {token}: kept for {mean:.0f} of {steps} steps on average; still held at the end by "
            "{kept} of {deciders} layers.",
            **told,
        )
    hidden = int((kept & ~trace.in_sight(len(trace) - 1)[..., position]).sum())
    if not hidden:
        return sentence
    return sentence + _(
        " In {hidden} of those it is out of sight: the model itself looks back at most {window} tokens.",
        hidden=hidden,
        window=max(trace.sliding_windows),
    )
