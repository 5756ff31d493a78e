"""Chooses the next token from the model's logits."""

from numbers import Real
from typing import Any

import torch
from torch import Tensor
from transformers.generation.logits_process import TemperatureLogitsWarper, TopPLogitsWarper

from core.errors import BadInput
from core.messages import Message
from core.whole_numbers import MOST_SEED, whole

COLDEST, HOTTEST = 1e-6, 1e6
"""Logits divided by a temperature below or above these overflow or vanish in float32."""


class Sampler:
    """Greedy at temperature 0; otherwise draws from the softmax at that temperature, cut to the nucleus `top_p`.

    Raises:
        BadInput: a temperature that is neither 0 nor from `COLDEST` to `HOTTEST`, a `top_p` outside (0, 1], or a seed
            that is not a whole number from 0 to 2^64 - 1.
    """

    def __init__(self, temperature: float, top_p: float, seed: int) -> None:
        if not _is_number(temperature) or not (temperature == 0 or COLDEST <= temperature <= HOTTEST):
            raise BadInput(
                "The temperature must be 0 (greedy) or a number from {coldest:f} to {hottest:,.0f}.",
                coldest=COLDEST,
                hottest=HOTTEST,
            )
        if not _is_number(top_p) or not 0.0 < top_p <= 1.0:
            raise BadInput("top_p must be a number above 0 and at most 1.")
        self._warpers = [TemperatureLogitsWarper(float(temperature))] if temperature > 0.0 else []
        if top_p < 1.0 and self._warpers:
            self._warpers.append(TopPLogitsWarper(float(top_p)))
        self._generator = torch.Generator().manual_seed(whole(Message("seed"), seed, 0, MOST_SEED))

    def next(self, logits: Tensor) -> int:
        """The next token's id, from logits (vocabulary,)."""
        if not self._warpers:
            return int(logits.argmax())
        logits = logits.float().cpu()[None]
        for warper in self._warpers:
            logits = warper(None, logits)
        return int(torch.multinomial(logits.softmax(-1), 1, generator=self._generator))


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)
