"""Softmax over exactly the rows held, at every step of a chunk."""

import numpy as np

from core.policies import Floats, Ints


class SlotSoftmax:
    """The attention of every step over the slots that are filled, from logits over all columns of the chunk.

    It remembers the index of each slot's column in the logits, since from one step to the next only one slot changes
    its column. Example: slots hold columns 0, 1, 2; after slot 1 has taken column 4, a step picks the logits 0, 4, 2 of
    its row and takes the softmax of these three.

    Attributes:
        logits: what the last softmax was taken of, if they are kept.
    """

    logits: Floats | None = None

    def __init__(self, logits: Floats, sinks: Floats | None = None, *, keep: bool = False) -> None:
        """Take logits, (groups, query heads of the group, chunk, columns), contiguous; `keep` each step's.

        `sinks` are those of `softmax_beside`.
        """
        self._keep, self._sinks = keep, sinks
        groups, heads, count, self._width = logits.shape
        self._flat = logits.ravel()
        self._starts = np.arange(0, logits.size, count * self._width).reshape(groups, heads)

    def begin(self, columns: Ints) -> None:
        """Take the columns (groups, slots) of the rows before the first step."""
        self._index = self._starts[:, :, None] + columns[:, None, :]
        self._flat_index = self._index.ravel()  # a view
        self._rows = np.arange(0, self._index.size, columns.shape[1]).reshape(self._starts.shape)

    def over(self, step: int, slot: Ints | int, column: int, filled: int) -> Floats:
        """The attention of a step to each slot, (groups, query heads of the group, filled). Steps must be in order.

        Args:
            step: the step, counted from 0 in the chunk.
            slot: (groups,) or one number for all groups: the slot that the token of this step has taken.
            column: the column of the token of this step.
            filled: how many slots hold a row.
        """
        self._flat_index[self._rows + (slot if isinstance(slot, int) else slot[:, None])] = self._starts + column
        values: Floats = self._flat[step * self._width :].take(self._index[:, :, :filled], mode="clip")
        if self._keep:
            self.logits = values.copy()
        return softmax_beside(self._sinks, values)


def softmax_beside(sinks: Floats | None, logits: Floats) -> Floats:
    """The softmax of logits (groups, query heads of the group, rows) over the rows, in place; one must be finite.

    Args:
        sinks: (groups, query heads of the group), one more logit of each head, whose share is left out; None if the
            layer has none.
        logits: overwritten.
    """
    highest = logits.max(axis=2, keepdims=True)
    if sinks is not None:
        highest = np.maximum(highest, sinks[:, :, None])
    logits -= highest
    np.exp(logits, out=logits)
    total = logits.sum(axis=2, keepdims=True)
    if sinks is not None:
        total += np.exp(sinks[:, :, None] - highest)
    logits /= total
    return logits
