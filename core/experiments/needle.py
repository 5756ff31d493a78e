"""The needle test: a fact is hidden in a text, and the model is asked for it at the end.

It shows where a finite multi-state fails: a fact that seemed unimportant when it was read is evicted before the
question comes. Tang et al. 2024 (Quest, arXiv 2406.10774) report this for TOVA with a passkey in 10,000 tokens.
Deviations: our text is shorter, was written for this test, and does not repeat itself.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Unpack

from core.engine.options import ReadKeywords
from core.errors import BadInput
from core.experiments.ask import iter_ask, prompt_of
from core.experiments.haystack import QUESTION, Haystack, NeedleResult, contains_fact, hide
from core.experiments.question import Answer, Prompt
from core.measures.evidence import fate
from core.model.language_model import LanguageModel
from core.policies import Policy

NEW_TOKENS = 24  # enough for a sentence with the fact


@dataclass(frozen=True)
class NeedleProgress:
    """How far a needle test is: `done` of at most `total` tokens, and all results so far."""

    done: int
    total: int
    results: list[NeedleResult]


def iter_needle(
    lm: LanguageModel,
    policies: Sequence[Policy],
    depths: Sequence[float],
    lengths: Sequence[int],
    **options: Unpack[ReadKeywords],
) -> Iterator[NeedleProgress]:
    """`needle` as a generator that reports progress several times a second and after every text.

    Closing it ends the run and frees its memory.
    """
    if not depths or not lengths:
        raise BadInput("Choose at least one depth and one length.")
    cells = [(depth, length) for length in dict.fromkeys(lengths) for depth in dict.fromkeys(depths)]
    texts = [hide(lm, depth, length) for depth, length in cells]
    prompts = [prompt_of(lm, text.document, QUESTION) for text in texts]
    total = sum(len(prompt.tokens) + NEW_TOKENS for prompt in prompts)
    results: list[NeedleResult] = []
    done = 0
    for (depth, length), text, prompt in zip(cells, texts, prompts, strict=True):
        for report in iter_ask(lm, prompt, policies, max_new_tokens=NEW_TOKENS, **options):
            yield NeedleProgress(done + report.done, total, results.copy())
        results += [_result(depth, length, text, prompt, answer) for answer in report.answers]
        done += len(prompt.tokens) + NEW_TOKENS
        yield NeedleProgress(done, total, results.copy())


def needle(
    lm: LanguageModel,
    policies: Sequence[Policy],
    depths: Sequence[float],
    lengths: Sequence[int],
    **options: Unpack[ReadKeywords],
) -> list[NeedleResult]:
    """Ask for the fact in texts of every length with the needle at every depth, under every policy and the full model.

    All policies read a text and answer in lockstep.

    Args:
        lm: the model.
        policies: with any budgets; the full model is added, once.
        depths: where the needle is, from 0 (before the text) to 1 (at its end).
        lengths: the lengths of the texts, in tokens.
        options: as in `ask`.

    Returns:
        One result per text and policy: by length, then depth, each in the order given, then policy, the full model's
        first.

    Raises:
        BadInput: no depth or length, or one that is refused by `hide`.
        TextTooLong, NumericalError, OutOfMemory: as `generate`.
    """
    for report in iter_needle(lm, policies, depths, lengths, **options):
        last = report
    return last.results


def _result(depth: float, length: int, text: Haystack, prompt: Prompt, answer: Answer) -> NeedleResult:
    return NeedleResult(
        policy=answer.trace.policy,
        depth=depth,
        length=length,
        answer=answer.text,
        found=contains_fact(answer.text),
        fate=fate(answer.trace, prompt.passage(text.start, text.stop), prompt.question.start),
    )
