"""A small picture of every layer's life; a click on one reports its layer (Oren et al. 2024, figures 8, 12, 13)."""

import base64

import gradio as gr
from markupsafe import Markup

from core.trace import Trace
from viz.figures.lives import png, small_lives
from viz.figures.style import JUST_EVICTED
from viz.templates import fill, static
from viz.words.catalogue import _

_CSS = f".lives {{ --limit: {JUST_EVICTED}; }}\n" + static("lives.css")

_ON_LOAD = """
element.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-layer]");
  if (!button) return;
  for (const other of element.querySelectorAll("[data-layer]")) other.setAttribute("aria-pressed", other === button);
  trigger("panel", { layer: Number(button.dataset.layer) });
});
"""


def Lives() -> gr.HTML:  # noqa: N802 (a class would make gradio write a .pyi file beside this one)
    """A component that shows `lives_html`; its event `panel` gives the clicked `layer` in a `gr.EventData`."""
    return gr.HTML(css_template=_CSS, js_on_load=_ON_LOAD, elem_id="lives")


def lives_html(trace: Trace, opened: int) -> Markup:
    """One button with a picture per layer; that of the layer `opened` is marked.

    The dotted line is at tokens read `budget` steps ago, which Window has just evicted.
    """
    n, budget = len(trace), trace.policy.budget
    lives = [
        (_("layer {layer}", layer=layer), base64.b64encode(png(life)).decode())
        for layer, life in enumerate(small_lives(trace))
    ]
    limit = budget if budget is not None and budget < n else None
    return fill("cards/lives.html", lives=lives, opened=opened, limit=limit, n=n)
