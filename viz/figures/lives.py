"""The life of every layer at once, small; a click on one tells which it was (Oren et al. 2024, figures 8, 12, 13)."""

import base64
import io
import math

import gradio as gr
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from core.trace import Trace
from viz.words.lesson_words import Language
from viz.words.say import say

PIXELS = 600_000  # of all pictures together: about 0.3 MB on their way to the browser

# As in the figures: grey and half transparent is evicted, blue is kept; nothing where nothing has been read yet.
_NOT_READ, _EVICTED, _KEPT = (0, 0, 0, 0), (128, 128, 128, 77), (31, 131, 184, 255)

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


def lives_html(trace: Trace, opened: int, language: Language = "en") -> str:
    """A button with a picture for each layer; one of them is marked as opened."""
    pictures = [base64.b64encode(_png(life)).decode() for life in small_lives(trace)]
    limit = _windows_limit(trace)
    names = [say(language, "layer {layer}", layer=layer) for layer in range(len(pictures))]
    buttons = [
        f'<button type="button" data-layer="{layer}" aria-pressed="{str(layer == opened).lower()}">'
        f'<img alt="" src="data:image/png;base64,{picture}">{limit}{name}</button>'
        for layer, (picture, name) in enumerate(zip(pictures, names, strict=True))
    ]
    return f'<div class="lives">{"".join(buttons)}</div>'


def small_lives(trace: Trace) -> NDArray[np.uint8]:
    """(layers, side, side), steps downwards and tokens across: 0 not yet read, 1 … 101 the root of the share kept.

    A layer whose KV heads decide for themselves is the darker the more of them keep a token. Long texts are drawn
    coarser: a row is the last of its steps, a column the mean of its tokens.
    """
    layers, n = len(trace.evicted_at), len(trace)
    edges = np.linspace(0, n, min(n, math.isqrt(PIXELS // layers)) + 1).astype(int)
    step, position = edges[1:, None] - 1, np.arange(n)
    read = position <= step
    tokens = np.add.reduceat(read, edges[:-1], axis=1, dtype=np.int64)
    lives = np.zeros((layers, len(step), len(step)), np.uint8)
    for layer, evicted_at in enumerate(trace.evicted_at):
        kept = (read & (step < evicted_at[:, None])).mean(axis=0)
        share = np.add.reduceat(kept, edges[:-1], axis=1) / np.maximum(tokens, 1)
        # The root lets a single long-lived token among many be seen.
        lives[layer] = np.where(tokens > 0, 1 + np.rint(100 * np.sqrt(share)), 0)
    return lives


def _png(life: NDArray[np.uint8]) -> bytes:
    share = np.linspace(0, 1, 101)[:, None]
    shades = np.rint(np.array(_EVICTED) * (1 - share) + np.array(_KEPT) * share)
    file = io.BytesIO()
    Image.fromarray(np.vstack([_NOT_READ, shades]).astype(np.uint8)[life]).save(file, "png")
    return file.getvalue()


def _windows_limit(trace: Trace) -> str:
    """The dotted line that Window's rows end at: tokens read `budget` steps ago."""
    n, budget = len(trace), trace.policy.budget
    if budget is None or budget >= n:
        return ""
    line = f'<line x1="0" y1="{budget}" x2="{n - budget}" y2="{n}"/>'
    return f'<svg viewBox="0 0 {n} {n}" preserveAspectRatio="none" aria-hidden="true">{line}</svg>'
