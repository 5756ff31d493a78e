"""What forgetting costs, in a sentence or two. Plain text, not yet escaped."""

from collections.abc import Sequence

import numpy as np

from core.measures.costs import Comparison, ForgottenAttention, delta_nll, forgotten_share, most_missed, tokens_of_half
from core.trace import NEVER, Trace
from viz.words.catalogue import _
from viz.words.policies import policy_name
from viz.words.sentences import quoted


def cost_sentences(comparison: Comparison, names: Sequence[str]) -> list[str]:
    """What a token costs under each policy, of these names, and on how few tokens the costliest loses half of it."""
    if all((trace.evicted_at == NEVER).all() for trace in comparison.traces):
        return [_("Nothing had to be forgotten, so it costs nothing: choose a smaller budget or a longer text.")]
    delta = delta_nll(comparison)[:, 1:]  # the first token has no prediction
    means = delta.mean(axis=1, dtype=np.float64)
    each = [_("{policy} {nats:.2f}", policy=name, nats=mean) for name, mean in zip(names, means.tolist(), strict=True)]
    sentences = [_("What forgetting costs, in nats a token: {costs}.", costs=_("; ").join(each))]
    worst = int(means.argmax())
    if means[worst] > 0:
        position = 1 + int(delta[worst].argmax())
        where = _(
            "{policy} loses half of it on {few} of {n} tokens, most at {token} (token {position}): {nats:.1f} nats.",
            policy=names[worst],
            few=tokens_of_half(delta[worst]),
            n=delta.shape[1],
            token=quoted(comparison.full, position),
            position=position,
            nats=float(delta[worst].max()),
        )
        sentences.append(where)
    return sentences


def missed_sentences(trace: Trace, position: int, forgotten: ForgottenAttention) -> Sequence[str]:
    """Which evicted tokens the full model looks at most when it predicts the token at a position."""
    missed = _(
        "{policy}, predicting {token} (token {position}): {share:.0%} of the full model's attention falls on tokens "
        "that this policy no longer has.",
        policy=policy_name(trace.policy),
        token=quoted(trace, position),
        position=position,
        share=float(forgotten_share(forgotten).mean()),
    )
    most = [
        _("{token} (token {position}, {paid:.1%})", token=quoted(trace, looked_at), position=looked_at, paid=paid)
        for looked_at, paid in most_missed(forgotten)
    ]
    return [missed, _("Most of it on {tokens}.", tokens=_("; ").join(most))] if most else [missed]
