"""Makes the oracle policy for a text, from the attention that the full model pays when it reads it."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from core.engine.options import ReadOptions
from core.engine.reading import LONGEST_CHUNK, read_chunks, start_reading
from core.errors import TextTooLong
from core.messages import Message
from core.model.language_model import LanguageModel
from core.policies import Floats, Full, Ints, Oracle
from core.trace import Tokens
from core.whole_numbers import whole

LONGEST_FORESIGHT = 2048  # tokens


def foresee(lm: LanguageModel, tokens: Tokens | Sequence[int], budget: int) -> Oracle:
    """The oracle policy for this text (see `core.policies.Oracle`), by one replay of the full model.

    The oracle's table takes 2 · layers · n² bytes: 250 MB for 2,048 tokens and 30 layers.

    Args:
        lm: the model.
        tokens: n tokens, as in `replay`, but at most `LONGEST_FORESIGHT`.
        budget: how many rows the oracle may keep.

    Raises:
        TextTooLong: more tokens than `LONGEST_FORESIGHT` or than the model's context.
        BadInput, NumericalError, OutOfMemory: as `replay`.
    """
    budget = whole(Message("budget"), budget, 1)
    tokens = lm.as_tokens(tokens)
    n = len(tokens)
    if n > LONGEST_FORESIGHT:
        raise TextTooLong(
            "The oracle foresees at most {most:,} tokens, and this text has {n:,}. Shorten it by {excess:,} tokens, "
            "or compare without the oracle.",
            most=LONGEST_FORESIGHT,
            n=n,
            excess=n - LONGEST_FORESIGHT,
        )
    future = np.empty((lm.n_layers, _start(n)), np.float32)

    def watch(layer: int, chunk: range, positions: list[Ints], attention: Tensor) -> None:
        paid = attention[0].mean(dim=(0, 1)).cpu().numpy()  # nothing is evicted, so columns are positions
        seen = np.tri(len(chunk), chunk.stop, k=chunk.start, dtype=bool)
        future[layer, _start(chunk.start) : _start(chunk.stop)] = paid[seen]

    options = ReadOptions(chunk=LONGEST_CHUNK)
    for _ in read_chunks(start_reading(lm, tokens, [Full()], options, watch=watch), tokens):
        pass
    _sum_over_later_steps(future, n)
    return Oracle(budget=budget, model_id=lm.model_id, ids=tokens.ids, future=future)


def _start(step: int) -> int:
    """The index of a step's first entry: the steps 0, 1, 2 … before it have 1, 2, 3 … entries."""
    return step * (step + 1) // 2


def _sum_over_later_steps(attention: Floats, n: int) -> None:
    """Replace, in place, the attention of each step to a token by the sum of what all later steps pay to it."""
    later = np.zeros((len(attention), n))
    for step in reversed(range(n)):
        here = attention[:, _start(step) : _start(step + 1)]
        paid = here.copy()
        here[:] = later[:, : step + 1]
        later[:, : step + 1] += paid
