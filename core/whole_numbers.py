"""Checks whole numbers that come from users and programs."""

from typing import Any

import numpy as np

from core.errors import BadInput
from core.trace import NEVER

MOST_TOKENS = NEVER
"""The most tokens that a text, and rows that a budget, may have: positions are 32-bit integers."""

MOST_SEED = 2**64 - 1
"""The greatest seed: torch's random generator takes 64 bits."""


def whole(name: str, value: Any, least: int, most: int = MOST_TOKENS) -> int:
    """The value as a plain int.

    Args:
        name: the value's name in the error message.
        value: an int or a numpy integer; a bool is refused.
        least: the least allowed value.
        most: the greatest allowed value.

    Raises:
        BadInput: the value is not a whole number, or not in this range.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not least <= value <= most:
        raise BadInput("{name} must be a whole number from {least:,} to {most:,}.", name=name, least=least, most=most)
    return int(value)
