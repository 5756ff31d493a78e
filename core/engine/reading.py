"""Reads a text into the multi-states of one or several runs, chunk by chunk."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from core.engine.batch import Batch, Watch
from core.engine.capability import checked_rotary
from core.engine.eviction import needs_of
from core.engine.multi_state import Run
from core.engine.options import ReadOptions
from core.engine.refusals import check_prompt
from core.engine.rotation import LateRotation, Rotary
from core.errors import BadInput, NumericalError, OutOfMemory
from core.model.language_model import LanguageModel
from core.policies import Policy
from core.trace import Positions, Tokens, Trace

REPORT_EVERY = 0.25  # seconds between two reports of progress
LONGEST_CHUNK = 256
FIRST_CHUNK, SHORTEST_CHUNK = 32, 16  # where no length is asked for
WORK = 2**36  # tokens times runs times parameters of a chunk, at most: about a second of two cores


@dataclass(frozen=True)
class Progress:
    """How far a run is: `done` of `total` tokens, and the traces of the tokens read so far, one per policy."""

    done: int
    total: int
    traces: list[Trace]


def start_reading(
    lm: LanguageModel,
    tokens: Tokens,
    policies: Sequence[Policy],
    options: ReadOptions,
    *,
    watch: Watch | None = None,
) -> Batch:
    """A batch of runs, one per policy, in which `read_chunks` then reads this text.

    Raises:
        BadInput, TextTooLong, UnsupportedModel: as `replay`.
    """
    batch = start_writing(lm, tokens, policies, options, total=len(tokens))
    if len(tokens) < 2:
        raise BadInput("The text is a single token: there is nothing to predict. Write at least two words.")
    batch.watch = watch
    return batch


def start_writing(
    lm: LanguageModel, tokens: Tokens, policies: Sequence[Policy], options: ReadOptions, *, total: int
) -> Batch:
    """A batch of runs, one per policy, with room for `total` tokens: those of the prompt and those to be written."""
    check_prompt(lm, tokens, total, policies, options)
    rotary = checked_rotary(lm) if any(needs_of(policy).queries for policy in policies) else None
    try:
        runs = [
            Run(
                policy,
                layers=lm.n_layers,
                kv_heads=lm.n_kv_heads,
                capacity=total,
                prompt_length=len(tokens),
                options=options,
                heads=heads_of(lm, rotary),
            )
            for policy in policies
        ]
    except MemoryError as e:  # a run allocates its record of all tokens at the start
        raise OutOfMemory(
            "Reading {tokens:,} tokens under {policies} policies does not fit the memory. Shorten the text, choose "
            "fewer policies or a smaller model.",
            tokens=total,
            policies=len(policies),
        ) from e
    return Batch(lm, runs, late=late_rotation(lm, options.positions), rotary=rotary)


def heads_of(lm: LanguageModel, rotary: Rotary | None) -> tuple[int, int]:
    """How many query heads there are, and the size of each, which only a policy that reads queries needs to know."""
    return lm.n_query_heads, 0 if rotary is None else len(rotary.speeds)


def late_rotation(lm: LanguageModel, positions: Positions) -> LateRotation | None:
    """The late rotation for these positions; None for original ones, by which the model turns rows itself."""
    return None if positions == "original" else LateRotation(checked_rotary(lm), positions)


def read_chunks(batch: Batch, tokens: Tokens) -> Iterator[tuple[range, Tensor]]:
    """Read a text into all runs. Yields the positions of every chunk and its logits (runs, chunk, vocabulary).

    The last token of a one-shot prompt is read by itself: only after a single token are all layers cut at once.
    """
    options = batch.runs[0].options
    ids = torch.as_tensor(tokens.ids, dtype=torch.long, device=batch.lm.device)
    n, start, sizes = len(tokens), 0, _sizes(batch, options.chunk)
    while start < n:
        stop = min(start + next(sizes), n)
        if options.prefill == "one-shot" and start < n - 1:
            stop = min(stop, n - 1)
        if batch.in_common and start < batch.common_until():
            stop = min(stop, batch.common_until())
        logits = batch.read(ids[None, start:stop], range(start, stop))
        _note_nll(batch, logits, ids[start + 1 : stop + 1], start + 1)
        yield range(start, stop), logits
        del logits  # they are large; free them before the next are made
        start = stop


def _sizes(batch: Batch, chunk: int | None) -> Iterator[int]:
    """How long the chunks of a text are: as asked for, or short at first, so that there is soon something to show.

    They depend on the model and the number of runs, never on the clock: a chunk's length decides how its numbers are
    rounded, so a busy machine would give other bits.
    """
    if chunk is not None:
        yield from itertools.repeat(chunk)
    longest = LONGEST_CHUNK
    if batch.lm.device.type == "cpu":
        longest = min(longest, WORK // (len(batch.runs) * batch.lm.model.num_parameters()))
    size = FIRST_CHUNK
    while True:
        yield max(min(size, longest), SHORTEST_CHUNK)
        size *= 2


def _note_nll(batch: Batch, logits: Tensor, targets: Tensor, first: int) -> None:
    """Record the nats of the tokens that came next, from `first` on; for the last logits there may be none."""
    for run, own in zip(batch.runs, logits[:1] if batch.in_common else logits, strict=False):
        own = own[: len(targets)]
        # a few rows at a time, so that intermediate results stay in the processor's cache
        total = torch.cat([some.float().logsumexp(dim=-1) for some in own.split(8)])
        check_numbers(total)
        nll = (total - own.gather(1, targets[:, None])[:, 0]).cpu().numpy()
        for sharing in batch.runs if batch.in_common else [run]:
            sharing.nll[first : first + len(targets)] = nll


def check_numbers(total: Tensor) -> None:
    """Check the log-sum-exp of logits.

    Raises:
        NumericalError: one of them is infinite or not a number.
    """
    if not torch.isfinite(total).all():
        raise NumericalError(
            "The model's output is not a number. Its weights are damaged, or its numbers overflow: load it again in "
            "float32."
        )
