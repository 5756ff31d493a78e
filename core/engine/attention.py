"""The attention function that transformers calls for every model we load.

This is the only file that uses transformers' `AttentionInterface`. No `Cache` is needed: multi-states hold the rows.
"""

from typing import Any

from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from core.engine.batch import Batch
from core.errors import UnsupportedModel

ATTENTION = "multi_state"
REFUSED_KEYWORDS = ("s_aux", "softcap")  # attention sinks, soft capping: they change the softmax


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
    """Attention over a `multi_state` if one is given, else transformers' own ("sdpa"); same shapes as the latter.

    Raises:
        UnsupportedModel: the architecture asks for one of `REFUSED_KEYWORDS`.
    """
    if multi_state is None:
        ordinary: tuple[Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, sliding_window=sliding_window, **kwargs
        )
        return ordinary
    for keyword in REFUSED_KEYWORDS:
        if kwargs.get(keyword) is not None:
            raise UnsupportedModel(
                "{module} changes its attention by {keyword!r}, which the policies here do not reproduce. Choose a "
                "model of another architecture.",
                module=type(module).__name__,
                keyword=keyword,
            )
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    return multi_state.attend(module.layer_idx, query, key, value, scaling, sliding_window), None


AttentionInterface.register(ATTENTION, multi_state_attention)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)
