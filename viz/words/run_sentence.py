"""One sentence that sums up a run. Plain text, not yet escaped."""

from core.measures import survival
from core.trace import Trace
from viz.words.catalogue import _
from viz.words.policies import policy_name


def first_token_kept(trace: Trace) -> str:
    """Where the first token is kept to the end, such as “28 of 30 layers”."""
    kept = survival.kept_to_the_end(trace)[:, :, 0]
    if trace.policy.scope == "kv_head":
        return _("{kept} of {all} KV heads", kept=int(kept.sum()), all=kept.size)
    return _("{kept} of {all} layers", kept=int(kept.sum()), all=kept.size)


def run_sentence(trace: Trace) -> str:
    """How many layers keep the first token, how many kept rows are recent, and when half of the tokens are gone."""
    policy = policy_name(trace.policy)
    if trace.policy.is_recorded and survival.kept_to_the_end(trace).all():
        return _("{policy}: nothing was evicted.", policy=policy)
    if trace.policy.keeps_all or (trace.policy.budget or 0) >= len(trace):
        return _("{policy}: nothing had to be evicted.", policy=policy)
    half = survival.median_age(survival.survival(trace).overall)
    sentence = _(
        "{policy}: first token kept to the end in {first}; {recent:.0%} of the rows kept are recent; {evicted}.",
        policy=policy,
        first=first_token_kept(trace),
        recent=float(survival.mean_recent_share(trace).mean()),
        evicted=_("fewer than half of the tokens are evicted")
        if half is None
        else _("half of the tokens are gone after {steps} steps", steps=half),
    )
    if trace.policy.is_recorded:
        sentence += _(" Its budget is not known: recent are as many of the last tokens as there are rows.")
    return sentence
