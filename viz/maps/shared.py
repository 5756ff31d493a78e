"""Values that the scripts and stylesheets of the maps share with Python, defined only in Python."""

import json

from viz.maps.colours import properties
from viz.words.sentences import NEWLINE, TAB

LEVELS = 16
"""Tints of a token in the text, from kept by nobody to kept by everybody, besides none."""
COST_LEVELS = 8
"""Tints of a token on each side of costing nothing more than under the full model."""


def shared_script() -> str:
    """JavaScript to put before all scripts of a map: the constant `Shared`."""
    values = {"newline": NEWLINE, "tab": TAB, "levels": LEVELS, "costLevels": COST_LEVELS}
    return f"const Shared = {json.dumps(values, ensure_ascii=False)};\n"


def shared_style() -> str:
    """CSS to put before all stylesheets of a map: colours, how a line break is shown, and the tints of a text."""
    looks = [*range(LEVELS + 1), *(f"cost{at}" for at in range(-COST_LEVELS, COST_LEVELS + 1))]
    tints = "".join(
        f'.rm-t[data-kept="{look}"] {{ background: var(--rm-tint-{look}); color: var(--rm-ink-{look}); }}\n'
        for look in looks
    )
    return properties(".rm") + f'.rm {{ --rm-newline: "{NEWLINE}"; }}\n' + tints
