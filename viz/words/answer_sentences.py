"""Sentences about a marked passage or a hidden fact: was it kept, was it found? Plain text, not yet escaped."""

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from core.experiments.haystack import NeedleResult, by_policy
from core.measures.evidence import Fate
from core.trace import Trace
from viz.words.catalogue import _, ngettext
from viz.words.policies import policy_name
from viz.words.sentences import quoted


def fate_sentence(trace: Trace, fate: Fate) -> str:
    """When a policy lost the passage, and what share of it was kept when the question came."""
    if fate.half_lost_at is None:
        lost = _("At least half of it is kept to the end")
    else:
        lost = _("Less than half of it is kept from step {step} on, reading {token}", **_at(trace, fate.half_lost_at))
    if fate.lost_at is not None:
        lost += _(", nothing from step {step} on, reading {token}", **_at(trace, fate.lost_at))
    return _(
        "{policy}: {share:.0%} of the passage was kept when the question came. {lost}.",
        policy=policy_name(trace.policy),
        share=fate.at_question,
        lost=lost,
    )


def _at(trace: Trace, step: int) -> dict[str, Any]:
    return {"step": step, "token": quoted(trace, step)}


def needle_sentences(results: Sequence[NeedleResult]) -> list[str]:
    """One sentence per policy: in how many texts it found the fact, and how much of the fact was kept on average."""
    sentences = []
    for own in by_policy(results):
        sentences.append(
            _(
                "{policy}: finds the fact in {found} of {texts}; on average {kept:.0%} of it was kept when the "
                "question came.",
                policy=policy_name(own[0].policy),
                found=sum(result.found for result in own),
                texts=ngettext("{n:,} text", "{n:,} texts", len(own)),
                kept=fmean(result.fate.at_question for result in own),
            )
        )
    return sentences
