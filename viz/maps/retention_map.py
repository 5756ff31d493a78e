"""The retention map as a component: step control, text and the maps of one to six policies."""

import json

import gradio as gr

from viz.maps.standalone import CSS, HTML, SCRIPT
from viz.words.catalogue import script_words
from viz.words.labels import later

# The first map of a page defines the scripts, the others find them. The names of the events must stand in quotes: by
# them gradio finds which events the component has.
_ON_LOAD = """
if (!window.RetentionMap) {
  const { words, script } = JSON.parse(props.label);
  window.RetentionMap = new Function("words", script + "; Words.speak(words); return RetentionMap;")(words);
}
const shown = window.RetentionMap.mount(element, {
  onEvent: (name, detail) => trigger({ cell: "cell", token: "token", row: "row", window: "window" }[name], detail),
});
watch("value", () => shown.setPayload(props.value));
shown.setPayload(props.value);
"""


def RetentionMap() -> gr.HTML:  # noqa: N802 (a class would make gradio write a .pyi file beside this one)
    """A component that shows a `viz.maps.payload.payload`; without one it says that the example is being loaded.

    Fill it from an event or from ``Blocks.load``. Its events `cell`, `token` and `row` pass a `gr.EventData` with the
    attributes `policy` (the index of the trace), `layer`, `group`, `position` and `step` (a token has neither layer nor
    group, a row no position). The event `window` asks for the part of a long text that contains a position; it has only
    `run` and `position`; answer with a payload whose view has that `run` and ``window=window_at(n, position)``. The
    component's value is large: use it only as an output, never as an input.

    However many maps a page has, it carries their scripts once: they come with the words that they say, in the page's
    dictionary of texts, which every launch of ours sends (``i18n=PageWords()``) and `viz.page.page.Page` always has.
    """
    return gr.HTML(
        label=later(_words_and_script),
        html_template=HTML,
        css_template=CSS,
        js_on_load=_ON_LOAD,
        apply_default_css=False,
        elem_classes="map",
    )


def _words_and_script() -> str:
    """What all maps of a page share, as the only kind of text that gradio sends once and in the browser's language."""
    return json.dumps({"words": script_words(), "script": SCRIPT}, ensure_ascii=False)
