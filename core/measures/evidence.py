"""What becomes of a marked passage: how much of it is kept after each step, and when it was lost. numpy only.

A passage is a range of positions. Its *pairs* are all (token, decider) pairs of its tokens and the deciders of one
layer, or of all layers; its share is the share of pairs that are kept. It cannot grow once the passage has been read.
"""

from dataclasses import dataclass

import numpy as np

from core.errors import BadInput
from core.trace import NEVER, Floats, Tokens, Trace

HALF = 0.5


def passage_of(tokens: Tokens, start: int, stop: int) -> range:
    """The positions of the tokens that have any of the characters from `start` up to but not including `stop`.

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
    """(layers, n): of the pairs of the passage read so far, the share that each layer keeps after each step.

    NaN before the passage's first token. Under ``prefill="one-shot"`` it is 1 up to the end of the prompt, since
    nothing is evicted before.

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
    """(n,): `share_kept`, averaged over layers."""
    mean: Floats = share_kept(trace, passage).mean(axis=0)
    return mean


@dataclass(frozen=True)
class Fate:
    """What became of a passage.

    Attributes:
        half_lost_at: the first step after which less than half of the passage's pairs, of all layers, are kept; not
            before the step that reads its last token; None if that never happens.
        lost_at: the first such step after which no pair is kept; None if that never happens.
        at_question: the share of pairs that are kept when the question's first token is read.
    """

    half_lost_at: int | None
    lost_at: int | None
    at_question: float


def fate(trace: Trace, passage: range, question: int) -> Fate:
    """What became of a passage, and how much of it was left for a question whose first token is at position `question`.

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
    """(n,): how many of the passage's pairs are not evicted after each step; tokens not read yet count, too."""
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
