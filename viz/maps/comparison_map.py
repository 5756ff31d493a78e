"""Several policies side by side: one step control for all their maps, their texts and the difference of two of them."""

import gradio as gr

from viz.maps.retention_map import SCRIPTS, map_component, static
from viz.maps.shared import shared_script, shared_style
from viz.templates import fill

_HTML = fill("static/comparison_map.html")
_CSS = shared_style() + static("retention_map.css", "comparison_map.css")
_JS = shared_script() + static(*SCRIPTS, "comparison_map.js")

# The names of the events stand in quotes: gradio offers an event of a component if its script quotes the name.
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

    Fill it from an event or from ``Blocks.load``. Its events `cell` and `token` hand the handler a `gr.EventData` with
    the attributes `policy` (its place among the traces), `position` and `step`; a cell has `layer` and `group`, too.
    `window` asks for another part, as that of `RetentionMap` does. Its value is large: name it as an output only, never
    as an input.
    """
    return map_component(_HTML, _CSS, _JS + _ON_LOAD)
