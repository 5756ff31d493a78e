"""Translated texts for the page's own scripts, which get them from an invisible element."""

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
    """An invisible element that sets ``window.told``: these texts in the browser's language, and its `language`."""

    def words() -> str:
        told = {group: tell() for group, tell in texts.items()}
        return json.dumps(told | {"language": language().replace("_", "-")}, ensure_ascii=False)

    return gr.HTML(label=later(words), js_on_load=_ON_LOAD, apply_default_css=False)
