"""Small pictures of what every layer keeps, step by step (Oren et al. 2024, figures 8, 12, 13)."""

import io
import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from core.trace import Trace
from viz.figures.style import EVICTED_OPACITY, EVICTED_RGB, KEPT_RGB

PIXELS = 600_000  # of all pictures together: about 0.3 MB to send

# The colours of the other figures; transparent for what is not yet read.
_NOT_READ, _KEPT = (0, 0, 0, 0), (*KEPT_RGB, 255)
_EVICTED = (*EVICTED_RGB, math.ceil(255 * EVICTED_OPACITY))


def small_lives(trace: Trace) -> NDArray[np.uint8]:
    """(layers, side, side), steps downwards, tokens across: 0 for not yet read, else 1 + 100 √(share kept).

    The share is over the tokens of a cell and the KV heads that decide for themselves. Long texts are drawn coarser: a
    row stands for several steps and shows the last of them, a column stands for several tokens.
    """
    layers, n = len(trace.evicted_at), len(trace)
    edges = np.linspace(0, n, min(n, math.isqrt(PIXELS // layers)) + 1).astype(int)
    step, position = edges[1:, None] - 1, np.arange(n)
    read = position <= step
    tokens = np.add.reduceat(read, edges[:-1], axis=1, dtype=np.int64)
    lives = np.zeros((layers, len(step), len(step)), np.uint8)
    for layer, evicted_at in enumerate(trace.evicted_at):
        kept = (read & (step < evicted_at[:, None])).mean(axis=0)
        share = np.add.reduceat(kept, edges[:-1], axis=1) / np.maximum(tokens, 1)
        # The root makes a single long-lived token among many visible.
        lives[layer] = np.where(tokens > 0, 1 + np.rint(100 * np.sqrt(share)), 0)
    return lives


def png(life: NDArray[np.uint8]) -> bytes:
    """One picture of `small_lives`, (side, side), as the bytes of a PNG file."""
    share = np.linspace(0, 1, 101)[:, None]
    shades = np.rint(np.array(_EVICTED) * (1 - share) + np.array(_KEPT) * share)
    file = io.BytesIO()
    Image.fromarray(np.vstack([_NOT_READ, shades]).astype(np.uint8)[life]).save(file, "png")
    return file.getvalue()
