"""What the recorder does with a cache of transformers: find it, listen to its `update`, read what it holds."""

import copy
from collections.abc import Callable, Iterable
from types import MethodType
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import Cache

from core.errors import CannotRecord
from core.trace import Bools

Heard = Callable[[int, torch.Tensor, torch.Tensor], Callable[[torch.Tensor, torch.Tensor], None]]
"""Called with a layer and its new keys and values; what it returns is called with the keys and values given back."""


def cache_in(values: Iterable[Any]) -> Cache | None:
    """The first of the values that is a cache."""
    return next((value for value in values if isinstance(value, Cache)), None)


class Listener:
    """In place of the `update` of one cache object, until `leave`.

    A copy of the cache that is made meanwhile has its own `update`, not this one.
    """

    def __init__(self, cache: Cache, heard: Heard) -> None:
        self.cache, self._heard = cache, heard
        self._before = vars(cache).get("update")
        self._update = cache.update
        cache.update = self

    def leave(self) -> None:
        """The cache is as it was."""
        del self.cache.update
        if self._before is not None:
            self.cache.update = self._before

    def __call__(self, keys: torch.Tensor, values: torch.Tensor, layer: int, *more: Any, **named: Any) -> Any:
        """As `Cache.update`, with whatever arguments it has in this version."""
        given_back = self._heard(layer, keys, values)  # before the cache can write into them
        returned = self._update(keys, values, layer, *more, **named)
        given_back(*returned[:2])
        return returned

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        of = memo[id(self.cache)]
        return MethodType(type(of).update, of) if self._before is None else copy.deepcopy(self._before, memo)


def check_form(keys: torch.Tensor, values: torch.Tensor, heads: int) -> None:
    """Refuse rows that are not (1, KV heads, rows, head size).

    Raises:
        CannotRecord: they are of several texts, or have another form.
    """
    if keys.ndim == 4 and len(keys) > 1:
        raise CannotRecord("{n} texts were run at once. Record them one by one, and without beam search.", n=len(keys))
    if keys.ndim != 4 or keys.shape[1] != heads or values.ndim != 4 or values.shape[:3] != keys.shape[:3]:
        raise CannotRecord(
            "The cache has keys {keys} and values {values}. What can be recorded has one row per KV head and token: "
            "(1, KV heads, rows, head size).",
            keys=tuple(keys.shape),
            values=tuple(values.shape),
        )


def rows_held(cache: Cache, layer: int) -> tuple[torch.Tensor, torch.Tensor] | None:
    """The keys and values (1, KV heads, slots, head size) that a layer holds; None if the cache does not tell.

    Raises:
        CannotRecord: it holds them quantized.
    """
    check_layer(cache, layer)
    of_layer = cache.layers[layer] if layer < len(cache.layers) else None
    keys, values = getattr(of_layer, "keys", None), getattr(of_layer, "values", None)
    return (keys, values) if keys is not None and values is not None and keys.ndim == 4 else None


def check_layer(cache: Cache, layer: int) -> None:
    """Refuse a layer that holds its keys in another form than it gives them back.

    Raises:
        CannotRecord: it holds them quantized.
    """
    if layer < len(cache.layers) and hasattr(cache.layers[layer], "_quantized_keys"):
        raise CannotRecord(
            "Layer {layer} holds its keys quantized, so they are not those that were put in, and rows cannot be "
            "recognized. Record it with a cache that is not quantized.",
            layer=layer,
        )


def hidden_in(modules: Iterable[nn.Module], heads: int, slots: int) -> Bools:
    """(KV heads, slots): which rows of a layer are masked, as kvpress does, by `masked_key_indices` of its attention.

    That attribute is three arrays of one length: the batch, KV head and slot of each masked row. kvpress's attention
    function replaces the keys of these rows by one that gets no attention.
    """
    hidden = np.zeros((heads, slots), bool)
    for module in modules:
        indices = getattr(module, "masked_key_indices", None)
        if indices is not None:
            _, head, slot = (index.cpu().numpy() for index in indices)
            hidden[head, slot] = True
    return hidden
