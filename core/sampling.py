"""Choosing the next token from the model's logits."""

import math

import torch
from torch import Tensor
from transformers.generation.logits_process import TemperatureLogitsWarper, TopPLogitsWarper

from core.errors import BadInput


class Sampler:
    """Greedy at temperature 0; otherwise draws from the softmax at that temperature, cut to the nucleus `top_p`.

    Raises:
        BadInput: a temperature below 0 or infinite, or a `top_p` outside (0, 1].
    """

    def __init__(self, temperature: float, top_p: float, seed: int) -> None:
        if not 0.0 <= temperature < math.inf:
            raise BadInput(f"The temperature must be 0 (greedy) or a finite number above, not {temperature}.")
        if not 0.0 < top_p <= 1.0:
            raise BadInput(f"top_p must be above 0 and at most 1, not {top_p}.")
        self._warpers = [TemperatureLogitsWarper(float(temperature))] if temperature > 0.0 else []
        if top_p < 1.0 and self._warpers:
            self._warpers.append(TopPLogitsWarper(float(top_p)))
        self._generator = torch.Generator().manual_seed(int(seed))

    def next(self, logits: Tensor) -> int:
        """The next token's id, from logits (vocabulary,)."""
        if not self._warpers:
            return int(logits.argmax())
        logits = logits.float().cpu()[None]
        for warper in self._warpers:
            logits = warper(None, logits)
        return int(torch.multinomial(logits.softmax(-1), 1, generator=self._generator))
