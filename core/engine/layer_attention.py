"""How one layer of a model turns queries and keys into attention."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class LayerAttention:
    """What a layer asks of its attention.

    Attributes:
        scaling: the factor of the logits.
        window: the layer's own sliding window in tokens, the query's own token included; None if it has none.
        softcap: a logit x becomes softcap · tanh(x / softcap) before the softmax (Gemma 2); None if it stays x.
        sinks: (query heads,), a learned logit of each query head that takes part in its softmax and is no row
            (gpt-oss). The rows do not get what it gets, so their attention sums to less than 1. None if there are none.
    """

    scaling: float
    window: int | None = None
    softcap: float | None = None
    sinks: Tensor | None = None

    def logits(self, query: Tensor, key: Tensor, mask: Tensor | None = None) -> Tensor:
        """The logits plus the mask, computed in float32 at least and returned in float32.

        Args:
            query: (runs, KV heads, queries, head size).
            key: (runs, KV heads, columns, head size).
            mask: (queries, columns) or (runs · KV heads, 1, columns): 0, or minus infinity where a query does not
                attend to a column; None if each attends to all.
        """
        dtype = at_least_float32(query)
        rows, columns = query.to(dtype).flatten(0, 1), key.to(dtype).flatten(0, 1).transpose(1, 2)
        if self.softcap is not None:
            flat = torch.bmm(rows, columns).mul_(self.scaling / self.softcap).tanh_().mul_(self.softcap)
            flat = flat if mask is None else flat.add_(mask)
        elif mask is None:
            flat = torch.baddbmm(rows.new_empty(1), rows, columns, beta=0, alpha=self.scaling)
        else:
            flat = torch.baddbmm(mask, rows, columns, alpha=self.scaling)
        return flat.view(*query.shape[:3], key.shape[2]).float()

    def shares(self, logits: Tensor) -> "Shares":
        """The softmax over the last axis of logits (runs, KV heads, query heads of the group, …, columns)."""
        if self.sinks is None:
            return Shares(logits.softmax(dim=-1))
        sinks = self.sinks.to(logits).view(logits.shape[1], -1, *[1] * (logits.ndim - 3))
        both = torch.cat([logits, sinks.expand(*logits.shape[:-1], 1)], dim=-1).softmax(dim=-1)
        return Shares(both[..., :-1], both[..., -1:])


@dataclass(frozen=True)
class Shares:
    """A softmax of logits.

    Attributes:
        attention: of the shape of the logits.
        to_sinks: the same with 1 instead of the columns, what the layer's sinks get; None if it has none.
    """

    attention: Tensor
    to_sinks: Tensor | None = None


def at_least_float32(rows: Tensor) -> torch.dtype:
    """The type of rows, or float32 if that is more precise."""
    return torch.promote_types(rows.dtype, torch.float32)
