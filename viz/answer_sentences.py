"""What became of a passage, and who found the fact, in sentences. Plain text: whoever shows it escapes it."""

from collections.abc import Sequence
from statistics import fmean

from core.evidence import Fate
from core.haystack import NeedleResult
from core.trace import Trace
from viz.sentences import quoted


def fate_sentence(trace: Trace, fate: Fate) -> str:
    """When a policy lost a passage, and what was left of it when the question came."""
    if fate.half_lost_at is None:
        lost = "At least half of it is kept to the end"
    else:
        lost = f"Less than half of it is kept from {_step(trace, fate.half_lost_at)}"
    if fate.lost_at is not None:
        lost += f", nothing from {_step(trace, fate.lost_at)}"
    return f"{trace.policy}: {fate.at_question:.0%} of the passage was kept when the question came. {lost}."


def needle_sentences(results: Sequence[NeedleResult]) -> list[str]:
    """How often each policy found the fact, and how much of it was kept, one sentence per policy."""
    sentences = []
    for policy in dict.fromkeys(str(result.policy) for result in results):
        own = [result for result in results if str(result.policy) == policy]
        found = sum(result.found for result in own)
        kept = fmean(result.fate.at_question for result in own)
        sentences.append(
            f"{policy}: finds the fact in {found} of {len(own)} text{'s' * (len(own) != 1)}; on average {kept:.0%} of "
            "it was kept when the question came."
        )
    return sentences


def _step(trace: Trace, step: int) -> str:
    return f"step {step} on, reading {quoted(trace, step)}"
