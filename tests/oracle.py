"""The truth the engine is held to: a finite multi-state, token by token, in plain Python. Slow and obvious.

The model's own modules do everything but the attention step. One token at a time goes through them; its query attends
to the rows kept so far and its own; then each decider evicts what it has too many of. Rows that are to stand elsewhere
than in the text are moved there from where the model has put them. A model may cap its logits, and its heads may have
sinks: a learned number each that stands among the logits of the softmax and is no row. What the rows are worth to the
policies beyond the paper's is told in `oracle_policies`. Nothing here comes from `core`.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface

from tests.oracle_policies import (
    DEFAULTS,
    IMPORTANCE,
    NEVER,
    Row,
    Sight,
    Vector,
    dot,
    margin,
    needs,
    remember,
    softmax,
    turned,
    turned_on_average,
)

# In all others the layer decides, or a setting says who.
PER_KV_HEAD = "h2o", "tova-head", "knorm", "keydiff", "observed", "snapkv", "decay", "raas", "rkv", "caote", "expected"


@dataclass
class Oracle:
    """A run. After `read`, `rows[layer][group][position]` tells each row's life and `logits[t]` what step t expects.

    Args:
        policy: its key.
        budget: the mean over all layers and deciders.
        n_sink: for ``window+i``.
        draw: for ``random``: (layer, step, position) -> importance.
        one_shot: how many tokens are read before anything is evicted; then everything above the budget goes.
        positions: where the rows are said to stand.
        settings: of the policies in `oracle_policies`; what is not told is as in its `DEFAULTS`.
        budgets: how the layers' rows are shared out: "uniform", "pyramid" or "adaptive".
        every: a decider evicts when it has so many rows too many.
        beta: for "pyramid": the last layer has the budget's so-manieth part.
        length: how many tokens are going to be read; `read` knows it by itself.
        n_layers: likewise.
    """

    policy: str
    budget: float = math.inf
    n_sink: int = 0
    draw: Callable[[int, int, int], float] | None = None
    one_shot: int = 0
    positions: str = "original"
    settings: Mapping[str, int] = field(default_factory=dict)
    budgets: str = "uniform"
    every: int = 1
    beta: int = 20
    length: int = 0
    n_layers: int = 1
    rows: list[list[list[Row]]] = field(default_factory=list)
    logits: list[torch.Tensor] = field(default_factory=list)
    closest: float = math.inf  # the narrowest margin by which something was decided; see `oracle_policies.margin`
    step: int = 0
    rope: dict[str, Any] | None = None  # theta, the part of a head that is turned, and how much stands before it
    queries: dict[tuple[int, int], list[Vector]] = field(default_factory=dict)  # (layer, query head): all, not turned

    def __post_init__(self) -> None:
        self.settings = {"n_sink": self.n_sink} | DEFAULTS.get(self.policy, {}) | dict(self.settings)
        self.per_kv_head = self.policy in PER_KV_HEAD or bool(self.settings.get("per_head"))

    @torch.inference_mode()
    def read(self, model: Any, ids: Sequence[int]) -> "Oracle":
        self.length, self.n_layers = len(ids), model.config.num_hidden_layers
        rope = getattr(model.config, "rope_parameters", None)
        if rope and rope.get("rope_type") == "default":  # else rows cannot be moved here
            self.rope = {"theta": rope["rope_theta"], "part": rope.get("partial_rotary_factor", 1.0)}
            if before := getattr(model.config, "qk_nope_head_dim", 0):
                of_rotary = model.config.qk_rope_head_dim
                self.rope |= {"part": of_rotary / (before + of_rotary), "before": before}
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

    # ---- attention

    def attend(
        self, layer: int, query: Any, key: Any, value: Any, scaling: float, window: float, cap: float = math.inf,
        sinks: Vector | None = None,
    ) -> list[list[float]]:  # fmt: skip
        """Query (query heads, d), key (KV heads, d), value (KV heads, e): the attention's output (query heads, e)."""
        kv_heads = range(len(key))
        deciders = [[head] for head in kv_heads] if self.per_kv_head else [list(kv_heads)]
        if layer == len(self.rows):
            self.rows.append([[] for _ in deciders])
        self.note_queries(layer, query)
        sights = []
        for group, heads in zip(self.rows[layer], deciders, strict=True):
            group.append(Row(self.step, {h: key[h] for h in heads}, {h: value[h] for h in heads}))
            sights.append(self.look(layer, group, heads, query, scaling, window, cap, sinks))
        for sight in sights:
            remember(self.policy, sight)
        if self.step >= self.one_shot - 1:
            self.evict_in(layer, sights)
        self.closest = min([self.closest, *(narrow for sight in sights for narrow in sight.margins)])
        return [output for sight in sights for output in sight.output]

    def look(
        self, layer: int, group: list[Row], heads: list[int], query: Any, scaling: float, window: float, cap: float,
        sinks: Vector | None,
    ) -> Sight:  # fmt: skip
        """The decider's queries attend to the rows that it holds; every row notes what it receives."""
        seen = [row for row in group if row.evicted_at == NEVER]
        places = self.places([row.position for row in seen])
        sharing = len(query) // (len(self.rows[layer]) * len(heads))
        asking = [q for q in range(len(query)) if q // sharing in heads]
        kv_head = [q // sharing - heads[0] for q in asking]
        keys = [[self.moved(row.key[h], row.position, at) for row, at in zip(seen, places, strict=True)] for h in heads]
        values = [[row.value[h] for row in seen] for h in heads]
        visible = [places[-1] - place < window for place in places]
        logits, attention, output = [], [], []
        for q, head in zip(asking, kv_head, strict=True):
            moved = self.moved(query[q], self.step, places[-1])
            logits.append(
                [
                    capped(dot(moved, of_row) * scaling, cap) if sees else -math.inf
                    for of_row, sees in zip(keys[head], visible, strict=True)
                ]
            )
            attention.append(softmax([*logits[-1], sinks[q]])[:-1] if sinks else softmax(logits[-1]))
            output.append([dot(attention[-1], column) for column in zip(*values[head], strict=True)])
        note(seen, attention, logits)
        held = [[self.held(row.key[h], row.position) for row in seen] for h in heads]
        foreseen = [self.foreseen(layer, q) for q in asking] if self.policy == "expected" else []
        return Sight(self.step, self.settings, seen, attention, held, values, output, kv_head, foreseen)

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

    def moved(self, vector: Vector, position: int, place: float) -> Vector:
        """A query or key of this position, as if it stood elsewhere."""
        return turned(vector, place - position, **self.rope) if self.rope and place != position else vector

    def held(self, key: Vector, position: int) -> Vector:
        """As the multi-state has it: not turned yet, where rows are told late where they stand."""
        return key if self.positions == "original" else self.moved(key, position, 0)

    def note_queries(self, layer: int, query: Any) -> None:
        for head, vector in enumerate(query):
            self.queries.setdefault((layer, head), []).append(self.moved(vector, self.step, 0))

    def foreseen(self, layer: int, head: int) -> list[Vector]:
        """Every query so far as it would be on average, were it asked at the coming positions."""
        queries = self.queries[layer, head]
        if not self.rope:
            return queries
        coming = range(self.step + 1, self.step + self.settings["future"] + 1)
        return [turned_on_average(query, coming, **self.rope) for query in queries]

    # ---- what the rows are worth

    def importances(self, layer: int, sight: Sight) -> Vector:
        if self.policy in IMPORTANCE:
            return IMPORTANCE[self.policy](sight)
        return [self.importance(layer, row, a) for row, a in zip(sight.rows, sight.mean_attention, strict=True)]

    def importance(self, layer: int, row: Row, mean_attention: float) -> float:
        match self.policy:
            case "full":
                return math.inf
            case "window":
                return row.position
            case "window+i":
                return math.inf if row.position < self.settings["n_sink"] else row.position
            case "h2o":
                n_recent = self.layer_budgets()[layer] // 2
                return math.inf if row.position > self.step - n_recent else row.accumulated
            case "tova" | "tova-head":
                return mean_attention
            case "random":
                return self.draw(layer, self.step, row.position)
        raise ValueError(self.policy)

    # ---- how many rows stay

    def layer_budgets(self) -> list[float]:
        """Every layer's budget; they differ in a pyramid only, and only if the policy can work with the smallest."""
        alike = [self.budget] * self.n_layers
        if self.budgets != "pyramid" or self.n_layers == 1 or self.budget == math.inf:
            return alike
        least = max(1, self.budget / self.beta)
        most = 2 * self.budget - least
        if most > self.length:
            most, least = self.length, 2 * self.budget - self.length
        if most < least or (self.policy in ("snapkv", "rkv") and least < self.settings["window"]):
            return alike
        pyramid = [round(most - i * (most - least) / (self.n_layers - 1)) for i in range(self.n_layers)]
        return pyramid if min(pyramid) > needs(self.policy, self.settings) else alike

    def evict_in(self, layer: int, sights: list[Sight]) -> None:
        """Those that have too many rows evict: every decider for itself, or all of the layer together."""
        budget = self.layer_budgets()[layer]
        spare = 1 if self.step == self.one_shot - 1 else self.every
        together = [sights] if self.budgets == "adaptive" else [[sight] for sight in sights]
        for deciders in together:
            if sum(len(sight.rows) for sight in deciders) >= len(deciders) * (budget + spare):
                floor = max(1, budget // 5) if self.budgets == "adaptive" else budget
                self.evict(deciders, [self.importances(layer, sight) for sight in deciders], budget, floor)

    def evict(self, deciders: list[Sight], importances: list[Vector], budget: float, floor: float) -> None:
        """The lowest go, ties: the oldest, then the first head's; none from a decider that is down to the floor."""
        held = [len(sight.rows) for sight in deciders]
        ranked = sorted(
            (importance, row.position, head)
            for head, (sight, of_head) in enumerate(zip(deciders, importances, strict=True))
            for row, importance in zip(sight.rows, of_head, strict=True)
        )
        evicted, staying = [], []
        for importance, position, head in ranked:
            if sum(held) > len(deciders) * budget and held[head] > floor:
                held[head] -= 1
                evicted.append((importance, position, head))
            else:
                staying.append(importance)
        for importance, position, head in evicted:
            (row,) = (row for row in deciders[head].rows if row.position == position)
            row.evicted_at, row.importance, row.runner_up = self.step, importance, staying[0]
        self.closest = min(self.closest, margin(self.policy, [importance for importance, _, _ in evicted], staying))


def note(rows: list[Row], attention: list[Vector], logits: list[Vector]) -> None:
    """What the rows receive of one step's query heads."""
    for row, received, of_row in zip(rows, zip(*attention, strict=True), zip(*logits, strict=True), strict=True):
        row.accumulated += sum(received)
        row.received += sum(received) / len(received)
        row.votes.append(sum(received) / len(received))
        row.logits.append(max(of_row))


def capped(logit: float, cap: float) -> float:
    return logit if cap == math.inf else math.tanh(logit / cap) * cap


def _attention(
    module: Any, query: Any, key: Any, value: Any, attention_mask: Any, *, scaling: float, oracle: Oracle, **kwargs: Any
) -> tuple[Any, None]:
    window, cap = kwargs.get("sliding_window") or math.inf, kwargs.get("softcap") or math.inf
    q, k, v = (states[0, :, 0].tolist() for states in (query, key, value))
    sinks = None if kwargs.get("s_aux") is None else kwargs["s_aux"].tolist()
    output = oracle.attend(module.layer_idx, q, k, v, scaling, window, cap, sinks)
    return query.new_tensor(output)[None, None], None


AttentionInterface.register("oracle", _attention)
AttentionMaskInterface.register("oracle", lambda *args, **kwargs: None)
