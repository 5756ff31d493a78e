"""The retention map as an HTML file of its own: step control, text and the maps of one to six policies."""

from collections.abc import Sequence

from markupsafe import Markup

from core.trace import Trace
from viz.maps.payload import payload
from viz.maps.shared import shared_script, shared_style
from viz.templates import fill, static

# Each uses those before it.
SCRIPTS = (
    "words.js",
    "letters.js",
    "traces.js",
    "sight.js",
    "sentences.js",
    "stories.js",
    "colours.js",
    "pixels.js",
    "scenes.js",
    "painter.js",
    "elements.js",
    "steps.js",
    "text_pane.js",
    "viewport.js",
    "panel.js",
    "difference.js",
    "texts.js",
    "address.js",
    "pictures.js",
    "retention_map.js",
)
HTML = fill("static/retention_map.html")
CSS = shared_style() + static("retention_map.css")
SCRIPT = shared_script() + static(*SCRIPTS)


def standalone_html(traces: Sequence[Trace], notes: Sequence[str] = ()) -> str:
    """One HTML file with the maps of these traces, for slides, homework and papers; it needs no server and no network.

    Args:
        traces: as in `payload`.
        notes: as in `payload`.

    Raises:
        ValueError: as in `payload`.
    """
    sent = payload(traces, notes=notes)
    title = f"{', '.join(str(trace.policy) for trace in traces)} · {sent['model']}"
    return fill("maps/page.html", title=title, css=Markup(CSS), map=HTML, script=Markup(SCRIPT), payload=sent)
