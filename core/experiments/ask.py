"""A question about a document, answered by one model under several policies and under the full policy."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Unpack

from core.engine.generate import iter_generate
from core.engine.options import ReadKeywords
from core.errors import BadInput
from core.experiments.question import Answer, Prompt
from core.measures.evidence import passage_of
from core.model.chat import chats, turn
from core.model.language_model import LanguageModel
from core.policies import Full, Policy
from core.texts import without_mark
from core.trace import Tokens, Trace

CHUNK = 64  # tokens of the document per forward pass
MAX_NEW_TOKENS = 64  # an answer of a sentence or two
BEFORE_QUESTION, BEFORE_ANSWER = "\n\nQuestion: ", "\nAnswer:"


@dataclass(frozen=True)
class AskProgress:
    """How far the answers are: `done` of at most `total` tokens, and the answers so far, the full model's first."""

    done: int
    total: int
    answers: list[Answer]


def prompt_of(lm: LanguageModel, document: str, question: str) -> Prompt:
    """The document, then the question, in the model's chat format if it has one, else followed by "Answer:".

    Control tokens that the user has typed are read as ordinary characters, see `turn`.

    Raises:
        BadInput: no document or no question, or a model without a tokenizer.
        UnsupportedModel: as `turn`.
    """
    given, document = len(document), without_mark(document)
    if not document.strip():
        raise BadInput("The document is empty. Paste or upload a text first.")
    if not question.strip():
        raise BadInput("There is no question. Write one.")
    question = question.strip()
    text = document + BEFORE_QUESTION + question + ("" if chats(lm) else BEFORE_ANSWER)
    tokens, start = turn(lm, text)
    asked = start + len(document) + len(BEFORE_QUESTION)
    return Prompt(
        tokens=tokens,
        document=passage_of(tokens, start, start + len(document)),
        question=passage_of(tokens, asked, asked + len(question)),
        document_start=start + len(document) - given,
        document_length=given,
    )


def iter_ask(
    lm: LanguageModel,
    prompt: Prompt | Tokens,
    policies: Sequence[Policy],
    *,
    max_new_tokens: int = MAX_NEW_TOKENS,
    **options: Unpack[ReadKeywords],
) -> Iterator[AskProgress]:
    """`ask` as a generator that reports progress several times a second, also while the document is read.

    Closing it ends the run and frees its memory. On a slow machine reports are rarer while the document is read: there
    is at most one for each chunk.
    """
    tokens = prompt.tokens if isinstance(prompt, Prompt) else prompt
    beside_full = [Full(), *(policy for policy in policies if policy.budget is not None)]
    reports = iter_generate(lm, tokens, beside_full, max_new_tokens=max_new_tokens, **{"chunk": CHUNK} | options)
    for report in reports:
        yield AskProgress(report.done, report.total, [answer_of(lm, trace) for trace in report.traces])


def ask(
    lm: LanguageModel,
    prompt: Prompt | Tokens,
    policies: Sequence[Policy],
    *,
    max_new_tokens: int = MAX_NEW_TOKENS,
    **options: Unpack[ReadKeywords],
) -> list[Answer]:
    """Answer a prompt under every policy and the full model, greedily and in lockstep.

    Args:
        lm: the model.
        prompt: what `prompt_of` gives.
        policies: with any budgets; the full model is added, once.
        max_new_tokens: the most tokens of an answer.
        options: as in `generate`; ``chunk`` is 64 if not given. With ``prefill="one-shot"`` the question is read before
            anything is evicted.

    Returns:
        The full model's answer, then one per policy with a budget, in their order.

    Raises:
        BadInput, TextTooLong, NumericalError, OutOfMemory: as `generate`.
    """
    for report in iter_ask(lm, prompt, policies, max_new_tokens=max_new_tokens, **options):
        last = report
    return last.answers


def answer_of(lm: LanguageModel, trace: Trace) -> Answer:
    """The answer that a trace has after its prompt."""
    written = trace.tokens[trace.prompt_length :]
    pieces = [piece for piece, special in zip(written.pieces, written.special, strict=True) if not special]
    finished = bool(len(written)) and int(written.ids[-1]) in lm.eos_ids
    return Answer("".join(pieces).strip(), trace, finished)
