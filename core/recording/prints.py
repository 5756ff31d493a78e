"""Fingerprints of rows: numbers made of all bits of a row's key and value, by which the row is found again."""

from functools import cache

import numpy as np
import torch

from core.trace import Ints

WHOLE, AGAIN, KEY = range(3)
"""The numbers of a print: of key and value, of both by other weights, and of the key alone."""


def prints_of(keys: torch.Tensor, values: torch.Tensor) -> Ints:
    """(KV heads, rows, 3) int64: the prints of rows.

    A number is the sum of the row's 16-bit words, each times an odd random weight, modulo 2^64. That two rows that
    differ agree in `WHOLE` and `AGAIN` has a chance below 2^-98. A row of zeros has the print 0, 0, 0.

    Args:
        keys: (1, KV heads, rows, head size), of any type.
        values: as the keys; their heads may have another size.
    """
    key, value = _words(keys), _words(values)
    weights = _weights(key.shape[-1] + value.shape[-1]).to(key.device)
    of_key, of_value = weights[:, : key.shape[-1]], weights[:, key.shape[-1] :]
    whole, again = ((key * a).sum(-1) + (value * b).sum(-1) for a, b in zip(of_key[:2], of_value[:2], strict=True))
    prints: Ints = torch.stack([whole, again, (key * of_key[2]).sum(-1)], dim=-1).cpu().numpy()
    return prints


def matched(known: Ints, rows: Ints) -> Ints:
    """(rows,): which of the known rows each row is; -1 for none of them.

    Rows with equal prints are told apart by order, since a cache rarely reorders its rows. From the last row to the
    first, each becomes the latest known row with its print that comes before the match of the row after it, or, if
    there is none, the latest that is not taken yet. Example: of known rows A B A, the cache has kept A B. B matches
    1; A could be 0 or 2, and only 0 comes before 1.

    Args:
        known: (k, 3), prints in the order of their positions.
        rows: (rows, 3), prints in the order of the cache.
    """
    order = np.argsort(known[:, WHOLE], kind="stable")
    numbers = known[order, WHOLE]
    low = np.searchsorted(numbers, rows[:, WHOLE], side="left")
    high = np.searchsorted(numbers, rows[:, WHOLE], side="right")
    found = np.full(len(rows), -1)
    alone = high - low == 1
    found[alone] = order[low[alone]]
    several = np.flatnonzero(high - low > 1)
    taken: set[int] = set()
    for row in several[::-1].tolist():
        after = found[row + 1 :]
        limit = next(iter(after[after >= 0]), len(known))
        equals = [one for one in order[low[row] : high[row]].tolist() if one not in taken]
        if equals:
            found[row] = max((one for one in equals if one < limit), default=equals[-1])
            taken.add(int(found[row]))
    found[(found >= 0) & (known[found, AGAIN] != rows[:, AGAIN])] = -1
    return found


def _words(rows: torch.Tensor) -> torch.Tensor:
    """(KV heads, rows, words) int64: the bits of each row."""
    whole = torch.int16 if rows.element_size() > 1 else torch.uint8
    return rows[0].detach().contiguous().view(whole).long()


@cache
def _weights(words: int) -> torch.Tensor:
    """(3, words): odd numbers, always the same; from a generator of its own, so that no sampling changes."""
    generator = torch.Generator().manual_seed(0)
    numbers = torch.randint(-(2**62), 2**62, (3, words), generator=generator)
    return 2 * numbers + 1
