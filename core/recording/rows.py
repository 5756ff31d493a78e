"""The rows of one layer: which were put into the cache, and when each was seen for the last time."""

import numpy as np

from core.errors import CannotRecord
from core.recording.prints import KEY, WHOLE, matched
from core.trace import NEVER, Bools, Ints


class LayerRows:
    """What is known of the rows of one layer.

    Attributes:
        layer: its number, for errors.
        prints: (KV heads, n, 3), of every row that was put in, by position.
        last_seen: (KV heads, n), the last step whose query could attend to the row.
        there: (KV heads, n), whether the row was there when last looked at.
    """

    def __init__(self, layer: int, heads: int) -> None:
        self.layer = layer
        self.prints: Ints = np.zeros((heads, 0, 3), np.int64)
        self.last_seen: Ints = np.zeros((heads, 0), np.int64)
        self.there: Bools = np.zeros((heads, 0), bool)
        self._looked = False
        self._slots: Ints = np.zeros((heads, 0), np.int64)  # positions in the order of the cache; -1 for no row

    def __len__(self) -> int:
        return int(self.there.shape[1])

    @property
    def evicted_at(self) -> Ints:
        """(KV heads, n): as in a trace."""
        evicted_at: Ints = np.where(self.there, NEVER, self.last_seen)
        return evicted_at

    def put(self, prints: Ints) -> None:
        """New rows, (KV heads, new, 3), are put in; they take the next positions."""
        heads, new, _ = prints.shape
        positions = np.broadcast_to(np.arange(len(self), len(self) + new), (heads, new))
        self.prints = np.concatenate([self.prints, prints], axis=1)
        self.last_seen = np.concatenate([self.last_seen, positions], axis=1)
        self.there = np.concatenate([self.there, np.ones((heads, new), bool)], axis=1)
        self._slots = np.concatenate([self._slots, positions], axis=1)

    def look(self, prints: Ints, hidden: Bools) -> None:
        """Find out which rows these are; all others are there no more.

        Args:
            prints: (KV heads, slots, 3), of what is in the cache; a slot of zeros is an empty one.
            hidden: (KV heads, slots), whether a mask hides the slot, so that it counts as empty.

        Raises:
            CannotRecord: a row that was not put in, or that was evicted before, or one that is there twice.
        """
        if not self._as_before(prints, hidden):
            self._slots = np.stack([self._found(head, prints[head], hidden[head]) for head in range(len(prints))])
        self._looked = True
        head, slot = np.nonzero(self._slots >= 0)
        self.there = np.zeros_like(self.there)
        self.there[head, self._slots[head, slot]] = True

    def seen(self, step: int, new: int) -> None:
        """The rows that are there are attended to up to this step; the last `new` of them are the queries' own.

        Raises:
            CannotRecord: a query that did not see its own row.
        """
        missing = np.argwhere(~self.there[:, len(self) - new :])
        if len(missing):
            raise CannotRecord(
                "In layer {layer}, the cache did not give the row of token {position} to its own query, so no step "
                "attends to it, and a trace has no room for that. Let the cache evict rows after they were returned.",
                layer=self.layer,
                position=len(self) - new + int(missing[0, 1]),
            )
        self.last_seen[self.there] = step

    def _as_before(self, prints: Ints, hidden: Bools) -> bool:
        """Whether every slot has the row that it had, and new rows come after: the usual case."""
        if prints.shape[1] != self._slots.shape[1]:
            return False
        is_row = self._slots >= 0
        same = (np.take_along_axis(self.prints, np.maximum(self._slots, 0)[..., None], axis=1) == prints).all(axis=-1)
        return bool(np.where(is_row, same & ~hidden, hidden | ~prints.any(axis=-1)).all())

    def _found(self, head: int, prints: Ints, hidden: Bools) -> Ints:
        """(slots,): the position of the row in each slot of one KV head; -1 for no row."""
        held, shown = np.flatnonzero(self.there[head]), np.flatnonzero(~hidden)
        positions = np.full(len(prints), -1)
        if len(held):
            which = matched(self.prints[head, held], prints[shown])
            positions[shown] = np.where(which >= 0, held[which], -1)
        strange = (positions < 0) & ~hidden & prints.any(axis=-1)
        if strange.any():
            self._refuse(head, prints[strange])
        rows = positions[positions >= 0]
        if len(np.unique(rows)) < len(rows):
            raise CannotRecord("In layer {layer}, the cache returns a row twice.", layer=self.layer)
        return positions

    def _refuse(self, head: int, strange: Ints) -> None:
        """Say what is wrong with rows that are none of those held."""
        ever, told = self.prints[head], {"layer": self.layer, "n": len(strange)}
        if not self._looked:
            raise CannotRecord(
                "In layer {layer}, the cache held {n} rows before the recording began. Begin with an empty cache, so "
                "that their tokens are known.",
                **told,
            )
        again = np.flatnonzero(np.isin(ever[:, WHOLE], strange[:, WHOLE]) & ~self.there[head])
        if len(again):
            raise CannotRecord(
                "In layer {layer}, token {position} was evicted and came back, and in a trace a token is evicted only "
                "once. Record only up to there.",
                layer=self.layer,
                position=int(again[0]),
            )
        if np.isin(strange[:, KEY], ever[:, KEY]).all():
            raise CannotRecord(
                "In layer {layer}, {n} rows have other values than were put in: the cache merges what it evicts into "
                "rows that stay. So it cannot be said which tokens are kept; record it without merging.",
                **told,
            )
        raise CannotRecord(
            "In layer {layer}, {n} rows have none of the keys that were put in: the cache changes them afterwards, by "
            "rotating, quantizing or merging them. So rows cannot be recognized; record it without that.",
            **told,
        )
