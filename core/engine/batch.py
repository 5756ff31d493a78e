"""The multi-states of every layer, one per run, and the attention over them.

Layer l at step t depends only on layer l-1 at steps up to t, so a *chunk* of tokens can go through the model in one
forward pass. In each layer, one matrix product gives the logits of all queries of the chunk, a light loop over the
steps picks the row that each step evicts (see `core.engine.eviction`), and one masked softmax gives the attention. If
the chunk is a single token and no run needs more than attention (`Run.by_token`), all layers decide in one call after
the pass.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from core.engine.eviction import VANISHING, Computed
from core.engine.layer_attention import LayerAttention, Shares, at_least_float32
from core.engine.multi_state import FREE, Run
from core.engine.rotation import Distances, LateLogits, LateRotation, Rotary, TurnedBack
from core.engine.text_length import text_of
from core.errors import OutOfMemory, UnsupportedModel
from core.model.language_model import LanguageModel
from core.policies import Floats, Ints, Rows

Projections: TypeAlias = tuple[Tensor, Tensor, Tensor]
"""The query, key and value of a chunk in one layer, as `Batch.attend` gets them; the query's heads by KV head."""

Watch: TypeAlias = Callable[[int, range, list[Ints], Tensor], None]
"""Called with a layer, a chunk, the positions of the columns (groups, columns) of each run, and the attention (runs,
KV heads, query heads of the group, chunk, columns). The arrays may be overwritten later: copy what you keep."""


class _DeepEnough(Exception):
    """Ends the forward pass after the last layer that is wanted."""


class Batch:
    """The keys and values of several runs that go through one model in lockstep, one batch row per run.

    Attributes:
        runs: the runs, each with its own policy.
        layers: how many layers the runs go through. If fewer than the model has, there are no logits.
        kv_heads: how many KV heads each layer has.
        keys, values: per layer, (runs, KV heads, slots, head size), where values may have another size than keys;
            `Run.positions` says which token each slot holds. While `in_common`, the first axis has length 1.
        in_common: whether all runs still hold the same rows: they have read the same text and evicted nothing.
        watch: called with the attention of every layer that is run; see `attention_of`.
        late: turns keys just before a query attends to them, so that the keys held are not turned yet (see
            `core.engine.rotation`). None if the model turns them itself, by their positions in the text.
        rotary: the model's rotary embedding, if a policy looks at queries as they were before it.
    """

    def __init__(
        self,
        lm: LanguageModel,
        runs: list[Run],
        watch: Watch | None = None,
        late: LateRotation | None = None,
        rotary: Rotary | None = None,
    ) -> None:
        self.lm = lm
        self.runs = runs
        self.layers = runs[0].layers
        self.kv_heads = lm.n_kv_heads
        self.watch = watch
        self.late = late
        self.rotary = rotary
        self._turned_back = None if rotary is None else TurnedBack(rotary)
        empty = torch.empty(0)
        self.keys: list[Tensor] = [empty] * self.layers
        self.values: list[Tensor] = [empty] * self.layers
        self.in_common = len(runs) > 1
        self._chunk = range(0)
        self._by_token = False  # whether the chunk is a token that all layers read before any of them decides
        self._mask = empty  # of the chunk's shape, see `_not_yet`
        self._layers_seen = 0
        self._slots: list[Tensor] = []  # per layer (runs, KV heads, 1, 1), the slot of the token being read
        self._width, self._unequal = 0, False  # the most slots of any run, and whether another run has fewer
        self._attention: list[Tensor] = []  # per layer (runs, KV heads, query heads of the group, slots)
        self._places: Ints = np.empty(0, np.int64)  # (layers, runs, groups or 1, slots), positions, or FREE
        self._distances: Distances = np.empty(0)  # of the same shape, with late rotation; `_turns` are their turns
        self._turns: tuple[Tensor, Tensor] = (empty, empty)
        self._hidden: dict[int | None, Tensor] = {}  # see `_hidden_slots`

    @torch.inference_mode()
    def read(self, ids: Tensor, chunk: range) -> Tensor:
        """Read the tokens `ids` at the positions `chunk`: (runs, chunk), or (1, chunk) if all runs read the same.

        Returns:
            The logits (runs, chunk, vocabulary); empty if `layers` is less than the model has.
        """
        self._chunk, self._layers_seen = chunk, 0
        self.in_common = self.in_common and len(ids) == 1 and len(chunk) > 1 and chunk[-1] < self.common_until()
        if not self.in_common:
            ids = ids.expand(len(self.runs), -1)
        self._by_token = len(chunk) == 1 and all(run.by_token for run in self.runs)
        if self._by_token:
            self._place_token()
        positions = torch.arange(chunk.start, chunk.stop, device=ids.device).expand(ids.shape)
        if self.late is not None:
            positions = torch.zeros_like(positions)
        try:
            with text_of(len(self.runs[0].nll)):
                logits: Tensor = self.lm.model(ids, position_ids=positions, use_cache=False, multi_state=self).logits
        except _DeepEnough:
            logits = torch.empty(0)
        except (MemoryError, torch.OutOfMemoryError) as e:
            raise OutOfMemory(
                "Reading {tokens} tokens under {policies} policies does not fit the memory. Shorten the text, choose "
                "fewer policies or a smaller model.",
                tokens=len(chunk),
                policies=len(self.runs),
            ) from e
        if self._layers_seen != self.layers:
            raise UnsupportedModel(
                "{model} called our attention in {seen} of {layers} layers, so a picture of it would be fiction. "
                "Choose a model of another architecture; if its attention was set to another one after it was loaded, "
                "load it again.",
                model=self.lm.model_id,
                seen=self._layers_seen,
                layers=self.layers,
            )
        if self._by_token:
            self._decide_token()
        else:
            for run in self.runs:
                run.finish_chunk(chunk)
        return logits.expand(len(self.runs), *logits.shape[1:]) if self.in_common else logits

    def common_until(self) -> int:
        """The first step at which one of the runs evicts a row."""
        return min(run.evicts_from() for run in self.runs)

    def keep_runs(self, rows: list[int]) -> None:
        """Drop all runs but those with these indices."""
        self.runs = [self.runs[row] for row in rows]
        self.keys = [keys[rows] for keys in self.keys]
        self.values = [values[rows] for values in self.values]

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, of: LayerAttention) -> Tensor:
        """Attention of one layer over the multi-states.

        Args:
            layer: the layer, from 0.
            query: (runs, query heads, chunk, head size), turned by its position unless `late` does that.
            key: (runs, KV heads, chunk, head size), turned like the query.
            value: (runs, KV heads, chunk, size of values).
            of: how the layer attends.

        Returns:
            (runs, chunk, query heads, size of values).
        """
        self._layers_seen += 1
        for run in self.runs:
            run.sliding_windows[layer] = of.window or 0
        if not self.in_common and 0 < len(self.keys[layer]) < len(self.runs):
            self.keys[layer] = self.keys[layer].repeat(len(self.runs), 1, 1, 1)
            self.values[layer] = self.values[layer].repeat(len(self.runs), 1, 1, 1)
        runs, query_heads, count, size = query.shape
        kv_heads = key.shape[1]
        if kv_heads != self.kv_heads:
            raise UnsupportedModel(
                "{model} has {found} KV heads where its configuration says {said}. Correct its configuration, or "
                "choose another model.",
                model=self.lm.model_id,
                found=kv_heads,
                said=self.kv_heads,
            )
        query = query.reshape(runs, kv_heads, (query_heads // kv_heads) * count, size)
        if of.window is not None and self._chunk.stop <= of.window:
            of = replace(of, window=None)
        attend = self._attend_token if self._by_token else self._attend_chunk
        output = attend(layer, query, key, value, of)
        if self._layers_seen == self.layers < self.lm.n_layers:
            raise _DeepEnough
        output = output.reshape(runs, query_heads, count, value.shape[3])
        return output.transpose(1, 2).contiguous()  # the layout of transformers

    # Reading a chunk: the columns are the slots, then the tokens of the chunk.

    def _attend_chunk(self, layer: int, query: Tensor, key: Tensor, value: Tensor, of: LayerAttention) -> Tensor:
        count, new = len(self._chunk), (query, key, value)
        if layer_has_rows := self.keys[layer].numel() > 0:
            slots = max(run.slots for run in self.runs)
            key = torch.cat([self.keys[layer][:, :, :slots], key], dim=2)
            value = torch.cat([self.values[layer][:, :, :slots], value], dim=2)
        offset = key.shape[2] - count
        positions = [run.column_positions(layer, offset, self._chunk) for run in self.runs]
        logits = self._chunk_logits(query, key, of, positions)
        evicts = any(run.evicts_in(self._chunk) for run in self.runs)
        if evicts and self.late is not None:
            until, kept = self._decide_late(layer, positions, logits, new, key, of)
            attention = _attended(until, logits, of, None)
        else:
            shares = of.shares(logits)
            until, kept = self._decide_chunk(layer, positions, _Weighed(logits, of.sinks, shares), new)
            attention = _attended(until, logits, of, shares) if evicts else shares.attention
            del shares
        del logits
        self._receive(layer, positions, attention)
        output: Tensor = attention.to(value.dtype).flatten(2, 3) @ value

        if kept is not None:
            key, value = _taken(key, kept), _taken(value, kept)
        elif not layer_has_rows:
            key, value = key.clone(), value.clone()  # else these views keep the model's whole projections in memory
        self.keys[layer], self.values[layer] = key, value
        return output

    def _chunk_logits(self, query: Tensor, key: Tensor, of: LayerAttention, positions: list[Ints]) -> Tensor:
        """The logits (runs, KV heads, query heads of the group, chunk, columns) as if the chunk evicted nothing.

        They are minus infinity at free slots, at later tokens, and beyond the model's own window. With late rotation
        they are right only up to the first eviction; `LateLogits` renews the others.
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
        logits = of.logits(query, key, self._not_yet(query, key))
        logits = logits.view(*logits.shape[:2], -1, count, logits.shape[3])
        if free.any():
            hidden = torch.from_numpy(free).to(logits.device)
            logits[..., :-count].masked_fill_(hidden[:, :, None, None], -torch.inf)
        if of.window is not None:
            of_columns = torch.from_numpy(places).to(logits.device)
            beyond = of_columns[:, :, -count:, None] - of_columns[:, :, None, :] >= of.window
            logits.masked_fill_(beyond[:, :, None], -torch.inf)
        return logits

    def _not_yet(self, query: Tensor, key: Tensor) -> Tensor:
        """(queries, columns): minus infinity where the column's token comes after the query's, else 0. Cached."""
        count, shape = len(self._chunk), (query.shape[2], key.shape[2])
        if self._mask.shape != shape or self._mask.device != key.device:
            later = torch.full((count, count), -torch.inf, dtype=at_least_float32(key), device=key.device).triu(1)
            mask = torch.nn.functional.pad(later, (shape[1] - count, 0))
            self._mask = mask.repeat(shape[0] // count, 1)
        return self._mask

    def _decide_chunk(
        self,
        layer: int,
        positions: list[Ints],
        weighed: "_Weighed",
        new: Projections,
        late: Sequence[LateLogits | None] = (),
    ) -> tuple[Tensor, Tensor | None]:
        """`Run.decide_chunk` for every run: until (runs, groups or 1, columns); kept (runs, KV heads, rows) or None.

        None means that every column is kept.
        """
        untils, keeps = [], []
        for row, run in enumerate(self.runs):
            attention, to_sinks = weighed.shares_of(row, run)
            computed = Computed(
                partial(weighed.logits_of, row, run),
                partial(self._rows_of, new, row, run),
                partial(self._queries_of, new, row, run),
                attention,
                late[row] if late else None,
                self._turned_back if run.needs.queries else None,
                weighed.sinks_of(run),
                to_sinks,
            )
            with run.clock():
                decided = run.decide_chunk(layer, positions[row], self._chunk, computed)
            untils.append(decided[0])
            keeps.append(decided[1])
        kv_heads, columns = weighed.logits.shape[1], weighed.logits.shape[-1]
        until = torch.from_numpy(_stack(untils, FREE))
        if all(kept is None for kept in keeps):
            return until, None
        index = _stack([np.arange(columns)[None] if kept is None else kept for kept in keeps], 0)
        return until, torch.from_numpy(index).expand(-1, kv_heads, -1)

    def _rows_of(self, new: Projections, row: int, run: Run) -> Rows:
        """The keys and values of the chunk's tokens, for one run."""
        _query, *both = new
        keys, values = (of[min(row, len(of) - 1)].float().cpu().numpy() for of in both)
        split = run.groups, -1
        return Rows(
            (run.groups, keys.shape[1]),
            keys.reshape(*split, *keys.shape[1:]),
            values.reshape(*split, *values.shape[1:]),
        )

    def _queries_of(self, new: Projections, row: int, run: Run) -> Floats:
        """The queries of the chunk's tokens before the rotary embedding, for one run; see `Computed.queries`."""
        query = new[0][min(row, len(new[0]) - 1)]
        query = query.reshape(run.groups, -1, len(self._chunk), query.shape[-1])
        assert self.rotary is not None
        before: Tensor = self.rotary.turned(query.float(), *self.rotary.turns(np.array(self._chunk)))
        return before.cpu().numpy().transpose(2, 0, 1, 3)

    def _decide_late(
        self,
        layer: int,
        positions: list[Ints],
        logits: Tensor,
        new: Projections,
        key: Tensor,
        of: LayerAttention,
    ) -> tuple[Tensor, Tensor | None]:
        """`_decide_chunk` with late rotation, where every eviction changes the later logits; it computes them again."""
        late, query = self.late, new[0]
        assert late is not None
        queries = late.queries(query.reshape(*query.shape[:2], -1, len(self._chunk), query.shape[3]), of.scaling)
        keys, on_cpu = late.keys(key), logits.cpu()
        renewed = [
            LateLogits(late, _on_cpu(on_cpu[row], run), queries[row], keys[row], of)
            if run.evicts_in(self._chunk)
            else None
            for row, run in enumerate(self.runs)
        ]
        decided = self._decide_chunk(layer, positions, _Weighed(on_cpu, of.sinks, None), new, renewed)
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

    # Reading a single token: it is written into a free slot, and all layers decide after the pass.

    def _place_token(self) -> None:
        shape = (self.layers, self.kv_heads)
        placed = [np.broadcast_to(run.place_token(self._chunk.start), shape) for run in self.runs]
        self._slots = list(torch.from_numpy(np.stack(placed, axis=1))[..., None, None])
        self._width = max(run.slots for run in self.runs)
        self._unequal = any(run.slots != self._width for run in self.runs)
        self._attention = []
        self._hidden = {}
        self._places = _stack([run.positions for run in self.runs], FREE).swapaxes(0, 1)
        if self.late is not None:
            self._distances = self.late.distances(self._places)
            self._turns = self.late.rotary.turns(self._distances)

    def _attend_token(self, layer: int, query: Tensor, key: Tensor, value: Tensor, of: LayerAttention) -> Tensor:
        slots = self._width
        index = self._slots[layer].to(key.device)
        keys = self.keys[layer] = _grown(self.keys[layer], key, slots).scatter_(2, index.expand_as(key), key)
        values = self.values[layer] = _grown(self.values[layer], value, slots)
        values.scatter_(2, index.expand_as(value), value)
        keys, values = keys[:, :, :slots], values[:, :, :slots]
        if self.late is not None:
            keys = self.late.rotary.turned(keys, *(turns[layer] for turns in self._turns))
        mask = None
        if self._unequal or of.window is not None:
            mask = self._hidden_slots(of.window, keys)[layer].to(keys.device)
        attention = of.shares(of.logits(query, keys, mask)).attention
        self._attention.append(attention)
        output = torch.bmm(attention.to(value.dtype).flatten(0, 1), values.flatten(0, 1))
        return output.view(*query.shape[:3], value.shape[3])

    def _hidden_slots(self, window: int | None, like: Tensor) -> Tensor:
        """(layers, runs · KV heads, 1, slots): minus infinity at slots that are free or beyond a window, else 0.

        It is made for all layers at once, when the first layer with this window asks for it.
        """
        if window not in self._hidden:
            hidden = self._places == FREE
            if window is not None:
                distances = self._chunk.start - self._places if self.late is None else self._distances
                hidden |= distances >= window
            mask = np.where(hidden, -np.inf, 0.0).repeat(self.kv_heads // hidden.shape[2], axis=2)
            mask = mask.reshape(self.layers, -1, 1, self._width)
            self._hidden[window] = torch.from_numpy(mask).to(like.device, at_least_float32(like))
        return self._hidden[window]

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
        """Take out several rows at once, as after a one-shot prompt; each entry is what `Run.decide_token` returns."""
        everything = [np.arange(run.slots)[None, None].repeat(self.layers, axis=0) for run in self.runs]
        kept = [all_ if cut is None else cut for cut, all_ in zip(cuts, everything, strict=True)]
        for layer in range(self.layers):
            index = torch.from_numpy(_stack([own[layer] for own in kept], 0)).expand(-1, self.kv_heads, -1)
            self.keys[layer] = _taken(self.keys[layer], index)
            self.values[layer] = _taken(self.values[layer], index)


@dataclass(frozen=True)
class _Weighed:
    """What the runs are shown of one layer's softmax over a chunk.

    Attributes:
        logits: (runs, KV heads, query heads of the group, chunk, columns); of one run if they are `in_common`.
        sinks: (query heads,) the logits of the layer's sinks, if it has any.
        shares: the softmax over all columns up to the step; None if it is not known.
    """

    logits: Tensor
    sinks: Tensor | None
    shares: Shares | None

    def logits_of(self, row: int, run: Run) -> Floats:
        return _on_cpu(self.logits[min(row, len(self.logits) - 1)], run)

    def sinks_of(self, run: Run) -> Floats | None:
        """(groups, query heads of the group)."""
        if self.sinks is None:
            return None
        sinks: Floats = self.sinks.float().cpu().numpy().reshape(run.groups, -1)
        return sinks

    def shares_of(self, row: int, run: Run) -> tuple[Floats | None, Floats | None]:
        """The attention, and what goes to the sinks, if there are any and the run's policy reads attention."""
        if self.shares is None or not run.policy.reads_attention:
            return None, None
        attention, to_sinks = self.shares.attention, self.shares.to_sinks
        row = min(row, len(attention) - 1)
        return _on_cpu(attention[row], run), None if to_sinks is None else _on_cpu(to_sinks[row], run)


def _taken(rows: Tensor, kept: Tensor) -> Tensor:
    """The rows (runs, KV heads, rows, size) that are kept, by their numbers (runs, KV heads, kept)."""
    return rows.gather(2, kept.to(rows.device)[..., None].expand(-1, -1, -1, rows.shape[3]))


def _attended(until: Tensor, logits: Tensor, of: LayerAttention, known: Shares | None) -> Tensor:
    """The attention of every step over the columns that it attends to. Overwrites `logits` or the known attention.

    Args:
        until: (runs, groups or 1, columns), the last step of the chunk that attends to the column.
        logits: (runs, KV heads, query heads of the group, chunk, columns).
        of: how the layer attends.
        known: the softmax of the logits over all columns; None if it is not known.
    """
    step = torch.arange(logits.shape[3], device=logits.device)[:, None]
    attended = step <= until.to(logits.device)[:, :, None, None, :]
    if known is not None:
        attention = known.attention.mul_(attended.to(logits.dtype))
        total = attention.sum(dim=-1, keepdim=True)
        if known.to_sinks is not None:
            total += known.to_sinks
        if total.min() > VANISHING:
            return attention.div_(total)
    return of.shares(logits.masked_fill_(~attended, -torch.inf)).attention


def _on_cpu(values: Tensor, run: Run) -> Floats:
    """Logits or attention of one run (KV heads, query heads, chunk, columns) with the KV heads of a group joined."""
    on_cpu: Floats = values.cpu().numpy().reshape(run.groups, -1, *values.shape[2:])
    return on_cpu


def _grown(rows: Tensor, like: Tensor, slots: int) -> Tensor:
    """`rows` with room for at least `slots`. It grows by a quarter at a time, since growing copies everything."""
    have = rows.shape[2] if rows.numel() else 0
    if have >= slots:
        return rows
    grown = like.new_zeros(*like.shape[:2], slots + max(16, slots // 4), like.shape[3])
    if have:
        grown[:, :, :have] = rows
    return grown


def _stack(arrays: list[Ints], filler: int) -> Ints:
    """One array (runs, …, most groups, greatest width) of several (…, groups or 1, width), filled up with `filler`."""
    groups, width = (max(array.shape[axis] for array in arrays) for axis in (-2, -1))
    stacked = np.full((len(arrays), *arrays[0].shape[:-2], groups, width), filler, np.int64)
    for row, array in enumerate(arrays):
        stacked[row, ..., : array.shape[-1]] = array
    return stacked
