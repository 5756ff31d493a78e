"""What becomes of a marked passage: how much of it is kept after each step, and when it was lost. Numpy only.

A passage is a range of positions; its *pairs* are its tokens times the deciders of a layer (or of all layers), and its
share is the share of pairs that are kept. No row ever returns, so once the passage has been read its share only falls.
"""

from dataclasses import dataclass

import numpy as np

from core.errors import BadInput
from core.trace import NEVER, Floats, Tokens, Trace

HALF = 0.5


def passage_of(tokens: Tokens, start: int, stop: int) -> range:
    """The positions of the tokens that have any of these characters, from `start` to before `stop`.

    Raises:
        BadInput: there is no such token.
    """
    first, last = tokens.offsets.T
    whole = (first < stop) & (last > start)
    inside = tokens.continued & (first > start) & (first <= stop)
    positions = np.flatnonzero(whole | inside)
    if not len(positions):
        raise BadInput("No text is marked. Mark at least one word of the document.")
    return range(int(positions[0]), int(positions[-1]) + 1)


def share_kept(trace: Trace, passage: range) -> Floats:
    """(layers, n): the share of the passage that each layer keeps after each step, of what has been read of it.

    NaN before its first token. Under ``prefill="one-shot"`` nothing is evicted before the prompt's end, so everything
    is still there when the question is read.

    Raises:
        BadInput: the trace has no such positions.
    """
    _check(trace, passage)
    layers, groups, n = trace.evicted_at.shape
    share = np.full((layers, n), np.nan, np.float32)
    evictions = _evictions(trace, passage)
    read = np.minimum(np.arange(passage.start, n) - passage.start + 1, len(passage)) * groups
    share[:, passage.start :] = 1 - evictions.cumsum(axis=1)[:, passage.start :] / read
    return share


def mean_share_kept(trace: Trace, passage: range) -> Floats:
    """(n,): the same over all layers."""
    mean: Floats = share_kept(trace, passage).mean(axis=0)
    return mean


@dataclass(frozen=True)
class Fate:
    """What became of a passage.

    Attributes:
        half_lost_at: the first step, from the one that reads its last token on, after which less than half of its
            (token, decider) pairs over all layers are kept; None if that never happens.
        lost_at: the first after which none is kept.
        at_question: the share of its pairs that are kept when the question's first token is read.
    """

    half_lost_at: int | None
    lost_at: int | None
    at_question: float


def fate(trace: Trace, passage: range, question: int) -> Fate:
    """What became of a passage, and what was still there of it when the question at this position came.

    What the question's first token sees is what is kept after the step before it.

    Raises:
        BadInput: the trace has no such positions, or the question does not come after the passage.
    """
    _check(trace, passage)
    if not passage.stop <= question <= len(trace):
        raise BadInput("The question at position {question} does not come after the passage.", question=question)
    share = mean_share_kept(trace, passage)
    return Fate(
        half_lost_at=_first(share < HALF, passage.stop - 1),
        lost_at=_first(_kept_pairs(trace, passage) == 0, passage.stop - 1),
        at_question=float(share[question - 1]),
    )


def _evictions(trace: Trace, passage: range) -> Floats:
    """(layers, n): how many of the passage's pairs are evicted at each step."""
    layers, _, n = trace.evicted_at.shape
    evicted_at = trace.evicted_at[:, :, passage.start : passage.stop].reshape(layers, -1)
    layer, pair = np.nonzero(evicted_at != NEVER)
    evictions = np.zeros((layers, n), np.float32)
    np.add.at(evictions, (layer, evicted_at[layer, pair]), 1)
    return evictions


def _kept_pairs(trace: Trace, passage: range) -> Floats:
    """(n,): how many of the passage's pairs are not evicted after each step, read or not."""
    layers, groups, _ = trace.evicted_at.shape
    pairs: Floats = layers * groups * len(passage) - _evictions(trace, passage).sum(axis=0).cumsum()
    return pairs


def _first(condition: np.ndarray, start: int) -> int | None:
    steps = np.flatnonzero(condition[start:])
    return start + int(steps[0]) if len(steps) else None


def _check(trace: Trace, passage: range) -> None:
    if not (0 <= passage.start < passage.stop <= len(trace) and passage.step == 1):
        raise BadInput(
            "The passage must be some of the positions 0 to {last}, not {start} to {stop}.",
            last=len(trace) - 1,
            start=passage.start,
            stop=passage.stop - 1,
        )
