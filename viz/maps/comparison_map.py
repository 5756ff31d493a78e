"""Several policies side by side: one step control for all their maps, their texts and the difference of two of them."""

import gradio as gr

from viz.maps.retention_map import SCRIPTS, map_component, static
from viz.maps.shared import shared_script, shared_style
from viz.templates import fill

_HTML = fill("static/comparison_map.html")
_CSS = shared_style() + static("retention_map.css", "comparison_map.css")
_JS = shared_script() + static(*SCRIPTS, "comparison_map.js")

# The names of the events must stand in quotes: by them gradio finds which events the component has.
_ON_LOAD = """
Words.speak(JSON.parse(props.label));
const comparison = ComparisonMap.mount(element, {
  onEvent: (name, detail) => trigger({ cell: "cell", token: "token", window: "window" }[name], detail),
});
watch("value", () => comparison.setPayload(props.value));
comparison.setPayload(props.value);
"""


def ComparisonMap() -> gr.HTML:  # noqa: N802 (a class would make gradio write a .pyi file beside this one)
    """A component that shows a `viz.maps.payload.comparison_payload`.

    Fill it from an event or from ``Blocks.load``. Its events `cell` and `token` pass a `gr.EventData` with the
    attributes `policy` (the index of the trace), `position` and `step`; a cell also has `layer` and `group`. The event
    `window` is that of `RetentionMap`. Its value is large: use the component only as an output, never as an input.
    """
    return map_component(_HTML, _CSS, _JS + _ON_LOAD)
