"""The scrubbing retention map: step control, text and map in one component, and the same as a file of its own."""

import json
import re
from html import escape
from pathlib import Path

import gradio as gr

from core.trace import Trace
from viz.maps.payload import payload

_STATIC = Path(__file__).parents[1] / "static"


def static(*names: str) -> str:
    """The text of these files, one after another."""
    return "\n".join((_STATIC / name).read_text(encoding="utf-8") for name in names)


def template(name: str) -> str:
    """The text of a template; where a comment names another one, as in ``<!-- steps -->``, the text of that."""
    return re.sub(r"<!-- (\w+) -->", lambda found: static(f"{found[1]}.html").strip(), static(name))


_HTML, _CSS = template("retention_map.html"), static("retention_map.css")
# What all maps share; each builds on those before it.
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
_JS = static(*SCRIPTS, "retention_map.js")

# The names of the events stand in quotes: gradio offers an event of a component if its script quotes the name.
_ON_LOAD = """
const instrument = RetentionMap.mount(element, {
  onEvent: (name, detail) => trigger({ cell: "cell", token: "token", row: "row", window: "window" }[name], detail),
});
watch("value", () => instrument.setPayload(props.value));
instrument.setPayload(props.value);
"""


def RetentionMap() -> gr.HTML:  # noqa: N802 (a class would make gradio write a .pyi file beside this one)
    """A component that shows a `viz.maps.payload.payload`; without one it says that the example is being loaded.

    Fill it from an event or from ``Blocks.load``. Its events `cell`, `token` and `row` hand the handler a
    `gr.EventData` with the attributes `layer`, `group`, `position` and `step` (a token has neither layer nor group, a
    row no position). `window` asks for another part of a text that is too long to be shown whole: it has only
    the `run` and a `position`, which the wanted part holds; answer with ``payload(…, run, window=window_at(len(trace),
    position))``. Its value is large: name it as an output only, never as an input.
    """
    return gr.HTML(html_template=_HTML, css_template=_CSS, js_on_load=_JS + _ON_LOAD, apply_default_css=False)


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ margin: 0; padding: 16px; background: #ffffff; font-family: system-ui, sans-serif; }}
body.dark {{ background: #0f0f11; }}
main {{ max-width: 1600px; margin: 0 auto; }}
main {{ {css} }}
</style>
</head>
<body>
<main>{html}</main>
<script type="application/json" id="payload">{payload}</script>
<script>
const dark = matchMedia("(prefers-color-scheme: dark)");
const follow = () => document.body.classList.toggle("dark", dark.matches);
dark.addEventListener("change", follow);
follow();
{js}
RetentionMap.mount(document.querySelector("main"))
  .setPayload(JSON.parse(document.getElementById("payload").textContent));
</script>
</body>
</html>
"""


def standalone_html(trace: Trace) -> str:
    """One HTML file with the map of this trace in it, for slides, homework and papers: no server, no network."""
    sent = payload(trace)
    title = escape(f"{trace.policy} · {sent['model']}")
    data = json.dumps(sent, ensure_ascii=False).replace("<", "\\u003c")
    return _PAGE.format(title=title, css=_CSS, html=_HTML, js=_JS, payload=data)
