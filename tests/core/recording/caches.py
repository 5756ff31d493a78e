"""Caches that evict what a test tells them, and that write down themselves what they have evicted."""

from collections.abc import Callable

import numpy as np
import torch
from transformers import Cache
from transformers.cache_utils import DynamicLayer

from core.trace import NEVER

Choose = Callable[[np.ndarray], np.ndarray]
"""From the positions (KV heads, rows) that are held, the slots (KV heads, kept) of those to keep, in any order."""


class ScriptedLayer(DynamicLayer):
    """Evicts by choice, after the rows were returned to the queries or before.

    Attributes:
        evicted_at: (KV heads, n), as in a trace, by what the layer itself knows.
    """

    def __init__(self, choose: Choose, before: bool = False) -> None:
        super().__init__()
        self.choose, self.before = choose, before
        self.read = 0

    def update(self, key_states, value_states, *more, **named):
        heads, new = key_states.shape[1:3]
        if not self.read:
            self.positions = np.zeros((heads, 0), int)
            self.evicted_at = np.zeros((heads, 0), int)
        own = np.broadcast_to(np.arange(self.read, self.read + new), (heads, new))
        if self.before and self.read:
            self._evict(self.read - 1)
        self.positions = np.concatenate([self.positions, own], axis=1)
        self.evicted_at = np.concatenate([self.evicted_at, np.full((heads, new), NEVER)], axis=1)
        self.read += new
        returned = super().update(key_states, value_states, *more, **named)
        if not self.before:
            self._evict(self.read - 1)
        return returned

    def _evict(self, step: int) -> None:
        keep = self.choose(self.positions)
        stay = np.take_along_axis(self.positions, keep, axis=1)
        for head, positions in enumerate(self.positions):
            self.evicted_at[head, np.setdiff1d(positions, stay[head])] = step
        self.positions = stay
        index = torch.from_numpy(keep)[None, :, :, None]
        self.keys = self.keys.gather(2, index.expand(-1, -1, -1, self.keys.shape[-1]))
        self.values = self.values.gather(2, index.expand(-1, -1, -1, self.values.shape[-1]))

    def get_seq_length(self) -> int:
        return self.read

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        held = self.keys.shape[-2] if self.is_initialized else 0
        return held + query_length, self.read - held


class ScriptedCache(Cache):
    """One `ScriptedLayer` per layer, each with a choice of its own: `choose(layer)` makes it."""

    def __init__(self, layers: int, choose: Callable[[int], Choose], before: bool = False) -> None:
        super().__init__(layers=[ScriptedLayer(choose(layer), before) for layer in range(layers)])

    @property
    def evicted_at(self) -> np.ndarray:
        """(layers, KV heads, n), as in a trace."""
        return np.stack([layer.evicted_at for layer in self.layers])


def at_random(budget: int, ordered: bool = True) -> Callable[[int], Choose]:
    """Each KV head keeps rows at random, the newest always, in the order of their age or in any."""

    def of_layer(layer: int) -> Choose:
        rng = np.random.default_rng(layer)

        def choose(positions: np.ndarray) -> np.ndarray:
            rows = positions.shape[1]
            kept = min(budget, rows)
            picked = [np.append(rng.permutation(rows - 1)[: kept - 1], rows - 1) for _ in positions]
            return np.stack([np.sort(slots) if ordered else rng.permutation(slots) for slots in picked])

        return choose

    return of_layer
