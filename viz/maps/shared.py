"""What the scripts and stylesheets of the maps have in common with Python; it stands in Python, once."""

import json

from viz.maps.colours import properties
from viz.words.sentences import NEWLINE, TAB


def shared_script() -> str:
    """JavaScript that stands before all scripts of a map."""
    return f"const Shared = {json.dumps({'newline': NEWLINE, 'tab': TAB}, ensure_ascii=False)};\n"


def shared_style() -> str:
    """CSS that stands before all stylesheets of a map."""
    return properties(".rm") + f'.rm {{ --rm-newline: "{NEWLINE}"; }}\n'
