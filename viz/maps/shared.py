"""What the scripts and stylesheets of the maps have in common with Python; it stands in Python, once."""

import json

from viz.maps.colours import properties
from viz.words.figure_words import FIGURE_WORDS
from viz.words.sentences import NEWLINE, TAB

WORDS = ("kept", "evicted", "kept to the end", "layer")
"""What figures say, too; their Chinese is in `viz.words.figure_words`."""


def shared_script() -> str:
    """JavaScript that stands before all scripts of a map."""
    shared = {"newline": NEWLINE, "tab": TAB, "chinese": {word: FIGURE_WORDS[word] for word in WORDS}}
    return f"const Shared = {json.dumps(shared, ensure_ascii=False)};\n"


def shared_style() -> str:
    """CSS that stands before all stylesheets of a map."""
    return properties(".rm") + f'.rm {{ --rm-newline: "{NEWLINE}"; }}\n'
