"""The page: see which tokens a Transformer keeps when its memory is finite.

python app.py                        # the embedded model, on this machine only
python app.py --model PATH_OR_ID     # any supported model, from a directory or the hub
"""

import argparse
import json
import os
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

# Before torch is loaded: threads that wait actively make two processes on the same cores many times slower than one.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import gradio as gr
from huggingface_hub.constants import HF_HOME

from core import MODELS, LanguageModel
from core.models import DEFAULT_MODEL
from viz.tabs.ask import ask_tab
from viz.tabs.budget import budget_tab
from viz.tabs.compare import compare_tab
from viz.tabs.explore import explore_tab
from viz.tabs.measure import measure_tab
from viz.tabs.models import language_model
from viz.tabs.write import write_tab

VOTES = Path(HF_HOME) / "multi-state" / "votes.db"

TITLE = "What does a Transformer keep?"

LEAD = (
    "A Transformer remembers one row for every token it has read. Give it a finite memory and a rule for what to "
    "forget, and watch what each layer keeps of your own text."
)

CSS = """
.gradio-container { padding: 0 !important; }
.gradio-container .main { padding: 12px clamp(8px, 2vw, 40px) !important; }
.gradio-container .column, .gradio-container .row { gap: 10px; }
#title h1 { margin: 0 0 2px; font-size: 1.5rem; } #title p { margin: 0; }
#title, #title .prose { overflow: visible; } #title { min-width: min(420px, 100%); } #header { align-items: end; }
#controls { align-items: stretch; } #controls .block { padding: 8px 12px; }
#buttons { justify-content: stretch; } #buttons button { flex: 1; min-height: 36px; padding: 4px; }
.status { margin: 0; padding: 4px 12px; border-radius: 6px; border-left: 4px solid var(--body-text-color-subdued);
  background: var(--background-fill-secondary); color: var(--body-text-color); font-variant-numeric: tabular-nums; }
.status.done { border-color: #00618f; } .status.error { border-color: #b3261e; background: #b3261e; color: #fff; }
.findings { display: grid; grid-template-columns: repeat(auto-fill, minmax(225px, 1fr)); gap: 8px 16px; margin: 0;
  color: var(--body-text-color); }
.findings dt { font-size: 1.25rem; line-height: 1.3; font-weight: 650; font-variant-numeric: tabular-nums; }
.findings dd { margin: 0; line-height: 1.35; font-size: .92rem; }
#token-words p { margin: 0 0 6px; color: var(--body-text-color); }
.js-plotly-plot .main-svg > g:not(.hoverlayer) :not(.heatmap-label) > text { fill: var(--body-text-color) !important; }
.gradio-container h3 { margin: 0; font-size: 1.05rem; }
"""

FONT = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "Liberation Sans", "sans-serif")

THEME = gr.themes.Soft(primary_hue="sky", font=FONT, spacing_size="sm", text_size="md").set(
    block_title_background_fill="none",
    block_title_background_fill_dark="none",
    block_title_text_color="*body_text_color",
    block_title_text_color_dark="*body_text_color",
    block_title_padding="0",
    block_label_background_fill="none",
    block_label_background_fill_dark="none",
    block_label_text_color="*body_text_color",
    block_label_text_color_dark="*body_text_color",
    button_primary_background_fill="#00618f",
    button_primary_background_fill_hover="#00507a",
    button_primary_background_fill_dark="#00618f",
    button_primary_background_fill_hover_dark="#0076ad",
    checkbox_border_color="*body_text_color_subdued",
    checkbox_border_color_dark="*body_text_color_subdued",
    input_border_width="1px",
    input_border_color="*border_color_primary",
    slider_color="#00618f",
    slider_color_dark="#6ec1ee",
)

TIPS = {
    "model": "Which language model reads the text. Heads are given as query heads / KV heads.",
    "policy": "The rule that says which row a layer forgets when its multi-state is full.",
    "budget": "How many rows (one per token) each layer may hold. Everything else is evicted, for good.",
    "new-tokens": "0 only reads your text; with more, the model writes on from what it still remembers.",
    "n_sink": "The first i tokens of the text are never evicted.",
    "seed": "Another seed evicts other tokens.",
}
"""What a control means, shown when the pointer rests on it."""

SHOW_TIPS = f"""() => {{
  for (const [id, tip] of Object.entries({json.dumps(TIPS)})) {{
    const control = document.getElementById(id);
    if (control) control.title = tip;
  }}
}}"""


def build(
    default: str = DEFAULT_MODEL, background: "Future[LanguageModel] | None" = None, votes: Path = VOTES
) -> gr.Blocks:
    """The page.

    Args:
        default: the model that is chosen at first.
        background: its loading, whose progress the page shows.
        votes: the file of stories and votes.
    """
    choices = [(str(spec), name) for name, spec in MODELS.items()]
    if default not in MODELS:
        choices.insert(0, (default, default))
    with gr.Blocks(title=TITLE, analytics_enabled=False, fill_width=True) as page:
        with gr.Row(elem_id="header"):
            gr.Markdown(f"# {TITLE}\n{LEAD}", elem_id="title")
            model = gr.Dropdown(choices, value=default, label="Model", scale=0, min_width=380, elem_id="model")
        with gr.Tabs():
            with gr.Tab("Explore"):
                text, trace = explore_tab(page, model, background)
            with gr.Tab("Compare"):
                traces = compare_tab(model, text)
            with gr.Tab("Measure") as tab:
                measure_tab(tab, trace, traces)
            with gr.Tab("Budget"):
                budget_tab(model, text)
            with gr.Tab("Ask"):
                ask_tab(model)
            with gr.Tab("Write") as tab:
                write_tab(tab, model, votes)
        page.load(None, js=SHOW_TIPS)
    return page


def main() -> None:
    """Start the server; the model loads while the page is already there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=DEFAULT_MODEL, help="a name from the menu, a directory or a hub id")
    parser.add_argument("--host", help="address to listen on (default: this machine only)")
    parser.add_argument("--port", type=int, help="port to listen on (default: the first free one from 7860)")
    parser.add_argument("--votes", type=Path, default=VOTES, help="the file of stories and votes")
    arguments = parser.parse_args()
    background = ThreadPoolExecutor(1).submit(language_model, arguments.model)
    page = build(arguments.model, background, arguments.votes)
    page.launch(server_name=arguments.host, server_port=arguments.port, theme=THEME, css=CSS, footer_links=[])


if __name__ == "__main__":
    main()
