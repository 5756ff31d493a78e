"""Letters that read from right to left, in sentences of ours."""

import unicodedata

TURNING = {"R", "AL", "LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
"""Unicode's classes of letters that read from right to left, and of signs that change the direction of others."""


def isolated(text: str) -> str:
    """The text for a sentence of ours: what reads from right to left in it does not turn round what stands beside it.

    Without U+2068 and U+2069 around it an Arabic word takes a number that follows to its other side. A text without
    letters that read from right to left, and without signs that turn others round, stays as it is.
    """
    turning = any(unicodedata.bidirectional(character) in TURNING for character in text)
    return f"\u2068{text}\u2069" if turning else text
