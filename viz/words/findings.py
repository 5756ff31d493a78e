"""Findings: a few numbers that sum up a run, each with a sentence that explains it."""

from dataclasses import dataclass

from core.measures import costs, survival
from core.messages import tokens
from core.trace import NEVER, Trace
from viz.words.catalogue import _, told
from viz.words.sentences import quoted


@dataclass(frozen=True)
class Finding:
    """A number and what it means, as plain text."""

    value: str
    meaning: str


def findings(trace: Trace, full_perplexity: float | None = None) -> list[Finding]:
    """The findings of a run, finished or not; none for fewer than two tokens.

    Args:
        trace: the run.
        full_perplexity: the full model's perplexity on the same tokens; None if it is not known.
    """
    if len(trace) < 2:
        return []
    found = [_perplexity(trace, full_perplexity), _rows(trace), *_out_of_sight(trace)]
    if not (trace.evicted_at != NEVER).any():
        all_fits = _("tokens evicted: everything fits. Lower the budget to see the policy at work.")
        return [*found, Finding(_("0"), all_fits)]
    return [*found, _old(trace), _first_token(trace), *_longest_lived(trace)]


def _perplexity(trace: Trace, full: float | None) -> Finding:
    if full is None:
        meaning = _("perplexity: how surprised the model is, per token.")
    else:
        meaning = _(
            "perplexity: how surprised the model is, per token. The full model, which forgets nothing: {full:.1f}.",
            full=full,
        )
    return Finding(f"{costs.perplexity(trace):.1f}", meaning)


def _rows(trace: Trace) -> Finding:
    kept, evicted = int(trace.kept(len(trace) - 1).sum()), int((trace.evicted_at != NEVER).sum())
    meaning = _(
        "rows kept at the end, of {read:,} read; {evicted:,} were evicted.", read=trace.evicted_at.size, evicted=evicted
    )
    return Finding(_("{kept:,}", kept=kept), meaning)


def _out_of_sight(trace: Trace) -> list[Finding]:
    """How many kept rows the model's own sliding window hides; no finding if there are none."""
    last = len(trace) - 1
    unseen = int((trace.kept(last) & ~trace.in_sight(last)).sum())
    if not unseen:
        return []
    looking = [window for window in trace.sliding_windows if window]
    meaning = _(
        "is how far back {some} of {all} layers of this model look by themselves: {unseen:,} of the rows kept at "
        "the end are out of the model's sight.",
        some=len(looking),
        all=len(trace.sliding_windows),
        unseen=unseen,
    )
    return [Finding(told(tokens(max(looking))), meaning)]


def _old(trace: Trace) -> Finding:
    share = survival.not_recent_share(trace, len(trace) - 1)
    meaning = _(
        "of what is kept is not among the last {budget} tokens. Window would have 0%.", budget=trace.policy.budget
    )
    return Finding(f"{share:.0%}", meaning)


def _first_token(trace: Trace) -> Finding:
    first = trace.evicted_at[:, :, 0]
    held, steps = int((first == NEVER).sum()), float(survival.lifespan(trace)[:, :, 0].mean())
    if trace.policy.scope == "kv_head":
        meaning = _(
            "KV heads hold the very first token to the end; on average it stays for {steps:.0f} of {n} steps.",
            steps=steps,
            n=len(trace),
        )
        return Finding(_("{heads} of {all}", heads=held, all=first.size), meaning)
    meaning = _(
        "layers hold the very first token to the end; on average it stays for {steps:.0f} of {n} steps.",
        steps=steps,
        n=len(trace),
    )
    return Finding(_("{layers} of {all}", layers=held, all=first.size), meaning)


def _longest_lived(trace: Trace) -> list[Finding]:
    """The token kept longest, not counting the first `N_BEGINNING`; no finding if the text has no others."""
    longest = survival.longest_lived(trace)
    if longest is None:
        return []
    meaning = _(
        "is how long {token} (token {position}) is held on average: the longest of all that do not open the text.",
        token=quoted(trace, longest.position),
        position=longest.position,
    )
    return [Finding(_("{steps:.0f} steps", steps=longest.steps), meaning)]
