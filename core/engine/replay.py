"""Reads a text under a policy, exactly and fast.

The semantics are those of a recurrent network, token by token: the query attends to the rows kept so far plus its
own, then each decider evicts at most one row (several with ``every`` above 1, ``budgets="adaptive"``, or at the end of
a one-shot prompt). A text is read in chunks (see `core.engine.batch`); any chunk size gives
the same trace up to floating-point rounding.

Deviations from published code: rows keep the rotary position they were written with (as in the official TOVA code,
unlike StreamingLLM's) unless other `positions` are asked for, see `core.engine.rotation`; attention logits are computed
in float32 even if the model runs in bfloat16, so that rounding does not make ties. A model with a sliding window of its
own (Mistral) gives rows beyond it no attention; they stay in the multi-state until the policy evicts them.
"""

import time
from collections.abc import Iterator, Sequence
from typing import Unpack

from core.engine.options import ReadKeywords, ReadOptions
from core.engine.reading import LONGEST_CHUNK, REPORT_EVERY, Progress, read_chunks, start_reading
from core.errors import BadInput
from core.model.language_model import LanguageModel
from core.policies import Policy
from core.trace import Tokens, Trace


def iter_replay(
    lm: LanguageModel,
    tokens: Tokens | Sequence[int],
    policies: Policy | Sequence[Policy],
    **options: Unpack[ReadKeywords],
) -> Iterator[Progress]:
    """`replay` as a generator that reports progress several times a second; the last report has the whole traces.

    Several policies read in lockstep. Closing it ends the run and frees its memory. Without `chunk`, chunks depend on
    the model, see `ReadOptions`.
    """
    policies = policies if isinstance(policies, Sequence) else [policies]
    if not policies:
        raise BadInput("Choose at least one policy.")
    tokens = lm.as_tokens(tokens)
    batch = start_reading(lm, tokens, policies, ReadOptions(**options))
    reported = time.monotonic()
    for read, _ in read_chunks(batch, tokens):
        if read.stop == len(tokens) or time.monotonic() - reported > REPORT_EVERY:
            so_far = tokens[: read.stop]
            yield Progress(read.stop, len(tokens), [run.trace(lm.model_id, so_far) for run in batch.runs])
            reported = time.monotonic()


def replay(lm: LanguageModel, tokens: Tokens | Sequence[int], policy: Policy, **options: Unpack[ReadKeywords]) -> Trace:
    """Read a text under a policy.

    Under a policy with a budget, the memory that a run takes does not grow with the text, except for the record that
    becomes the trace: 24 bytes per layer, group and token (216 MB for 300,000 tokens and 30 layers).

    Args:
        lm: the model.
        tokens: n tokens, at least 2: what `lm.encode` gives, or plain ids.
        policy: decides what is evicted.
        options: ``chunk`` (256) and the others of `ReadOptions`. With
            ``prefill="one-shot"`` the whole text is the prompt.

    Raises:
        BadInput: fewer than 2 tokens, ids outside the vocabulary, or an argument outside its range.
        TextTooLong: more tokens than the model's context, together with the full policy, with original positions
            (unless `beyond_context`), or with a budget that is not smaller than the context.
        UnsupportedModel: a model that reads with original positions only (GPT-2 adds them at the input).
        NumericalError: the model's output, or an importance, is not a number.
        OutOfMemory: the run does not fit.
    """
    tokens = lm.as_tokens(tokens)
    batch = start_reading(lm, tokens, [policy], ReadOptions(**{"chunk": LONGEST_CHUNK} | options))
    for _ in read_chunks(batch, tokens):
        pass
    return batch.runs[0].trace(lm.model_id, tokens)
