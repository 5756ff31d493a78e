"""The colours for kept, just evicted and evicted tokens, used by the maps, and by figures and cards."""

from typing import NamedTuple


class Colour(NamedTuple):
    """A colour on a light page and on a dark one, as in CSS."""

    light: str
    dark: str


KEPT = Colour("#00618f", "#76cbff")
JUST_EVICTED = Colour("#e8730c", "#e2690c")
EVICTED = Colour("#dcdde0", "#42444d")

_NAMES = {"kept": KEPT, "fresh": JUST_EVICTED, "evicted": EVICTED}


def properties(selector: str) -> str:
    """CSS that sets `--rm-kept`, `--rm-fresh` and `--rm-evicted` for the elements of a component's selector."""
    light, dark = (
        " ".join(f"--rm-{name}: {getattr(colour, page)};" for name, colour in _NAMES.items())
        for page in ("light", "dark")
    )
    return f"{selector} {{ {light} }}\n.dark & {selector} {{ {dark} }}\n"
