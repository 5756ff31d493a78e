"""What became of a passage, and who found the fact, in sentences. Plain text: whoever shows it escapes it."""

from collections.abc import Sequence
from statistics import fmean

from core.experiments.haystack import NeedleResult
from core.measures.evidence import Fate
from core.trace import Trace
from viz.words.lesson_words import Language
from viz.words.say import amount, policy_name, say
from viz.words.sentences import quoted


def fate_sentence(trace: Trace, fate: Fate, language: Language = "en") -> str:
    """When a policy lost a passage, and what was left of it when the question came."""

    def told(template: str, step: int) -> str:
        return say(language, template, step=step, token=quoted(trace, step, language))

    if fate.half_lost_at is None:
        lost = say(language, "At least half of it is kept to the end")
    else:
        lost = told("Less than half of it is kept from step {step} on, reading {token}", fate.half_lost_at)
    if fate.lost_at is not None:
        lost += told(", nothing from step {step} on, reading {token}", fate.lost_at)
    return say(
        language,
        "{policy}: {share:.0%} of the passage was kept when the question came. {lost}.",
        policy=policy_name(trace.policy, language),
        share=fate.at_question,
        lost=lost,
    )


def needle_sentences(results: Sequence[NeedleResult], language: Language = "en") -> list[str]:
    """How often each policy found the fact, and how much of it was kept, one sentence per policy."""
    sentences = []
    for policy in {str(result.policy): result.policy for result in results}.values():
        own = [result for result in results if str(result.policy) == str(policy)]
        sentences.append(
            say(
                language,
                "{policy}: finds the fact in {found} of {texts}; on average {kept:.0%} of it was kept when the "
                "question came.",
                policy=policy_name(policy, language),
                found=sum(result.found for result in own),
                texts=amount(language, len(own), "text"),
                kept=fmean(result.fate.at_question for result in own),
            )
        )
    return sentences
