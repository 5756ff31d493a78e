"""Right-to-left text, such as Arabic, inside the page's sentences."""

import unicodedata

TURNING = {"R", "AL", "LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
"""Unicode's classes of right-to-left letters and of characters that change the direction of others."""


def isolated(text: str) -> str:
    """The text, wrapped so that right-to-left letters in it do not reorder the sentence around it.

    Without U+2068 and U+2069, a number that follows an Arabic word would be shown on the wrong side of it. A text
    without any character of the `TURNING` classes is returned unchanged.
    """
    turning = any(unicodedata.bidirectional(character) in TURNING for character in text)
    return f"\u2068{text}\u2069" if turning else text
