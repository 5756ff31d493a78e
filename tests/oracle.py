"""The truth the engine is held to: a finite multi-state, token by token, in plain Python. Slow and obvious.

The model's own modules do everything but the attention step. One token at a time goes through them; its query attends
to the rows kept so far and its own; then each decider evicts what it has too many of. Rows that are to stand elsewhere
than in the text are moved there from where the model has put them. Nothing here comes from `core`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface

NEVER = 2**31 - 1
PER_KV_HEAD = ("h2o", "tova-head")


@dataclass
class Row:
    """One token in one decider's multi-state, and what has happened to it; keys and values by KV head."""

    position: int
    key: dict[int, list[float]]
    value: dict[int, list[float]]
    accumulated: float = 0.0
    received: float = 0.0
    evicted_at: int = NEVER
    importance: float = math.nan
    runner_up: float = math.nan


@dataclass
class Oracle:
    """A run. After `read`, `rows[layer][group][position]` tells each row's life and `logits[t]` what step t expects.

    Args:
        policy: its key.
        draw: for ``random``: (layer, step, position) -> importance.
        one_shot: how many tokens are read before anything is evicted.
        positions: where the rows are said to stand.
    """

    policy: str
    budget: float = math.inf
    n_sink: int = 0
    draw: Callable[[int, int, int], float] | None = None
    one_shot: int = 0
    positions: str = "original"
    rows: list[list[list[Row]]] = field(default_factory=list)
    logits: list[torch.Tensor] = field(default_factory=list)
    closest: float = math.inf  # the narrowest margin between the last row evicted and the first spared, relative
    step: int = 0
    turn: Callable[[list[float], float], list[float]] | None = None

    @torch.inference_mode()
    def read(self, model: Any, ids: Sequence[int]) -> "Oracle":
        if self.positions != "original":
            rope = model.config.rope_parameters
            self.turn = partial(turned, theta=rope["rope_theta"], part=rope.get("partial_rotary_factor", 1.0))
        for self.step, token in enumerate(ids):
            out = model(torch.tensor([[token]]), position_ids=torch.tensor([[self.step]]), use_cache=False, oracle=self)
            self.logits.append(out.logits[0, -1])
        return self

    def nll(self, ids: Sequence[int]) -> list[float]:
        pairs = zip(self.logits[:-1], ids[1:], strict=True)
        return [math.nan, *(-float(torch.log_softmax(logits, -1)[token]) for logits, token in pairs)]

    def lives(self, name: str) -> list[list[list[Any]]]:
        """(layers, groups, n) of one attribute of the rows, e.g. ``evicted_at``."""
        return [[[getattr(row, name) for row in group] for group in layer] for layer in self.rows]

    def attend(self, layer: int, query: Any, key: Any, value: Any, scaling: float, window: float) -> list[list[float]]:
        """Query (query heads, d), key and value (KV heads, d): the attention's output (query heads, d)."""
        sharing = len(query) // len(key)
        kv_heads = range(len(key))
        deciders = [[head] for head in kv_heads] if self.policy in PER_KV_HEAD else [list(kv_heads)]
        if layer == len(self.rows):
            self.rows.append([[] for _ in deciders])
        output = []
        for group, heads in zip(self.rows[layer], deciders, strict=True):
            group.append(Row(self.step, {h: key[h] for h in heads}, {h: value[h] for h in heads}))
            seen = [row for row in group if row.evicted_at == NEVER]
            places = self.places([row.position for row in seen])
            keys = [
                {head: self.moved(key, row.position, place) for head, key in row.key.items()}
                for row, place in zip(seen, places, strict=True)
            ]
            queries = [q for q in range(len(query)) if q // sharing in heads]
            attention = []
            for q in queries:
                asking = self.moved(query[q], self.step, places[-1])
                logits = [
                    sum(a * b for a, b in zip(asking, of_row[q // sharing], strict=True)) * scaling
                    if places[-1] - place < window
                    else -math.inf
                    for of_row, place in zip(keys, places, strict=True)
                ]
                exps = [math.exp(logit - max(logits)) for logit in logits]
                attention.append([e / sum(exps) for e in exps])
                values = zip(*(row.value[q // sharing] for row in seen), strict=True)
                output.append([sum(a * v for a, v in zip(attention[-1], column, strict=True)) for column in values])
            for row, received in zip(seen, zip(*attention, strict=True), strict=True):
                row.accumulated += sum(received)
                row.received += sum(received) / len(queries)
            if self.step >= self.one_shot - 1:
                means = [sum(received) / len(queries) for received in zip(*attention, strict=True)]
                self.evict(seen, [self.importance(layer, row, mean) for row, mean in zip(seen, means, strict=True)])
        return output

    def places(self, positions: list[int]) -> list[float]:
        """Where the rows at these positions, the query's own last, are said to stand."""
        match self.positions:
            case "original":
                return positions
            case "in-cache":
                return list(range(len(positions)))
            case "log-gap":
                places = [float(positions[0])]
                for one, following in pairwise(positions):
                    gap = following - one
                    places.append(places[-1] + (math.log(math.log(gap)) if gap > 10 else gap))
                return places
        raise ValueError(self.positions)

    def moved(self, vector: list[float], position: int, place: float) -> list[float]:
        return vector if place == position else self.turn(vector, place - position)

    def importance(self, layer: int, row: Row, mean_attention: float) -> float:
        match self.policy:
            case "full":
                return math.inf
            case "window":
                return row.position
            case "window+i":
                return math.inf if row.position < self.n_sink else row.position
            case "h2o":
                return math.inf if row.position > self.step - self.budget // 2 else row.accumulated
            case "tova" | "tova-head":
                return mean_attention
            case "random":
                return self.draw(layer, self.step, row.position)
        raise ValueError(self.policy)

    def evict(self, seen: list[Row], importance: list[float]) -> None:
        if len(seen) <= self.budget:
            return
        ranked = sorted(zip(importance, [row.position for row in seen], seen, strict=True), key=lambda r: r[:2])
        n_evicted = len(seen) - int(self.budget)
        runner_up = ranked[n_evicted][0]
        for lowest, _, row in ranked[:n_evicted]:
            row.evicted_at, row.importance, row.runner_up = self.step, lowest, runner_up
        if 0 < runner_up < math.inf:  # rows beyond a sliding window tie at exactly 0 in any precision
            self.closest = min(self.closest, 1 - ranked[n_evicted - 1][0] / runner_up)


def turned(vector: list[float], by: float, theta: float, part: float) -> list[float]:
    """A query or key moved by so many positions: number i of the first half of its rotary part, and of the second."""
    half = int(part * len(vector)) // 2
    moved = list(vector)
    for i in range(half):
        angle = by * theta ** (-i / half)
        a, b = vector[i], vector[i + half]
        moved[i] = a * math.cos(angle) - b * math.sin(angle)
        moved[i + half] = a * math.sin(angle) + b * math.cos(angle)
    return moved


def _attention(
    module: Any, query: Any, key: Any, value: Any, attention_mask: Any, *, scaling: float, oracle: Oracle, **kwargs: Any
) -> tuple[Any, None]:
    window = kwargs.get("sliding_window") or math.inf
    q, k, v = (states[0, :, 0].tolist() for states in (query, key, value))
    output = oracle.attend(module.layer_idx, q, k, v, scaling, window)
    return query.new_tensor(output)[None, None], None


AttentionInterface.register("oracle", _attention)
AttentionMaskInterface.register("oracle", lambda *args, **kwargs: None)
