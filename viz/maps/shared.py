"""Values that the scripts and stylesheets of the maps share with Python, defined only in Python."""

import json

from viz.maps.colours import properties
from viz.words.sentences import NEWLINE, TAB


def shared_script() -> str:
    """JavaScript to put before all scripts of a map: the constant `Shared`."""
    return f"const Shared = {json.dumps({'newline': NEWLINE, 'tab': TAB}, ensure_ascii=False)};\n"


def shared_style() -> str:
    """CSS to put before all stylesheets of a map: colours, and how a line break is shown."""
    return properties(".rm") + f'.rm {{ --rm-newline: "{NEWLINE}"; }}\n'
