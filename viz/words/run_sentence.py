"""A run in a sentence. Plain text: whoever shows it escapes it."""

from core.measures import survival
from core.trace import Trace
from viz.words.lesson_words import Language
from viz.words.say import policy_name, say


def first_token_kept(trace: Trace, language: Language = "en") -> str:
    """Where the first token is kept to the end, such as “28 of 30 layers”."""
    kept = survival.kept_to_the_end(trace)[:, :, 0]
    held = "{kept} of {all} KV heads" if trace.policy.scope == "kv_head" else "{kept} of {all} layers"
    return say(language, held, kept=int(kept.sum()), all=kept.size)


def run_sentence(trace: Trace, language: Language = "en") -> str:
    """A run in a sentence, as plain text."""
    policy = policy_name(trace.policy, language)
    if trace.policy.budget is None or trace.policy.budget >= len(trace):
        return say(language, "{policy}: nothing had to be evicted.", policy=policy)
    half = survival.median_age(survival.survival(trace).overall)
    return say(
        language,
        "{policy}: first token kept to the end in {first}; {recent:.0%} of the rows kept are recent; {evicted}.",
        policy=policy,
        first=first_token_kept(trace, language),
        recent=float(survival.mean_recent_share(trace).mean()),
        evicted=say(language, "fewer than half of the tokens are evicted")
        if half is None
        else say(language, "half of the tokens are gone after {steps} steps", steps=half),
    )
