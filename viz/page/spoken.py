"""What the page's own scripts say: an element without anything to see hands it to them."""

import json
from collections.abc import Callable, Mapping

import gradio as gr

from viz.words.catalogue import language
from viz.words.labels import later

_ON_LOAD = """
window.told = JSON.parse(props.label);
document.documentElement.lang = window.told.language;
"""


def spoken(**texts: Callable[[], Mapping[str, str]]) -> gr.HTML:
    """An element that names the language of the page and gives its scripts these texts in it, as ``window.told``."""

    def words() -> str:
        told = {group: tell() for group, tell in texts.items()}
        return json.dumps(told | {"language": language().replace("_", "-")}, ensure_ascii=False)

    return gr.HTML(label=later(words), js_on_load=_ON_LOAD, apply_default_css=False)
