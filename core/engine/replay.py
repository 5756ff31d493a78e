"""Runs a language model whose every layer holds a finite multi-state, exactly and fast.

The semantics are those of a recurrent network, token by token: the query attends to the rows kept so far plus its
own, then each decider evicts at most one row. A text is read in chunks (see `core.engine.batch`); any chunk size gives
the same trace up to floating-point rounding.

Deviations from published code: rows keep the rotary position they were written with (as in the official TOVA code,
unlike StreamingLLM's) unless other `positions` are asked for, see `core.engine.rotation`; attention logits are computed
in float32 even if the model runs in bfloat16, so that rounding does not make ties. A model with a sliding window of its
own (Mistral) gives rows beyond it no attention; they stay in the multi-state until the policy evicts them.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.engine.batch import Batch, Watch
from core.engine.capability import checked_rotary
from core.engine.multi_state import FREE, Run
from core.engine.refusals import check_prompt
from core.engine.rotation import LateRotation
from core.engine.sampling import Sampler
from core.errors import BadInput, NumericalError, OutOfMemory
from core.model.language_model import LanguageModel
from core.policies import Ints, Policy
from core.trace import Positions, Prefill, Tokens, Trace
from core.whole_numbers import whole

REPORT_EVERY = 0.25  # seconds between two reports of progress
LONGEST_CHUNK = 256
SHORTEST_CHUNK = 16  # unless another is asked for: shorter ones cost more per token, so a slow machine would crawl


@dataclass(frozen=True)
class Progress:
    """How far a run is: `done` of `total` tokens, and the traces of the tokens read so far, one per policy."""

    done: int
    total: int
    traces: list[Trace]


def iter_replay(
    lm: LanguageModel,
    tokens: Tokens | Sequence[int],
    policy: Policy,
    *,
    chunk: int | None = None,
    prefill: Prefill = "token-by-token",
    positions: Positions = "original",
    beyond_context: bool = False,
) -> Iterator[Progress]:
    """`replay` as a generator that reports progress several times a second; the last report has the whole trace.

    Closing it ends the run and frees its memory. Without `chunk` the chunks are as long as a report allows.
    """
    tokens = lm.as_tokens(tokens)
    batch = start_reading(
        lm, tokens, [policy], chunk=chunk, prefill=prefill, positions=positions, beyond_context=beyond_context
    )
    reported = time.monotonic()
    for read, _ in read_chunks(batch, tokens, chunk):
        if read.stop == len(tokens) or time.monotonic() - reported > REPORT_EVERY:
            yield Progress(read.stop, len(tokens), _traces(lm, batch.runs, tokens, []))
            reported = time.monotonic()


def replay(
    lm: LanguageModel,
    tokens: Tokens | Sequence[int],
    policy: Policy,
    *,
    chunk: int = LONGEST_CHUNK,
    prefill: Prefill = "token-by-token",
    positions: Positions = "original",
    beyond_context: bool = False,
) -> Trace:
    """Read a text under a policy.

    With a finite policy the text may be of any length: what the run holds does not grow with it, but for the record,
    24 bytes per layer, group and token (216 MB for 300,000 tokens and 30 layers), which becomes the trace.

    Args:
        lm: the model.
        tokens: n tokens, at least 2: what `lm.encode` gives, or plain ids.
        policy: decides what is evicted.
        chunk: at most so many tokens per forward pass; any number gives the same trace.
        prefill: ``"token-by-token"``, or ``"one-shot"`` to attend to the whole text and cut it once at its end, as
            the official TOVA code does with a prompt.
        positions: which positions the model is told. ``"original"``: each row keeps its position in the text, as in
            the official TOVA code. ``"in-cache"``: at every step the rows attended to are numbered 0, 1, 2 … by their
            order, as in StreamingLLM, so that a finite policy can read a text of any length. ``"log-gap"``: as
            original, but long gaps between the rows attended to shrink; `core.engine.rotation` says what is odd about
            it. A policy's attention is that of the positions told.
        beyond_context: let a finite policy with original positions read on beyond the model's context, where the
            model meets positions that it has never seen. Warns.

    Raises:
        BadInput: fewer than 2 tokens, ids outside the vocabulary, or an argument outside its range.
        TextTooLong: more tokens than the model's context, under the full model or with original positions, or a
            budget that is not smaller than the context.
        UnsupportedModel: a model whose positions cannot be told late (those of GPT-2 are added at the input).
        NumericalError: the model's output, or an importance, is not a number.
        OutOfMemory: the run does not fit.
    """
    chunk = whole("chunk", chunk, 1)
    tokens = lm.as_tokens(tokens)
    batch = start_reading(
        lm, tokens, [policy], chunk=chunk, prefill=prefill, positions=positions, beyond_context=beyond_context
    )
    for _ in read_chunks(batch, tokens, chunk):
        pass
    return batch.runs[0].trace(lm.model_id, tokens)


def iter_generate(
    lm: LanguageModel,
    tokens: Tokens | Sequence[int],
    policies: Policy | Sequence[Policy],
    *,
    max_new_tokens: int,
    temperature: float = 0.0,
    top_p: float = 1.0,
    seed: int = 0,
    chunk: int | None = None,
    prefill: Prefill = "token-by-token",
    positions: Positions = "original",
    beyond_context: bool = False,
) -> Iterator[Progress]:
    """`generate` as a generator that reports progress several times a second; see `iter_replay`."""
    writers = _Writers(
        lm, tokens, policies, max_new_tokens, temperature, top_p, seed, chunk, prefill, positions, beyond_context
    )
    reported = time.monotonic()
    done = 0
    for done in writers.write(chunk):
        if time.monotonic() - reported > REPORT_EVERY and done < writers.total:
            yield Progress(done, writers.total, writers.traces())
            reported = time.monotonic()
    yield Progress(done, writers.total, writers.traces())


class _Writers:
    """Runs that read one prompt and write on in lockstep, each its own text."""

    def __init__(
        self,
        lm: LanguageModel,
        tokens: Tokens | Sequence[int],
        policies: Policy | Sequence[Policy],
        max_new_tokens: int,
        temperature: float,
        top_p: float,
        seed: int,
        chunk: int | None,
        prefill: Prefill,
        positions: Positions,
        beyond_context: bool,
    ) -> None:
        policies = list(policies) if isinstance(policies, Sequence) else [policies]
        if not policies:
            raise BadInput("Choose at least one policy.")
        max_new_tokens = whole("The number of new tokens", max_new_tokens, 1)
        self.lm = lm
        self.tokens = lm.to_continue(lm.as_tokens(tokens))
        self.total = len(self.tokens) + max_new_tokens
        self.samplers = [Sampler(temperature, top_p, seed) for _ in policies]
        self.batch = _started(lm, self.tokens, policies, self.total, chunk, prefill, positions, beyond_context)
        self.runs = list(self.batch.runs)  # the batch goes on with those that have not come to an end
        self.written: list[list[int]] = [[] for _ in self.runs]

    def write(self, chunk: int | None) -> Iterator[int]:
        """Read and write; yields how many tokens are done after each chunk and each new token."""
        batch = self.batch
        for read, logits in read_chunks(batch, self.tokens, chunk):
            yield read.stop
            last = logits[:, -1]
        writing = list(range(len(self.runs)))
        for position in range(len(self.tokens), self.total):
            totals = last.float().logsumexp(dim=-1)
            _check_number(totals)
            for row, i in enumerate(writing):
                chosen = self.samplers[i].next(last[row])
                self.runs[i].nll[position] = (totals[row] - last[row, chosen]).item()
                self.written[i].append(chosen)
            ids = torch.tensor([[self.written[i][-1]] for i in writing], device=self.lm.device)
            last = batch.read(ids, range(position, position + 1))[:, -1]
            yield position + 1
            rows = [row for row, i in enumerate(writing) if self.written[i][-1] not in self.lm.eos_ids]
            if not rows:
                break
            if len(rows) < len(writing):
                writing = [writing[row] for row in rows]
                batch.keep_runs(rows)
                last = last[rows]

    def traces(self) -> list[Trace]:
        """What has been read and written so far."""
        return _traces(self.lm, self.runs, self.tokens, self.written)


def generate(
    lm: LanguageModel,
    tokens: Tokens | Sequence[int],
    policies: Policy | Sequence[Policy],
    *,
    max_new_tokens: int,
    temperature: float = 0.0,
    top_p: float = 1.0,
    seed: int = 0,
    chunk: int = LONGEST_CHUNK,
    prefill: Prefill = "token-by-token",
    positions: Positions = "original",
    beyond_context: bool = False,
) -> Trace | list[Trace]:
    """Read a prompt and write on, under one policy or under several in lockstep.

    Args:
        lm: the model.
        tokens: the prompt, at least one token: what `lm.encode` gives, or plain ids. An end-of-text token that only
            the tokenizer has put after it is left out, see `LanguageModel.to_continue`.
        policies: one policy, or several: each writes its own text from its own multi-state.
        max_new_tokens: how many tokens each may write; a run ends early after it wrote an end-of-sequence token.
        temperature: 0 takes the most probable token.
        top_p: draw only from the most probable tokens that together have this probability.
        seed: of the draws; every policy draws with the same.
        chunk: at most so many tokens of the prompt per forward pass; any number gives the same traces.
        prefill: ``"one-shot"`` attends to the whole prompt and cuts it once at its end to each policy's `budget` most
            important rows, as the official TOVA code does.
        positions: as in `replay`.
        beyond_context: as in `replay`.

    Returns:
        One trace if one policy was given by itself, else one per policy, in their order. The last token written has
        been read, too, so a replay of the tokens gives the same trace.

    Raises:
        BadInput, TextTooLong, UnsupportedModel, NumericalError, OutOfMemory: as `replay`.
    """
    chunk = whole("chunk", chunk, 1)
    writers = _Writers(
        lm, tokens, policies, max_new_tokens, temperature, top_p, seed, chunk, prefill, positions, beyond_context
    )
    for _ in writers.write(chunk):
        pass
    traces = writers.traces()
    return traces if isinstance(policies, Sequence) else traces[0]


def attention_of(
    lm: LanguageModel,
    tokens: Tokens | Sequence[int],
    policy: Policy,
    layer: int,
    group: int = 0,
    *,
    positions: Positions = "original",
    beyond_context: bool = False,
) -> NDArray[np.float32]:
    """What the query of each step paid to each token in one layer, by a replay that goes no deeper than that layer.

    Args:
        lm: the model.
        tokens: n tokens, as in `replay`.
        policy: decides what is evicted.
        layer: from 0.
        group: the KV head, from 0, if the policy decides per KV head; else 0.
        positions: as in `replay`.
        beyond_context: as in `replay`.

    Returns:
        (n, n): rows are steps, columns positions; averaged over the query heads of the group (of the layer, if it
        decides as one). Zero where the query did not attend; a row sums to 1.

    Raises:
        BadInput, TextTooLong, UnsupportedModel, OutOfMemory: as `replay`; BadInput also for a layer or group that
            there is not.
    """
    tokens = lm.as_tokens(tokens)
    n = len(tokens)
    check_prompt(lm, tokens, n, [policy], None, "token-by-token", positions, beyond_context)
    run = Run(policy, layers=layer + 1, kv_heads=lm.n_kv_heads, capacity=n, prompt_length=n)
    if not (0 <= layer < lm.n_layers and 0 <= group < run.groups):
        raise BadInput(f"There is no layer {layer} with group {group}: give a layer from 0 to {lm.n_layers - 1}.")
    paid = np.zeros((n, n), np.float32)

    def watch(of_layer: int, chunk: range, of_columns: list[Ints], attention: Tensor) -> None:
        if of_layer != layer:
            return
        of_group = attention[0].mean(dim=1)
        own = (of_group[group] if run.groups > 1 else of_group.mean(dim=0)).cpu().numpy()
        live = of_columns[0][group] != FREE
        paid[chunk.start : chunk.stop, of_columns[0][group, live]] = own[:, live]

    batch = Batch(lm, [run], watch, _late(lm, positions))
    ids = torch.as_tensor(tokens.ids, dtype=torch.long, device=lm.device)[None]
    for start in range(0, n, LONGEST_CHUNK):
        chunk = range(start, min(start + LONGEST_CHUNK, n))
        batch.read(ids[:, chunk.start : chunk.stop], chunk)
    return paid


def start_reading(
    lm: LanguageModel,
    tokens: Tokens,
    policies: Sequence[Policy],
    *,
    chunk: int | None = None,
    prefill: Prefill = "token-by-token",
    positions: Positions = "original",
    beyond_context: bool = False,
    watch: Watch | None = None,
) -> Batch:
    """Runs in lockstep, one per policy, that are about to read this text, which `read_chunks` then does.

    Raises:
        BadInput, TextTooLong, UnsupportedModel: as `replay`.
    """
    batch = _started(lm, tokens, policies, len(tokens), chunk, prefill, positions, beyond_context)
    if len(tokens) < 2:
        raise BadInput("The text is a single token: there is nothing to predict. Write at least two words.")
    batch.watch = watch
    return batch


def _started(
    lm: LanguageModel,
    tokens: Tokens,
    policies: Sequence[Policy],
    total: int,
    chunk: int | None,
    prefill: Prefill,
    positions: Positions,
    beyond_context: bool,
) -> Batch:
    """Runs with room for `total` tokens that are about to read these."""
    check_prompt(lm, tokens, total, policies, chunk, prefill, positions, beyond_context)
    try:
        runs = [
            Run(
                policy,
                layers=lm.n_layers,
                kv_heads=lm.n_kv_heads,
                capacity=total,
                prompt_length=len(tokens),
                prefill=prefill,
                numbering=positions,
            )
            for policy in policies
        ]
    except MemoryError as e:  # what a run keeps a record in is there before its first token
        raise OutOfMemory(
            f"Reading {total:,} tokens under {len(policies)} policies does not fit the memory. Shorten the text, "
            "choose fewer policies or a smaller model."
        ) from e
    return Batch(lm, runs, late=_late(lm, positions))


def _late(lm: LanguageModel, positions: Positions) -> LateRotation | None:
    return None if positions == "original" else LateRotation(checked_rotary(lm), positions)


def read_chunks(batch: Batch, tokens: Tokens, chunk: int | None) -> Iterator[tuple[range, Tensor]]:
    """Read a text into all runs. Yields the positions of every chunk and its logits (runs, chunk, vocabulary).

    A one-shot prompt's last token is always read by itself, since only then all layers can be cut at once. Without
    `chunk` the chunks are as long as a report allows.
    """
    ids = torch.as_tensor(tokens.ids, dtype=torch.long, device=batch.lm.device)
    n, start, size = len(tokens), 0, chunk or 32
    while start < n:
        stop = min(start + size, n)
        if batch.runs[0].prefill == "one-shot" and start < n - 1:
            stop = min(stop, n - 1)
        if batch.in_common and start < batch.common_until():
            stop = min(stop, batch.common_until())
        began = time.monotonic()
        logits = batch.read(ids[None, start:stop], range(start, stop))
        _note_nll(batch, logits, ids[start + 1 : stop + 1], start + 1)
        if chunk is None:
            size = _paced(size, time.monotonic() - began)
        yield range(start, stop), logits
        del logits  # of several runs they are large, and the next are on their way
        start = stop


def _paced(size: int, seconds: float) -> int:
    """The next chunk's size, so that a chunk takes about as long as a report may wait."""
    if seconds < REPORT_EVERY / 2:
        return min(2 * size, LONGEST_CHUNK)
    return max(size // 2, SHORTEST_CHUNK) if seconds > REPORT_EVERY else size


def _note_nll(batch: Batch, logits: Tensor, targets: Tensor, first: int) -> None:
    """Write down the nats for each target, of which there may be one fewer than logits."""
    for run, own in zip(batch.runs, logits[:1] if batch.in_common else logits, strict=False):
        own = own[: len(targets)]
        # a few at a time: what is in between stays in the processor's cache
        total = torch.cat([some.float().logsumexp(dim=-1) for some in own.split(8)])
        _check_number(total)
        nll = (total - own.gather(1, targets[:, None])[:, 0]).cpu().numpy()
        for sharing in batch.runs if batch.in_common else [run]:
            sharing.nll[first : first + len(targets)] = nll


def _check_number(total: Tensor) -> None:
    """Raise NumericalError unless the logits' sums, (…) as exponents, are numbers."""
    if not torch.isfinite(total).all():
        raise NumericalError(
            "The model's output is not a number. Its weights are damaged, or its numbers overflow: load it again in "
            "float32."
        )


def _traces(lm: LanguageModel, runs: list[Run], tokens: Tokens, written: list[list[int]]) -> list[Trace]:
    traces = []
    for run, new in zip(runs, written or [[]] * len(runs), strict=True):
        so_far = lm.continued(tokens, new) if new else tokens
        traces.append(run.trace(lm.model_id, so_far[: run.length]))
    return traces
