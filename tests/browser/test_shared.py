"""What Python and the maps both say and show stands once: Python has it, and the browser gets it from there."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page

from core.trace import NEVER
from tests.traces import random_trace, trace_of
from viz import templates
from viz.maps.colours import EVICTED, JUST_EVICTED, KEPT
from viz.maps.payload import payload
from viz.maps.standalone import standalone_html
from viz.words.sentences import NEWLINE, TAB, quoted

VIZ = Path(templates.__file__).parent
SOURCES = [*VIZ.parent.glob("app.py"), *(file for file in VIZ.rglob("*.*") if file.suffix in (".py", ".js", ".css"))]


@pytest.mark.parametrize("sign", [*KEPT, *JUST_EVICTED, *EVICTED, NEWLINE, TAB, "⏎"])
def test_a_colour_or_sign_is_written_down_once(sign: str) -> None:
    found = [file.name for file in SOURCES if sign in file.read_text(encoding="utf-8").lower()]
    assert found == {"⏎": [], NEWLINE: ["sentences.py"], TAB: ["sentences.py"]}.get(sign, ["colours.py"])


def test_a_map_names_tokens_as_sentences_do(functions: Page) -> None:
    pieces = ("The", "\n", "\r\n", " a\tb", "\n\n", " مرحبا", '"')
    trace = trace_of(np.full((1, 1, len(pieces)), NEVER), pieces)
    named = functions.evaluate(
        """payload => {
            const trace = Traces.decode(payload).traces[0];
            return trace.pieces.map((_, position) => Sentences.tokenName(trace, position));
        }""",
        payload([trace]),
    )
    assert named == [quoted(trace, position) for position in range(len(pieces))]
    assert named[1:5] == [f"“{NEWLINE}”", f"“{NEWLINE}”", f"“ a{TAB}b”", f"“{NEWLINE * 2}”"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_map_has_these_colours(open_page: Callable[..., Page], tmp_path: Path, scheme: str) -> None:
    file = tmp_path / "map.html"
    file.write_text(standalone_html([random_trace(3)]), encoding="utf-8")
    page = open_page(file.as_uri(), color_scheme=scheme)
    palette = page.evaluate("Colours.readPalette(document.querySelector('.rm'))")
    for name, colour in (("kept", KEPT), ("fresh", JUST_EVICTED), ("evicted", EVICTED)):
        assert palette[name] == [*bytes.fromhex(re.sub("#", "", getattr(colour, scheme)))], name
    sign = "getComputedStyle(document.querySelector('.rm')).getPropertyValue('--rm-newline')"
    assert page.evaluate(sign).strip() == f'"{NEWLINE}"'
