"""Runs a language model whose every layer holds a finite multi-state, exactly and fast.

The semantics are those of a recurrent network, token by token: the query attends to the rows kept so far plus its
own, then each decider evicts at most one row. Two facts make it fast without changing them. Layer l at step t
depends only on layer l-1 at steps up to t, so a *chunk* of tokens goes through the model in one forward pass: one
matmul gives the logits of all its queries, a light loop over its steps only picks victims, and one masked softmax
does the rest. And when the chunk is a single token, no decision of a layer is needed before the next layer, so all
layers are decided in one call after the pass. Any chunk size gives the same trace up to floating-point rounding.

Deviations from published code: rows keep the rotary position they were written with (as in the official TOVA code,
unlike StreamingLLM's) unless other `positions` are asked for, see `core.rotary`; attention logits are computed in
float32 even if the model runs in bfloat16, so that rounding does not make ties. A model with a sliding window of its
own (Mistral) gives rows beyond it no attention; they stay in the multi-state until the policy evicts them.

This is the only file that knows transformers' `AttentionInterface`. It needs no `Cache`.
"""

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from core.errors import BadInput, NumericalError, OutOfMemory, TextTooLong, UnsupportedModel
from core.policies import Floats, Ints, Oracle, Policy
from core.rotary import Distances, LateLogits, LateRotation, rotary_embedding
from core.run import FREE, VANISHING, Run
from core.sampling import Sampler
from core.trace import Positions, Prefill, Tokens, Trace

if TYPE_CHECKING:
    from core.models import LanguageModel

Watch: TypeAlias = Callable[[int, range, list[Ints], Tensor], None]
"""Takes a layer, a chunk, the positions of the columns per run, (groups, columns), and the attention, (runs, KV heads,
query heads of the group, chunk, columns). Both may change afterwards: what is to stay must be copied."""

ATTENTION = "multi_state"
REFUSED_KEYWORDS = ("s_aux", "softcap")  # attention sinks, soft capping: they change the softmax
REPORT_EVERY = 0.25  # seconds between two reports of progress
LONGEST_CHUNK = 256
SHORTEST_CHUNK = 16  # unless another is asked for: shorter ones cost more per token, so a slow machine would crawl


@dataclass(frozen=True)
class Progress:
    """How far a run is: `done` of `total` tokens, and the traces of the tokens read so far, one per policy."""

    done: int
    total: int
    traces: list[Trace]


class _DeepEnough(Exception):
    """The forward pass has gone through all layers that are wanted."""


class Batch:
    """Several runs in lockstep through one model: the keys and values of every layer, one batch row per run.

    Attributes:
        runs: the runs, each with its own policy.
        layers: how many layers to go through, as the runs say; fewer than the model has only if no logits are wanted.
        keys, values: per layer, (runs, KV heads, slots, head size); a slot holds what the run's bookkeeping says. While
            `in_common`, there is one row for all runs.
        in_common: whether all runs have read the same text and no row is evicted yet: they then do not differ.
        watch: called with the attention of every layer gone through; see `attention_of`.
        late: how keys are turned once it is known which rows are attended to; the keys held are then not turned. None
            if the model turns them itself, by their positions in the text.
    """

    def __init__(
        self, lm: "LanguageModel", runs: list[Run], watch: Watch | None = None, late: LateRotation | None = None
    ) -> None:
        self.lm = lm
        self.runs = runs
        self.layers = runs[0].layers
        self.watch = watch
        self.late = late
        empty = torch.empty(0)
        self.keys: list[Tensor] = [empty] * self.layers
        self.values: list[Tensor] = [empty] * self.layers
        self.in_common = len(runs) > 1
        self._chunk = range(0)
        self._mask = empty  # of the chunk's shape, see `_not_yet`
        self._layers_seen = 0
        self._slots: list[Tensor] = []  # per layer (runs, KV heads, 1, 1), where the token being read is written
        self._width, self._unequal = 0, False  # the most slots of a run, and whether another has fewer
        self._attention: list[Tensor] = []  # per layer (runs, KV heads, query heads of the group, slots)
        self._distances: Distances = np.empty(0)  # (layers, runs, groups or 1, slots), and what they turn keys by
        self._turns: tuple[Tensor, Tensor] = (empty, empty)

    @torch.inference_mode()
    def read(self, ids: Tensor, chunk: range) -> Tensor:
        """Read the tokens at the positions of `chunk`, (runs, chunk), or (1, chunk) if all runs read the same.

        Returns:
            The logits (runs, chunk, vocabulary); empty if not all layers of the model are gone through.
        """
        self._chunk, self._layers_seen = chunk, 0
        self.in_common = self.in_common and len(ids) == 1 and len(chunk) > 1 and chunk[-1] < self.common_until()
        if not self.in_common:
            ids = ids.expand(len(self.runs), -1)
        if len(chunk) == 1:
            self._place_token()
        positions = torch.arange(chunk.start, chunk.stop, device=ids.device).expand(ids.shape)
        if self.late is not None:
            positions = torch.zeros_like(positions)
        try:
            logits: Tensor = self.lm.model(ids, position_ids=positions, use_cache=False, multi_state=self).logits
        except _DeepEnough:
            logits = torch.empty(0)
        except (MemoryError, torch.OutOfMemoryError) as e:
            raise OutOfMemory(
                f"Reading {len(chunk)} tokens under {len(self.runs)} policies does not fit the memory. "
                "Shorten the text, choose fewer policies or a smaller model."
            ) from e
        if self._layers_seen != self.layers:
            raise UnsupportedModel(
                f"{self.lm.model_id} called our attention in {self._layers_seen} of {self.layers} layers, so a "
                "picture of it would be fiction. Choose a model of another architecture."
            )
        if len(chunk) == 1:
            self._decide_token()
        else:
            for run in self.runs:
                run.finish_chunk(chunk)
        return logits.expand(len(self.runs), *logits.shape[1:]) if self.in_common else logits

    def common_until(self) -> int:
        """The position of the first token with which a row of some run goes, while nothing has been evicted."""
        return min(run.evicts_from() for run in self.runs)

    def keep_runs(self, rows: list[int]) -> None:
        """Go on with these runs only."""
        self.runs = [self.runs[row] for row in rows]
        self.keys = [keys[rows] for keys in self.keys]
        self.values = [values[rows] for values in self.values]

    def attend(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float, window: int | None
    ) -> Tensor:
        """Attention of one layer over the multi-states.

        Args:
            layer: the layer, from 0.
            query: (runs, query heads, chunk, head size), turned by its position unless that is done late.
            key: (runs, KV heads, chunk, head size), likewise.
            value: (runs, KV heads, chunk, head size).
            scaling: of the logits.
            window: the model's own sliding window, in tokens, the query's own included.

        Returns:
            (runs, chunk, query heads, head size).
        """
        self._layers_seen += 1
        if not self.in_common and 0 < len(self.keys[layer]) < len(self.runs):
            self.keys[layer] = self.keys[layer].repeat(len(self.runs), 1, 1, 1)
            self.values[layer] = self.values[layer].repeat(len(self.runs), 1, 1, 1)
        runs, query_heads, count, size = query.shape
        kv_heads = key.shape[1]
        if kv_heads != self.lm.n_kv_heads:
            raise UnsupportedModel(
                f"{self.lm.model_id} has {kv_heads} KV heads where its configuration says {self.lm.n_kv_heads}. "
                "Correct its configuration, or choose another model."
            )
        query = query.reshape(runs, kv_heads, (query_heads // kv_heads) * count, size)
        if window is not None and self._chunk.stop <= window:
            window = None
        attend = self._attend_token if count == 1 else self._attend_chunk
        output = attend(layer, query, key, value, scaling, window)
        if self._layers_seen == self.layers < self.lm.n_layers:
            raise _DeepEnough
        return output.reshape(runs, query_heads, count, size).transpose(1, 2)

    # A chunk: the columns are the slots, then the tokens of the chunk.

    def _attend_chunk(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float, window: int | None
    ) -> Tensor:
        count = len(self._chunk)
        if layer_has_rows := self.keys[layer].numel() > 0:
            slots = max(run.slots for run in self.runs)
            key = torch.cat([self.keys[layer][:, :, :slots], key], dim=2)
            value = torch.cat([self.values[layer][:, :, :slots], value], dim=2)
        offset = key.shape[2] - count
        positions = [run.column_positions(layer, offset, self._chunk) for run in self.runs]
        logits = self._chunk_logits(query, key, scaling, window, positions)
        evicts = any(run.evicts_in(self._chunk) for run in self.runs)
        if evicts and self.late is not None:
            until, kept = self._decide_late(layer, positions, logits, query, key, scaling, window)
            attention = _attended(until, logits, None)
        else:
            attention = logits.softmax(dim=-1)
            until, kept = self._decide_chunk(layer, positions, logits, attention, [None] * len(self.runs))
            if evicts:
                attention = _attended(until, logits, attention)
        del logits
        self._receive(layer, positions, attention)
        output: Tensor = attention.to(value.dtype).flatten(2, 3) @ value

        if kept is not None:
            index = kept.to(key.device)[..., None].expand(-1, -1, -1, key.shape[3])
            key, value = key.gather(2, index), value.gather(2, index)
        elif not layer_has_rows:
            key, value = key.clone(), value.clone()  # views of the model's projections of the whole chunk
        self.keys[layer], self.values[layer] = key, value
        return output

    def _chunk_logits(
        self, query: Tensor, key: Tensor, scaling: float, window: int | None, positions: list[Ints]
    ) -> Tensor:
        """(runs, KV heads, query heads of the group, chunk, columns), as if nothing were evicted in the chunk.

        Minus infinity where there is no row, a later one, or one beyond the model's own window. With late rotation
        they are right up to the first eviction.
        """
        count = len(self._chunk)
        places: Distances = _stack(positions[: len(query)], FREE)
        free = places[:, :, :-count] == FREE
        if self.late is not None:
            places = -self.late.distances(places)
            cos, sin = self.late.rotary.turns(-places)
            key = self.late.rotary.turned(key, cos, sin)
            query = query.reshape(*query.shape[:2], -1, count, query.shape[3])
            query = self.late.rotary.turned(query, cos[:, :, None, -count:], sin[:, :, None, -count:]).flatten(2, 3)
        logits = _logits(query, key, scaling, self._not_yet(query, key))
        logits = logits.view(*logits.shape[:2], -1, count, logits.shape[3])
        if free.any():
            hidden = torch.from_numpy(free).to(logits.device)
            logits[..., :-count].masked_fill_(hidden[:, :, None, None], -torch.inf)
        if window is not None:
            of_columns = torch.from_numpy(places).to(logits.device)
            beyond = of_columns[:, :, -count:, None] - of_columns[:, :, None, :] >= window
            logits.masked_fill_(beyond[:, :, None], -torch.inf)
        return logits

    def _not_yet(self, query: Tensor, key: Tensor) -> Tensor:
        """(queries, columns): minus infinity where the column's token comes after the query's, else 0; made once."""
        count, shape = len(self._chunk), (query.shape[2], key.shape[2])
        if self._mask.shape != shape or self._mask.device != key.device:
            later = torch.full((count, count), -torch.inf, dtype=_at_least_float32(key), device=key.device).triu(1)
            mask = torch.nn.functional.pad(later, (shape[1] - count, 0))
            self._mask = mask.repeat(shape[0] // count, 1)
        return self._mask

    def _decide_chunk(
        self, layer: int, positions: list[Ints], logits: Tensor, attention: Tensor | None, late: list[LateLogits | None]
    ) -> tuple[Tensor, Tensor | None]:
        """Until (runs, groups or 1, columns), see `Run.decide_chunk`; kept (runs, KV heads, rows), None if all are."""
        if self.in_common:
            logits = logits.expand(len(self.runs), *logits.shape[1:])
            attention = None if attention is None else attention.expand(logits.shape)
        untils, keeps = [], []
        for row, run in enumerate(self.runs):
            own = None
            if attention is not None and run.policy.reads_attention:
                own = _on_cpu(attention[row], run)
            with run.clock():
                until, kept = run.decide_chunk(
                    layer,
                    positions[row],
                    self._chunk,
                    partial(_on_cpu, logits[row], run),
                    own,
                    late[row],
                )
            untils.append(until)
            keeps.append(kept)
        kv_heads, columns = logits.shape[1], logits.shape[-1]
        if all(kept.shape[1] == columns for kept in keeps):
            return torch.from_numpy(_stack(untils, FREE)), None
        index = _stack(keeps, 0)
        return torch.from_numpy(_stack(untils, FREE)), torch.from_numpy(index).expand(-1, kv_heads, -1)

    def _decide_late(
        self,
        layer: int,
        positions: list[Ints],
        logits: Tensor,
        query: Tensor,
        key: Tensor,
        scaling: float,
        window: int | None,
    ) -> tuple[Tensor, Tensor | None]:
        """`_decide_chunk` where evictions turn the keys anew: it renews the logits as it goes."""
        late = self.late
        assert late is not None
        queries = late.queries(query.reshape(*query.shape[:2], -1, len(self._chunk), query.shape[3]), scaling)
        keys, on_cpu = late.keys(key), logits.cpu()
        renewed = [
            LateLogits(late, _on_cpu(on_cpu[row], run), queries[row], keys[row], window)
            if run.evicts_in(self._chunk)
            else None
            for row, run in enumerate(self.runs)
        ]
        decided = self._decide_chunk(layer, positions, on_cpu, None, renewed)
        if not logits.is_cpu:
            logits.copy_(on_cpu)
        return decided

    def _receive(self, layer: int, positions: list[Ints], attention: Tensor) -> None:
        if self.watch is not None:
            self.watch(layer, self._chunk, positions, attention.expand(len(self.runs), *attention.shape[1:]))
        received = attention.sum(dim=3).mean(dim=2).expand(len(self.runs), -1, -1).cpu().numpy()
        for row, run in enumerate(self.runs):
            own = received[row] if run.groups > 1 else received[row].mean(axis=0, keepdims=True)
            run.receive(layer, positions[row], own)

    # A single token: it is written into a free slot, and all layers decide after the pass.

    def _place_token(self) -> None:
        shape = (self.layers, self.lm.n_kv_heads)
        placed = [np.broadcast_to(run.place_token(self._chunk.start), shape) for run in self.runs]
        self._slots = list(torch.from_numpy(np.stack(placed, axis=1))[..., None, None])
        self._width = max(run.slots for run in self.runs)
        self._unequal = any(run.slots != self._width for run in self.runs)
        self._attention = []
        if self.late is not None:
            positions = [_stack([run.positions[layer] for run in self.runs], FREE) for layer in range(self.layers)]
            self._distances = self.late.distances(np.stack(positions))
            self._turns = self.late.rotary.turns(self._distances)

    def _attend_token(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float, window: int | None
    ) -> Tensor:
        slots = self._width
        index = self._slots[layer].to(key.device).expand_as(key)
        keys = self.keys[layer] = _grown(self.keys[layer], key, slots).scatter_(2, index, key)
        values = self.values[layer] = _grown(self.values[layer], value, slots).scatter_(2, index, value)
        # (runs, KV heads, query heads of the group, slots)
        keys = keys[:, :, :slots]
        if self.late is not None:
            keys = self.late.rotary.turned(keys, *(turns[layer] for turns in self._turns))
        logits = _logits(query, keys, scaling)
        if self._unequal or window is not None:
            of_slots = _stack([run.positions[layer] for run in self.runs], FREE)
            hidden = of_slots == FREE
            if window is not None:
                hidden |= (self._chunk.start - of_slots if self.late is None else self._distances[layer]) >= window
            logits.masked_fill_(torch.from_numpy(hidden).to(logits.device)[:, :, None], -torch.inf)
        attention = logits.softmax(dim=-1)
        self._attention.append(attention)
        output: Tensor = attention.to(value.dtype) @ values[:, :, :slots]
        return output

    def _decide_token(self) -> None:
        if self.watch is not None:
            for layer, paid in enumerate(self._attention):
                self.watch(layer, self._chunk, [run.positions[layer] for run in self.runs], paid.unsqueeze(3))
        attention = torch.stack([layer.cpu() for layer in self._attention]).numpy()
        cuts = []
        for row, run in enumerate(self.runs):
            own = attention[:, row, :, :, : run.slots].reshape(self.layers, run.groups, -1, run.slots)
            with run.clock():
                cuts.append(run.decide_token(self._chunk.start, own))
        if any(kept is not None for kept in cuts):
            self._cut(cuts)

    def _cut(self, cuts: list[Ints | None]) -> None:
        """Take the rows that several evictions at once have left, and renumber the slots."""
        everything = [np.arange(run.slots)[None, None].repeat(self.layers, axis=0) for run in self.runs]
        kept = [all_ if cut is None else cut for cut, all_ in zip(cuts, everything, strict=True)]
        for layer in range(self.layers):
            index = torch.from_numpy(_stack([own[layer] for own in kept], 0)).to(self.keys[layer].device)
            index = index.expand(-1, self.lm.n_kv_heads, -1)[..., None].expand(-1, -1, -1, self.keys[layer].shape[3])
            self.keys[layer] = self.keys[layer].gather(2, index)
            self.values[layer] = self.values[layer].gather(2, index)


def _at_least_float32(rows: Tensor) -> torch.dtype:
    return torch.promote_types(rows.dtype, torch.float32)


def _logits(query: Tensor, key: Tensor, scaling: float, mask: Tensor | None = None) -> Tensor:
    """Query · key plus the mask (queries, columns), in float32 at least, returned in float32."""
    dtype = _at_least_float32(query)
    query, key = query.to(dtype), key.to(dtype)
    if mask is None:
        return (query @ key.transpose(2, 3)).mul_(scaling).float()
    flat = torch.baddbmm(mask, query.flatten(0, 1), key.flatten(0, 1).transpose(1, 2), alpha=scaling)
    return flat.view(*query.shape[:3], key.shape[2]).float()


def _attended(until: Tensor, logits: Tensor, attention: Tensor | None) -> Tensor:
    """Attention without the columns after the last step that attends to them. Both arguments are written to.

    Args:
        until: (runs, groups or 1, columns), the last step of the chunk that attends to the column.
        logits: (runs, KV heads, query heads of the group, chunk, columns).
        attention: their softmax over all columns; None if it is not known.
    """
    step = torch.arange(logits.shape[3], device=logits.device)[:, None]
    attended = step <= until.to(logits.device)[:, :, None, None, :]
    if attention is not None:
        attention *= attended.to(attention.dtype)
        total = attention.sum(dim=-1, keepdim=True)
        if total.min() > VANISHING:
            return attention.div_(total)
    return logits.masked_fill_(~attended, -torch.inf).softmax(dim=-1)


def _on_cpu(values: Tensor, run: Run) -> Floats:
    """(KV heads, query heads of the group, chunk, columns) as (groups, query heads of the group, chunk, columns)."""
    on_cpu: Floats = values.cpu().numpy().reshape(run.groups, -1, *values.shape[2:])
    return on_cpu


def _grown(rows: Tensor, like: Tensor, slots: int) -> Tensor:
    """`rows` with room for `slots`; grows by more than is asked for, so that growing is rare."""
    have = rows.shape[2] if rows.numel() else 0
    if have >= slots:
        return rows
    grown = like.new_zeros(*like.shape[:2], slots + max(16, slots // 4), like.shape[3])
    if have:
        grown[:, :, :have] = rows
    return grown


def _stack(arrays: list[Ints], filler: int) -> Ints:
    """(groups, width) arrays of different groups and widths to one (runs, most groups, most width)."""
    groups, width = (max(array.shape[axis] for array in arrays) for axis in (0, 1))
    stacked = np.full((len(arrays), groups, width), filler, np.int64)
    for row, array in enumerate(arrays):
        stacked[row, :, : array.shape[1]] = array
    return stacked


def multi_state_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    multi_state: Batch | None = None,
    **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:
    """The attention function of every model we load; without `multi_state` it is transformers' own ("sdpa").

    Raises:
        UnsupportedModel: the architecture asks for something that changes the softmax.
    """
    if multi_state is None:
        ordinary: tuple[Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, sliding_window=sliding_window, **kwargs
        )
        return ordinary
    for keyword in REFUSED_KEYWORDS:
        if kwargs.get(keyword) is not None:
            raise UnsupportedModel(
                f"{type(module).__name__} changes its attention by {keyword!r}, which the policies here do not "
                "reproduce. Choose a model of another architecture."
            )
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    return multi_state.attend(module.layer_idx, query, key, value, scaling, sliding_window), None


AttentionInterface.register(ATTENTION, multi_state_attention)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)


def iter_replay(
    lm: "LanguageModel",
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
    lm: "LanguageModel",
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
    20 bytes per layer, group and token (180 MB for 300,000 tokens and 30 layers), and the trace, 16 more.

    Args:
        lm: the model.
        tokens: n tokens, at least 2: what `lm.encode` gives, or plain ids.
        policy: decides what is evicted.
        chunk: tokens per forward pass; any gives the same trace.
        prefill: ``"token-by-token"``, or ``"one-shot"`` to attend to the whole text and cut it once at its end, as
            the official TOVA code does with a prompt.
        positions: which positions the model is told. ``"original"``: each row keeps its position in the text, as in
            the official TOVA code. ``"in-cache"``: at every step the rows attended to are numbered 0, 1, 2 … by their
            order, as in StreamingLLM, so that a finite policy can read a text of any length. ``"log-gap"``: as
            original, but long gaps between the rows attended to shrink; see `core.rotary` for what is odd about it.
            A policy's attention is that of the positions told.
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
    _check_chunk(chunk)
    tokens = lm.as_tokens(tokens)
    batch = start_reading(
        lm, tokens, [policy], chunk=chunk, prefill=prefill, positions=positions, beyond_context=beyond_context
    )
    for _ in read_chunks(batch, tokens, chunk):
        pass
    return batch.runs[0].trace(lm.model_id, tokens)


def iter_generate(
    lm: "LanguageModel",
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
        lm: "LanguageModel",
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
        if isinstance(max_new_tokens, bool) or not isinstance(max_new_tokens, int) or max_new_tokens < 1:
            raise BadInput(f"The number of new tokens must be a whole number of at least 1, not {max_new_tokens!r}.")
        self.lm = lm
        self.tokens = lm.as_tokens(tokens)
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
    lm: "LanguageModel",
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
        tokens: the prompt, at least one token: what `lm.encode` gives, or plain ids.
        policies: one policy, or several: each writes its own text from its own multi-state.
        max_new_tokens: how many tokens each may write; a run ends early after it wrote an end-of-sequence token.
        temperature: 0 takes the most probable token.
        top_p: draw only from the most probable tokens that together have this probability.
        seed: of the draws; every policy draws with the same.
        chunk: tokens of the prompt per forward pass; any gives the same traces.
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
    _check_chunk(chunk)
    writers = _Writers(
        lm, tokens, policies, max_new_tokens, temperature, top_p, seed, chunk, prefill, positions, beyond_context
    )
    for _ in writers.write(chunk):
        pass
    traces = writers.traces()
    return traces if isinstance(policies, Sequence) else traces[0]


def attention_of(
    lm: "LanguageModel",
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
    _check_prompt(lm, tokens, n, [policy], None, "token-by-token", positions, beyond_context)
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
    lm: "LanguageModel",
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
    lm: "LanguageModel",
    tokens: Tokens,
    policies: Sequence[Policy],
    total: int,
    chunk: int | None,
    prefill: Prefill,
    positions: Positions,
    beyond_context: bool,
) -> Batch:
    """Runs with room for `total` tokens that are about to read these."""
    _check_prompt(lm, tokens, total, policies, chunk, prefill, positions, beyond_context)
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
    return Batch(lm, runs, late=_late(lm, positions))


def _late(lm: "LanguageModel", positions: Positions) -> LateRotation | None:
    return None if positions == "original" else LateRotation(lm.rotary, positions)


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


def _traces(lm: "LanguageModel", runs: list[Run], tokens: Tokens, written: list[list[int]]) -> list[Trace]:
    traces = []
    for run, new in zip(runs, written or [[]] * len(runs), strict=True):
        so_far = lm.continued(tokens, new) if new else tokens
        traces.append(run.trace(lm.model_id, so_far[: run.length]))
    return traces


def _check_prompt(
    lm: "LanguageModel",
    tokens: Tokens,
    total: int,
    policies: Sequence[Policy],
    chunk: int | None,
    prefill: str,
    positions: str,
    beyond_context: bool,
) -> None:
    if len(tokens) == 0:
        raise BadInput("The text is empty. Write or paste some text first.")
    lm.check_ids(tokens.ids)
    for name, value, known in (("prefill", prefill, Prefill), ("positions", positions, Positions)):
        if value not in get_args(known):
            raise BadInput(f"{name} must be one of {', '.join(get_args(known))}, not {value!r}.")
    if lm.context_length is not None and total > lm.context_length:
        at_once = len(tokens) if prefill == "one-shot" else 0
        _check_beyond(lm, lm.context_length, total, at_once, policies, positions, beyond_context)
    if chunk is not None:
        _check_chunk(chunk)
    for policy in policies:
        if isinstance(policy, Oracle):
            _check_foresight(lm, policy, tokens, total)


def _check_beyond(
    lm: "LanguageModel",
    limit: int,
    total: int,
    at_once: int,
    policies: Sequence[Policy],
    positions: str,
    beyond_context: bool,
) -> None:
    """Refuse to read `total` tokens, more than the limit, of which `at_once` are kept in any case, or warn."""
    too_long = f"{total:,} tokens are more than the {limit:,} that {lm.model_id} was trained to read. "
    shorten = f"Shorten the text by {total - limit:,} tokens, or ask for fewer new ones"
    if rotary_embedding(lm.model) is None:
        raise TextTooLong(f"{too_long}It has no positions beyond them. {shorten}.")
    if any(policy.budget is None for policy in policies):
        raise TextTooLong(f"{too_long}{shorten}; only a policy that evicts can read on.")
    if positions == "original":
        if not beyond_context:
            raise TextTooLong(
                f'{too_long}{shorten}. Or read on: with positions="in-cache", which numbers only the rows that are '
                "kept, or with beyond_context=True, at positions that the model has never seen."
            )
        warnings.warn(f"{too_long}Beyond them it meets positions that it has never seen.", stacklevel=2)
        return
    rows = max(at_once, *(policy.budget + 1 for policy in policies if policy.budget is not None))
    if rows > limit:
        raise TextTooLong(f"{too_long}As many as {rows:,} rows would be attended to at once. Lower the budget.")


def _check_foresight(lm: "LanguageModel", oracle: Oracle, tokens: Tokens, total: int) -> None:
    if total > len(tokens):
        raise BadInput(
            "The oracle knows the future only of a text that is there: it can read, but it cannot write. Choose "
            "another policy, or ask for no new tokens."
        )
    if oracle.model_id != lm.model_id or not np.array_equal(oracle.ids, tokens.ids):
        raise BadInput(
            f"This oracle foresaw another text, or the same under {oracle.model_id}. Call foresee for this model and "
            "this text."
        )


def _check_chunk(chunk: int) -> None:
    if isinstance(chunk, bool) or not isinstance(chunk, int) or chunk < 1:
        raise BadInput(f"chunk must be a whole number of at least 1, not {chunk!r}.")
