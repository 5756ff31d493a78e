"""The retention map: step control, text and map in one component, or in one HTML file."""

import json
from pathlib import Path

import gradio as gr
from markupsafe import Markup

from core.trace import Trace
from viz.maps.payload import payload
from viz.maps.shared import shared_script, shared_style
from viz.templates import fill
from viz.words.catalogue import script_words
from viz.words.labels import later

_STATIC = Path(__file__).parents[1] / "static"


def static(*names: str) -> str:
    """The texts of these files of viz/static, joined."""
    return "\n".join((_STATIC / name).read_text(encoding="utf-8") for name in names)


_HTML, _CSS = fill("static/retention_map.html"), shared_style() + static("retention_map.css")
# The scripts that all maps share; each uses those before it.
SCRIPTS = (
    "words.js",
    "letters.js",
    "traces.js",
    "sight.js",
    "sentences.js",
    "colours.js",
    "pixels.js",
    "scenes.js",
    "painter.js",
    "controls.js",
    "pictures.js",
)
_JS = shared_script() + static(*SCRIPTS, "retention_map.js")

# The names of the events must stand in quotes: by them gradio finds which events the component has.
_ON_LOAD = """
Words.speak(JSON.parse(props.label));
const instrument = RetentionMap.mount(element, {
  onEvent: (name, detail) => trigger({ cell: "cell", token: "token", row: "row", window: "window" }[name], detail),
});
watch("value", () => instrument.setPayload(props.value));
instrument.setPayload(props.value);
"""


def RetentionMap() -> gr.HTML:  # noqa: N802 (a class would make gradio write a .pyi file beside this one)
    """A component that shows a `viz.maps.payload.payload`; without one it says that the example is being loaded.

    Fill it from an event or from ``Blocks.load``. Its events `cell`, `token` and `row` pass a `gr.EventData` with the
    attributes `layer`, `group`, `position` and `step` (a token has neither layer nor group, a row no position). The
    event `window` asks for the part of a long text that contains a position; it has only `run` and `position`; answer
    with ``payload(…, run, window=window_at(len(trace), position))``. The component's value is large: use it only as an
    output, never as an input.
    """
    return map_component(_HTML, _CSS, _JS + _ON_LOAD)


def map_component(html: str, css: str, script: str) -> gr.HTML:
    """A component of this template. The script gets its words in the label, the only text that Gradio translates."""
    words = later(lambda: json.dumps(script_words(), ensure_ascii=False))
    return gr.HTML(label=words, html_template=html, css_template=css, js_on_load=script, apply_default_css=False)


def standalone_html(trace: Trace) -> str:
    """One HTML file with the map of this trace, for slides, homework and papers; it needs no server and no network."""
    sent = payload(trace)
    title = f"{trace.policy} · {sent['model']}"
    return fill("maps/page.html", title=title, css=Markup(_CSS), map=_HTML, script=Markup(_JS), payload=sent)
