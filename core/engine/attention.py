"""The attention function that transformers calls for every model we load.

This is the only file that uses transformers' `AttentionInterface`. No `Cache` is needed: multi-states hold the rows.
"""

import sys
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from core.engine.batch import Batch
from core.engine.layer_attention import LayerAttention
from core.errors import UnsupportedModel

ATTENTION = "multi_state"
REFUSED_KEYWORDS = ("position_bias", "indices", "block_indices", "sinks")
"""What transformers' models say of attention that is not a softmax over all rows, and would show in long texts only."""


def multi_state_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    multi_state: Batch | None = None,
    **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:
    """Attention over a `multi_state` if one is given, else transformers' own; same shapes as the latter.

    Raises:
        UnsupportedModel: the architecture asks for one of `REFUSED_KEYWORDS`.
    """
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    if multi_state is None:
        return _ordinary(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
    for keyword in REFUSED_KEYWORDS:
        if kwargs.get(keyword) is not None:
            raise UnsupportedModel(
                "{module} changes its attention by {keyword!r}, which the policies here do not reproduce. Choose a "
                "model of another architecture.",
                module=type(module).__name__,
                keyword=keyword,
            )
    of = LayerAttention(scaling, kwargs.get("sliding_window"), kwargs.get("softcap"), kwargs.get("s_aux"))
    return multi_state.attend(module.layer_idx, query, key, value, of), None


def _ordinary(
    module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, Tensor | None]:
    """The model's own: "sdpa", or "eager" for what "sdpa" refuses (`softcap`) or leaves out in silence (`s_aux`)."""
    if kwargs.get("softcap") is None and kwargs.get("s_aux") is None:
        ordinary: tuple[Tensor, None] = sdpa_attention_forward(module, query, key, value, mask, **kwargs)
        return ordinary
    shape = query.shape[2], key.shape[2]
    seen = torch.ones(shape, dtype=torch.bool, device=query.device).tril(shape[1] - shape[0]) if mask is None else mask
    added = torch.zeros(seen.shape, dtype=query.dtype, device=query.device)
    added.masked_fill_(~seen, torch.finfo(query.dtype).min)
    eager: tuple[Tensor, Tensor] = sys.modules[type(module).__module__].eager_attention_forward(
        module, query, key, value, added, **kwargs
    )
    return eager


AttentionInterface.register(ATTENTION, multi_state_attention)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)
