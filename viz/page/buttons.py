"""Start and stop: a button that begins a run, and one that ends it and says so."""

import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

import gradio as gr

from viz.cards.markup import status
from viz.page.models import ALONE, QUIETLY
from viz.words.catalogue import _


def starting(
    button: gr.Button,
    run: Callable[..., Iterator[Any]],
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    line: gr.HTML,
    look: Callable[..., AsyncIterator[Any]] | None = None,
) -> list[Any]:
    """Let a button start a run, or end the one it has started and start anew. Returns the events for `stopping`.

    Args:
        button: the button.
        run: the handler, which waits for its turn at the model.
        inputs: its components.
        outputs: its components.
        line: where its progress is shown.
        look: called first, with the same inputs, and does not wait; it gives the outputs and one value more, which
            starts the run if it is new.
    """
    asked = gr.State()  # of a button's own events, Gradio begins one after the other: a second run would wait for Stop
    running = asked.change(
        run,
        inputs,
        outputs,
        api_visibility="private",
        show_progress_on=line,
        show_progress="minimal",
        trigger_mode="multiple",
        **ALONE,
    )
    button.click(None, cancels=running, **QUIETLY)
    if look is None:
        asking = button.click(lambda: uuid.uuid4().hex, None, asked, concurrency_limit=None, **QUIETLY)
    else:
        asking = button.click(look, inputs, [*outputs, asked], concurrency_limit=None, **QUIETLY)
    return [asking, running]


def stopping(start: gr.Button, stop: gr.Button, running: Any, place: gr.HTML, what_stays: str) -> None:
    """Let a button stop a run and say so in a place of its own: a late report would overwrite it in the run's."""
    start.click(lambda: "", None, place, queue=False, **QUIETLY)

    def stopped() -> str:
        return status([_("Stopped."), what_stays], "done")

    stop.click(stopped, None, place, cancels=running, queue=False, **QUIETLY)
