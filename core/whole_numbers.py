"""Whole numbers as people and programs give them: checked before anything is done with them."""

from typing import Any

import numpy as np

from core.errors import BadInput
from core.trace import NEVER

MOST_TOKENS = NEVER
"""No text has more tokens, since their positions are counted in 32 bits; so no number of tokens or rows is greater."""

MOST_SEED = 2**64 - 1
"""Random generators take a seed of 64 bits."""


def whole(name: str, value: Any, least: int, most: int = MOST_TOKENS) -> int:
    """The value as a plain int, whichever kind of whole number it is.

    Args:
        name: what the message calls it.
        value: an int, or one of numpy's.
        least: it may be.
        most: it may be.

    Raises:
        BadInput: it is no whole number, or out of this range.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not least <= value <= most:
        raise BadInput("{name} must be a whole number from {least:,} to {most:,}.", name=name, least=least, most=most)
    return int(value)
