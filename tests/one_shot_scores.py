"""Which rows published code keeps when it reads a prompt whole and cuts once: NVIDIA's kvpress, from its formulas.

A second truth beside the oracle, with whole tensors where that goes token by token, so that a formula misread once is
not misread twice. A model's own modules compute everything but the attention, which is noted on the way. Nothing here
comes from `core`, and no code from kvpress.

Shapes: G KV heads, g query heads of each, n tokens, d the head size.
"""

import math
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import avg_pool1d, normalize, pad
from transformers import AttentionInterface, AttentionMaskInterface


@dataclass
class Noted:
    """One layer's attention to a prompt: queries (G, g, n, d), keys and values (G, n, d), attention (G, g, n, n).

    Queries and keys are turned by the rotary embedding; `rope` has its theta and the part of the head it turns.
    """

    queries: Tensor
    keys: Tensor
    values: Tensor
    attention: Tensor
    rope: tuple[float, float] | None


@torch.inference_mode()
def note(model: Any, ids: Sequence[int]) -> list[Noted]:
    """Every layer of one plain forward pass; for models without a sliding window."""
    layers: list[Noted] = []
    rope = getattr(model.config, "rope_parameters", None)
    turns = rope and (rope["rope_theta"], rope.get("partial_rotary_factor", 1.0))
    with attending(model, "noted"):
        model(torch.tensor([ids]), use_cache=False, noted=layers)
    for layer in layers:
        layer.rope = turns
    return layers


@contextmanager
def attending(model: Any, how: str) -> Any:
    before = model.config._attn_implementation
    model.set_attn_implementation(how)
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def _attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Any, *, scaling: float, noted: list[Noted],
    **kwargs: Any,
) -> tuple[Tensor, None]:  # fmt: skip
    assert not kwargs.get("sliding_window") or kwargs["sliding_window"] >= key.shape[2]
    n_kv_heads, n, size = key.shape[1:]
    queries = query[0].view(n_kv_heads, -1, n, size)
    logits = queries @ key[0, :, None].mT * scaling
    future = torch.ones(n, n, dtype=torch.bool).triu(1)
    attention = logits.masked_fill(future, -math.inf).softmax(-1)
    noted.append(Noted(queries, key[0], value[0], attention, None))
    output = (attention @ value[0, :, None]).view(query.shape)
    return output.transpose(1, 2), None


AttentionInterface.register("noted", _attention)
AttentionMaskInterface.register("noted", lambda *args, **kwargs: None)


# ---- scores (G, n): the lowest go


def knorm(layer: Noted) -> Tensor:
    return -layer.keys.norm(dim=-1)


def keydiff(layer: Noted) -> Tensor:
    units = normalize(layer.keys, dim=-1)
    return -(units * normalize(units.mean(1, keepdim=True), dim=-1)).sum(-1)


def observed(layer: Noted) -> Tensor:
    """A row was seen by its own query and all after it."""
    n = layer.keys.shape[1]
    return layer.attention.sum(-2).mean(1) / torch.arange(n, 0, -1)


def snapkv(layer: Noted, window: int, kernel: int) -> Tensor:
    """The last queries' attention to what is older, pooled; zeros beyond the ends count."""
    votes = layer.attention[:, :, -window:, :-window].mean(2)
    pooled = avg_pool1d(votes, kernel, stride=1, padding=kernel // 2, count_include_pad=True)
    return pad(pooled.mean(1), (0, window), value=math.inf)


def expected(layer: Noted, n_sink: int, future: int) -> Tensor:
    """Attention that queries spread like those so far would give on average at the positions to come.

    Of a normal distribution, the mean of exp(k · q / √d) is exp(k · μ / √d + kᵀΣk / 2d).
    """
    n, size = layer.keys.shape[1:]
    queries = un_turned(layer)[:, :, n_sink:]
    mean = queries.mean(2)
    away = queries - mean[:, :, None]
    covariance = away.mT @ away / queries.shape[2]
    turn = mean_rotation(layer, range(n, n + future))
    mean = mean @ turn.T
    covariance = turn @ covariance @ turn.T
    keys = layer.keys[:, None, n_sink:]
    logits = (keys @ mean[..., None])[..., 0] / math.sqrt(size)
    logits = logits + ((keys @ covariance) * keys).sum(-1) / (2 * size)
    scores = logits.softmax(-1).mean(1) * layer.values[:, n_sink:].norm(dim=-1)
    return pad(scores, (n_sink, 0), value=math.inf)


def un_turned(layer: Noted) -> Tensor:
    """The queries before the rotary embedding: turned back by the position of each."""
    turns = [rotation(layer, -position) for position in range(layer.queries.shape[2])]
    return torch.einsum("nij,Ggnj->Ggni", torch.stack(turns), layer.queries)


def mean_rotation(layer: Noted, positions: Sequence[int]) -> Tensor:
    return torch.stack([rotation(layer, position) for position in positions]).mean(0)


def rotation(layer: Noted, position: float) -> Tensor:
    """The rotary embedding of one position as a matrix (d, d): it turns number i of the first half with the second's.

    The angles are computed in float64.
    """
    size, dtype = layer.keys.shape[-1], layer.keys.dtype
    if layer.rope is None:
        return torch.eye(size, dtype=dtype)
    theta, part = layer.rope
    half = int(size * part) // 2
    angles = position * theta ** (-torch.arange(half, dtype=torch.float64) / half)
    matrix = torch.eye(size, dtype=torch.float64)
    first = torch.arange(half)
    matrix[first, first] = matrix[first + half, first + half] = angles.cos()
    matrix[first, first + half] = -angles.sin()
    matrix[first + half, first] = angles.sin()
    return matrix.to(dtype)


SCORES: dict[str, Callable[..., Tensor]] = {
    "knorm": knorm,
    "keydiff": keydiff,
    "observed": observed,
    "snapkv": snapkv,
    "expected": expected,
}


# ---- which rows stay


@dataclass
class Choice:
    """Of one layer (G, n): which rows stay, and for which of them rounding could decide."""

    kept: Tensor
    close: Tensor


def highest(scores: Tensor, budget: int) -> Choice:
    """Every head keeps its highest."""
    return chosen(scores, scores.sort(-1, descending=True).values, budget)


def highest_of_the_layer(scores: Tensor, budget: int) -> Choice:
    """AdaKV: a fifth of the budget is every head's own; the rest goes to the highest of all heads."""
    safe = scores.argsort(-1, descending=True)[:, : int(budget * 0.2)]
    of_all = scores.scatter(-1, safe, math.inf)
    return chosen(of_all, of_all.flatten().sort(descending=True).values, budget * len(scores))


def chosen(scores: Tensor, ordered: Tensor, budget: int) -> Choice:
    n = ordered.shape[-1]
    if budget >= n:
        return Choice(torch.ones_like(scores, dtype=torch.bool), torch.zeros_like(scores, dtype=torch.bool))
    last, first_gone = ordered[..., budget - 1 : budget], ordered[..., budget : budget + 1]
    middle = (last + first_gone) / 2
    return Choice(scores > middle, (scores - middle).abs() <= 1e-4 * middle.abs())


def pyramid(budget: int, n_layers: int, n: int, beta: int = 20) -> list[int]:
    """PyramidKV: what each layer keeps of n tokens, in even steps from almost twice the budget to a beta-th of it."""
    least = budget / beta
    most = budget * 2 - least
    if most > n:
        most, least = n, budget * 2 - n
    step = (most - least) / (n_layers - 1)
    return [round(most - step * layer) for layer in range(n_layers)]


def choices(
    layers: list[Noted], policy: str, budget: int, budgets: str = "uniform", beta: int = 20, **settings: int
) -> list[Choice]:
    """By layer, what stays of the prompt."""
    scores = [SCORES[policy](layer, **settings) for layer in layers]
    n = layers[0].keys.shape[1]
    of_layers = pyramid(budget, len(layers), n, beta) if budgets == "pyramid" else [budget] * len(layers)
    choose = highest_of_the_layer if budgets == "adaptive" else highest
    return [choose(of_layer, rows) for of_layer, rows in zip(scores, of_layers, strict=True)]
