"""Texts to try: a click on a title puts its text into a box."""

from collections.abc import Mapping

import gradio as gr

from viz.page.models import QUIETLY
from viz.words.catalogue import told


def texts_to_try(label: str, texts: Mapping[str, str], box: gr.Textbox) -> None:
    """Add the texts by title; the titles are translated when a page opens, because Gradio does not translate them."""
    examples = gr.Examples([[text] for text in texts.values()], [box], example_labels=[*texts], label=label)

    def titles() -> gr.Dataset:
        return gr.Dataset(sample_labels=[told(title) for title in texts])

    gr.on(fn=titles, outputs=examples.dataset, concurrency_limit=None, **QUIETLY)
