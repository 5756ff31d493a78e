"""Stop: a button that ends a run, and says so."""

from typing import Any

import gradio as gr

from viz.markup import status
from viz.tabs.models import QUIETLY


def stopping(start: gr.Button, stop: gr.Button, running: Any, place: gr.HTML, what_stays: str) -> None:
    """Let a button stop a run and say so in a place of its own: a late report would overwrite it in the run's."""
    start.click(lambda: "", None, place, queue=False, **QUIETLY)
    message = status(f"Stopped. {what_stays}", "done")
    stop.click(lambda: message, None, place, cancels=running, queue=False, **QUIETLY)
