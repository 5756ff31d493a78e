"""Reads a prompt and writes on, under one policy or under several in lockstep."""

import time
from collections.abc import Iterator, Sequence
from typing import Unpack

import torch

from core.engine.options import ReadKeywords, ReadOptions
from core.engine.reading import LONGEST_CHUNK, REPORT_EVERY, Progress, check_numbers, read_chunks, start_writing
from core.engine.sampling import Sampler
from core.errors import BadInput
from core.messages import Message
from core.model.language_model import LanguageModel
from core.policies import Policy
from core.trace import Tokens, Trace
from core.whole_numbers import whole


def iter_generate(
    lm: LanguageModel,
    tokens: Tokens | Sequence[int],
    policies: Policy | Sequence[Policy],
    *,
    max_new_tokens: int,
    temperature: float = 0.0,
    top_p: float = 1.0,
    seed: int = 0,
    **options: Unpack[ReadKeywords],
) -> Iterator[Progress]:
    """`generate` as a generator that reports progress several times a second; see `iter_replay`."""
    writers = _Writers(lm, tokens, policies, max_new_tokens, ReadOptions(**options))
    reported = time.monotonic()
    done = 0
    for done in writers.write([Sampler(temperature, top_p, seed) for _ in writers.runs]):
        if time.monotonic() - reported > REPORT_EVERY and done < writers.total:
            yield Progress(done, writers.total, writers.traces())
            reported = time.monotonic()
    yield Progress(done, writers.total, writers.traces())


def generate(
    lm: LanguageModel,
    tokens: Tokens | Sequence[int],
    policies: Policy | Sequence[Policy],
    *,
    max_new_tokens: int,
    temperature: float = 0.0,
    top_p: float = 1.0,
    seed: int = 0,
    **options: Unpack[ReadKeywords],
) -> Trace | list[Trace]:
    """Read a prompt and write on, under one policy or under several in lockstep.

    Args:
        lm: the model.
        tokens: the prompt, at least one token: what `lm.encode` gives, or plain ids. An end-of-text token that only
            the tokenizer has put after the text is left out, see `LanguageModel.to_continue`.
        policies: one policy, or several: each writes its own text from its own multi-state.
        max_new_tokens: how many tokens each may write; a run ends early after it wrote an end-of-sequence token.
        temperature: 0 for the most probable token, else from 1e-6 to 1e6.
        top_p: draw only from the most probable tokens that together have this probability.
        seed: the seed of the random draws, the same for every policy.
        options: how the prompt is read, and who evicts how much: ``chunk`` (256) and the others of `ReadOptions`.

    Returns:
        One trace if one policy was given by itself, else one per policy, in their order. The last token written has
        been read, too, so a replay of the tokens gives the same trace. The exception is a model whose rotary
        frequencies depend on the text's length: here that counts `max_new_tokens`, see `core.engine.text_length`.

    Raises:
        BadInput, TextTooLong, UnsupportedModel, NumericalError, OutOfMemory: as `replay`.
    """
    writers = _Writers(lm, tokens, policies, max_new_tokens, ReadOptions(**{"chunk": LONGEST_CHUNK} | options))
    for _ in writers.write([Sampler(temperature, top_p, seed) for _ in writers.runs]):
        pass
    traces = writers.traces()
    return traces if isinstance(policies, Sequence) else traces[0]


class _Writers:
    """Runs that read one prompt and write on in lockstep, each its own text."""

    def __init__(
        self,
        lm: LanguageModel,
        tokens: Tokens | Sequence[int],
        policies: Policy | Sequence[Policy],
        max_new_tokens: int,
        options: ReadOptions,
    ) -> None:
        policies = list(policies) if isinstance(policies, Sequence) else [policies]
        if not policies:
            raise BadInput("Choose at least one policy.")
        max_new_tokens = whole(Message("The number of new tokens"), max_new_tokens, 1)
        self.lm = lm
        self.tokens = lm.to_continue(lm.as_tokens(tokens))
        self.total = len(self.tokens) + max_new_tokens
        self.batch = start_writing(lm, self.tokens, policies, options, total=self.total)
        self.runs = list(self.batch.runs)  # `batch.runs` loses those that have ended
        self.written: list[list[int]] = [[] for _ in self.runs]

    def write(self, samplers: Sequence[Sampler]) -> Iterator[int]:
        """Read and write; after each chunk and each new token, yields how many tokens are done."""
        batch = self.batch
        for read, logits in read_chunks(batch, self.tokens):
            yield read.stop
            last = logits[:, -1]
        writing = list(range(len(self.runs)))
        for position in range(len(self.tokens), self.total):
            totals = last.float().logsumexp(dim=-1)
            check_numbers(totals)
            for row, i in enumerate(writing):
                chosen = samplers[i].next(last[row])
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
        """The traces of what has been read and written so far, one per run."""
        traces = []
        for run, new in zip(self.runs, self.written, strict=True):
            so_far = self.lm.continued(self.tokens, new) if new else self.tokens
            traces.append(run.trace(self.lm.model_id, so_far[: run.length]))
        return traces
