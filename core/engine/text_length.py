"""Gives rotary embeddings whose frequencies depend on the text's length the length of the whole text.

Two kinds are made for texts longer than those of the first training: ``longrope`` (Ding et al. 2024) has one set of
factors for texts up to the original length and another for longer ones; ``dynamic`` (NTK scaling) slows all channels
down, the more so the longer the text is. transformers takes the last position of the forward pass for that length. Here
that is the end of a chunk, so rows of early and late chunks would be turned differently, and the trace would depend on
the chunk size. transformers also stores the frequencies on the module, which another thread may be using.

So a run says how many tokens it may have, and all its chunks get the frequencies of a text of that length, as the
model's own pass over the whole text does. Example: a model with an original length of 4,096 reads 5,000 tokens in
chunks of 256; all of them, the first 256 too, are turned by the factors for long texts.

A run that writes counts all the tokens that it may write. Deviation: if it crosses the original length, its rows have
the factors for long texts from the beginning, while in transformers' generation the earlier rows keep those for short
texts.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from copy import deepcopy
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

FIXED = {"default", "linear", "llama3", "yarn", "proportional"}  # the kinds whose frequencies are always the same

_length: ContextVar[int | None] = ContextVar("_length", default=None)  # every thread has its own


@contextmanager
def text_of(length: int) -> Iterator[None]:
    """Within this context, rotary embeddings prepared by `tell_length` turn rows as in a text of so many tokens."""
    token = _length.set(length)
    try:
        yield
    finally:
        _length.reset(token)


def tell_length(model: Any) -> None:
    """Make the model's rotary embeddings follow `text_of` if their frequencies depend on the text's length."""
    for name, embedding in model.named_modules():
        if name.split(".")[-1] == "rotary_emb" and kinds_of(embedding) - FIXED:
            embedding.forward = _heeding_length(embedding)


def kinds_of(embedding: Any) -> set[str]:
    """The ``rope_type`` of a rotary embedding in transformers, of all layers; empty if it has no such attribute."""
    kind = getattr(embedding, "rope_type", {})
    return set(kind.values()) if isinstance(kind, dict) else {kind}


def _heeding_length(embedding: Any) -> Callable[..., tuple[Tensor, ...]]:
    """A forward function for this embedding that uses the length given by `text_of`, if there is one.

    transformers reads the length from the last position, so that position is appended and its column cut off again.
    Every length has a copy of the embedding, since an embedding keeps the frequencies that it computed last.
    """
    own, untouched = embedding.forward, deepcopy(embedding)

    @lru_cache(maxsize=16)
    def of_length(length: int) -> Any:
        return deepcopy(untouched)

    def forward(x: Tensor, position_ids: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, ...]:
        length = _length.get()
        if length is None:
            ordinary: tuple[Tensor, ...] = own(x, position_ids, *args, **kwargs)
            return ordinary
        last = position_ids.new_full((*position_ids.shape[:-1], 1), length - 1)
        turns = of_length(length)(x, torch.cat([position_ids, last], dim=-1), *args, **kwargs)
        return tuple(turn[:, :-1] for turn in turns)

    return forward
