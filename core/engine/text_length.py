"""Rotary embeddings whose frequencies depend on how long the text is, told its whole length.

Two kinds are made for texts longer than those of the first training: ``longrope`` (Ding et al. 2024) has one set of
factors for texts up to the original length and another for longer ones, ``dynamic`` (NTK scaling) slows all channels
down the more the longer the text. transformers takes for that length the last position of the forward pass, which
here is only the end of a chunk: rows read in an early chunk would be turned otherwise than those of a later one, and
the trace would depend on how the text was cut. It also keeps the frequencies it computed last on the module, which
another thread may be using.

So a run says how many tokens it may come to, and all its chunks get the frequencies of a text of that length: those of
the model's own pass over the whole text. Example: a model with an original length of 4,096 reads 5,000 tokens in
chunks of 256; all of them, the first 256 too, are turned by the factors for long texts.

A run that writes on counts the tokens that it may write at most. Where it crosses the original length, transformers'
own generation goes on with rows that were turned by the factors for short texts; here they have those for long ones
from the beginning.
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
    """Inside, a model's rotary embedding turns rows as in a text of so many tokens."""
    token = _length.set(length)
    try:
        yield
    finally:
        _length.reset(token)


def tell_length(model: Any) -> None:
    """Make every rotary embedding of the model whose frequencies depend on the text's length heed `text_of`.

    Outside of it they do what transformers does.
    """
    for name, embedding in model.named_modules():
        if name.split(".")[-1] == "rotary_emb" and kinds_of(embedding) - FIXED:
            embedding.forward = _heeding_length(embedding)


def kinds_of(embedding: Any) -> set[str]:
    """The kinds of a rotary embedding as transformers names them, of all layers; none if it does not say."""
    kind = getattr(embedding, "rope_type", {})
    return set(kind.values()) if isinstance(kind, dict) else {kind}


def _heeding_length(embedding: Any) -> Callable[..., tuple[Tensor, ...]]:
    """Its forward function, which takes the frequencies of the text's length if one is said.

    The length is told as transformers takes it, by a last position, whose column is cut off afterwards. Every length
    has a copy of the embedding, since a copy keeps the frequencies that it computed last.
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
