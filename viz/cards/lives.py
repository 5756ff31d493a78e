"""The life of every layer at once, small; a click on one tells which it was (Oren et al. 2024, figures 8, 12, 13)."""

import base64

import gradio as gr
from markupsafe import Markup

from core.trace import Trace
from viz.figures.lives import png, small_lives
from viz.templates import fill
from viz.words.lesson_words import Language
from viz.words.say import say

_CSS = """
.lives { display: grid; grid-template-columns: repeat(auto-fill, minmax(clamp(72px, 6vw, 110px), 1fr)); gap: 8px; }
.lives button { position: relative; padding: 0; border: 0; background: none; font: inherit; font-size: .8rem;
  color: var(--body-text-color); cursor: pointer; text-align: left; }
.lives img, .lives svg { display: block; width: 100%; aspect-ratio: 1; }
.lives svg { position: absolute; inset: 0 0 auto; }
.lives img { outline: 1px solid var(--border-color-primary); }
.lives line { stroke: #e8730c; stroke-width: 1.2; stroke-dasharray: 2 2; vector-effect: non-scaling-stroke; }
.lives button:hover img, .lives button:focus-visible img { outline: 2px solid var(--body-text-color); }
.lives button[aria-pressed="true"] img { outline: 3px solid #e8730c; }
.lives button[aria-pressed="true"] { font-weight: 650; }
"""

_ON_LOAD = """
element.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-layer]");
  if (!button) return;
  for (const other of element.querySelectorAll("[data-layer]")) other.setAttribute("aria-pressed", other === button);
  trigger("panel", { layer: Number(button.dataset.layer) });
});
"""


def Lives() -> gr.HTML:  # noqa: N802 (a class would make gradio write a .pyi file beside this one)
    """A component that shows `lives_html`; its event `panel` hands the handler a `gr.EventData` with the `layer`."""
    return gr.HTML(css_template=_CSS, js_on_load=_ON_LOAD, elem_id="lives")


def lives_html(trace: Trace, opened: int, language: Language = "en") -> Markup:
    """A button with a picture for each layer; one of them is marked as opened.

    The dotted line is the one that Window's rows end at: tokens read `budget` steps ago.
    """
    n, budget = len(trace), trace.policy.budget
    lives = [
        (say(language, "layer {layer}", layer=layer), base64.b64encode(png(life)).decode())
        for layer, life in enumerate(small_lives(trace))
    ]
    limit = budget if budget is not None and budget < n else None
    return fill("cards/lives.html", lives=lives, opened=opened, limit=limit, n=n)
