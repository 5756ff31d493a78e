"""Several policies and the full model read the same text in lockstep, to measure what each policy costs.

The logits of a chunk are compared and then discarded, so their memory does not grow with the text.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Unpack

import numpy as np
import torch
from torch import Tensor
from torch.linalg import vecdot

from core.engine.batch import Batch
from core.engine.options import ReadKeywords, ReadOptions
from core.engine.reading import LONGEST_CHUNK, REPORT_EVERY, read_chunks, start_reading
from core.errors import BadInput
from core.measures.costs import Comparison, ForgottenAttention
from core.model.language_model import LanguageModel
from core.policies import Full, Ints, Policy
from core.trace import Bools, Floats, Tokens, Trace

CHUNK = 128  # tokens; fewer than in `replay`, since the logits of all runs are in memory at once


@dataclass(frozen=True)
class ComparisonProgress:
    """How far a comparison is: `done` of `total` tokens, and the comparison over the tokens read so far."""

    done: int
    total: int
    comparison: Comparison


def iter_compare(
    lm: LanguageModel,
    tokens: Tokens | Sequence[int],
    policies: Sequence[Policy],
    **options: Unpack[ReadKeywords],
) -> Iterator[ComparisonProgress]:
    """`compare` as a generator that reports progress several times a second; the last report is complete.

    Closing it ends the run and frees its memory. Without `chunk`, chunks depend on the model, see `ReadOptions`.
    """
    if not policies:
        raise BadInput("Choose at least one policy.")
    tokens = lm.as_tokens(tokens)
    batch = start_reading(lm, tokens, [Full(), *policies], ReadOptions(**options))
    n = len(tokens)
    kl = np.full((len(policies), n), np.nan, np.float32)
    agrees = np.zeros((len(policies), n), bool)
    seconds, resumed = 0.0, time.perf_counter()
    reported = time.monotonic()
    for read, logits in read_chunks(batch, tokens):
        predicted = slice(read.start + 1, min(read.stop + 1, n))
        if predicted.start < n:
            compared = _compare_logits(logits[:, : predicted.stop - predicted.start])
            kl[:, predicted], agrees[:, predicted] = compared
        del logits
        if read.stop == n or time.monotonic() - reported > REPORT_EVERY:
            seconds += time.perf_counter() - resumed
            yield ComparisonProgress(read.stop, n, _comparison(batch, tokens[: read.stop], kl, agrees, seconds))
            resumed, reported = time.perf_counter(), time.monotonic()


def compare(
    lm: LanguageModel,
    tokens: Tokens | Sequence[int],
    policies: Sequence[Policy],
    **options: Unpack[ReadKeywords],
) -> Comparison:
    """Read a text under several policies and under the full model, all in lockstep.

    Args:
        lm: the model.
        tokens: n tokens, as in `replay`.
        policies: the policies to compare; the full model is added.
        options: as in `replay`, the same for all policies; ``chunk`` is 128 if not given. ``positions`` make no
            difference to the full model, which evicts nothing and so has no gaps.

    Raises:
        BadInput, TextTooLong, UnsupportedModel, NumericalError, OutOfMemory: as `replay`; BadInput also without a
            policy, TextTooLong also for any text beyond the model's context, which the full model cannot read.
    """
    for report in iter_compare(lm, tokens, policies, **{"chunk": CHUNK} | options):
        last = report
    return last.comparison


def _compare_logits(logits: Tensor) -> tuple[Floats, Bools]:
    """`Comparison.kl` and `agrees` from logits (1 + policies, positions, vocabulary), the full model's first.

    It takes a few positions at a time, which fit into the processor's cache: three times as fast as all at once.
    """
    few, kls, agrees = 4, [], []
    for part in torch.split(logits, few, dim=1):
        expected, top = part[0].float().log_softmax(dim=-1), part[0].argmax(dim=-1)
        probability = expected.exp()
        kls.append(torch.stack([vecdot(probability, expected - own.float().log_softmax(dim=-1)) for own in part[1:]]))
        agrees.append(part[1:].argmax(dim=-1) == top)
    kl = torch.cat(kls, dim=1).clamp(min=0)  # rounding may make a zero negative
    return kl.cpu().numpy(), torch.cat(agrees, dim=1).cpu().numpy()


def _comparison(batch: Batch, tokens: Tokens, kl: Floats, agrees: Bools, seconds: float) -> Comparison:
    n = len(tokens)
    decisions = [run.seconds for run in batch.runs]
    shared = (seconds - sum(decisions)) / len(batch.runs)
    full, *traces = (run.trace(batch.lm.model_id, tokens) for run in batch.runs)
    return Comparison(
        full=full,
        traces=tuple(traces),
        kl=kl[:, :n].copy(),
        agrees=agrees[:, :n].copy(),
        seconds=tuple(own + shared for own in decisions),
        row_bytes=sum(rows.element_size() * rows.shape[1] * rows.shape[3] for rows in batch.keys + batch.values),
    )


def forgotten_attention(lm: LanguageModel, traces: Sequence[Trace], step: int) -> list[ForgottenAttention]:
    """How much of the full model's attention at a step falls on tokens that a policy has evicted before.

    It replays the full model up to that step.

    Args:
        lm: the model that made the traces.
        traces: traces of one text, e.g. those of a `Comparison`.
        step: the position of the query.

    Returns:
        One result for each trace.

    Raises:
        BadInput: no trace, traces of another model or of several texts, or a step that they do not have.
        NumericalError, OutOfMemory: as `replay`.
    """
    _check_traces(lm, traces)
    attended = [trace.attended(step)[:, :, : step + 1] for trace in traces]
    attention = _full_attention(lm, traces[0].tokens, step)
    return [
        ForgottenAttention(trace.policy, step, (attention * ~seen).mean(axis=1))
        for trace, seen in zip(traces, attended, strict=True)
    ]


def _check_traces(lm: LanguageModel, traces: Sequence[Trace]) -> None:
    if not traces:
        raise BadInput("Choose at least one policy.")
    for trace in traces:
        if trace.model_id != lm.model_id:
            raise BadInput(
                "This trace was made by {model}, not by {loaded}: load that model.",
                model=trace.model_id,
                loaded=lm.model_id,
            )
        if not np.array_equal(trace.tokens.ids, traces[0].tokens.ids):
            raise BadInput("These traces are of different texts: give traces of one text.")


def _full_attention(lm: LanguageModel, tokens: Tokens, step: int) -> Floats:
    """(layers, KV heads, step + 1): the attention of the full model's query at that step to each token."""
    layers: list[Floats] = []

    def watch(layer: int, chunk: range, positions: list[Ints], attention: Tensor) -> None:
        if step in chunk:  # nothing is evicted, so columns are positions
            layers.append(attention[0, :, :, step - chunk.start, : step + 1].mean(dim=1).cpu().numpy())

    tokens = tokens[: max(step + 1, 2)]
    options = ReadOptions(chunk=LONGEST_CHUNK)
    for _ in read_chunks(start_reading(lm, tokens, [Full()], options, watch=watch), tokens):
        pass
    return np.stack(layers)
