"""Buttons that start and stop a run."""

import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from functools import partial
from typing import Any

import gradio as gr

from viz.cards.markup import status
from viz.page.models import ALONE, QUIETLY
from viz.words.catalogue import _

RUN: dict[Any, Any] = {}
"""What a `look` of `starting` yields to start the run."""


def starting(
    button: gr.Button,
    run: Callable[..., Iterator[Any]],
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    line: gr.HTML,
    look: Callable[..., AsyncIterator[Any]] | None = None,
) -> list[Any]:
    """Make a button start a run, ending one that it started before. Returns the events, for `stopping`.

    Args:
        button: the button.
        run: the handler, which waits in line for the model.
        inputs: the components whose values it gets.
        outputs: the components that it may fill.
        line: the component at which Gradio shows its progress.
        look: called first, with the same inputs, without waiting in line; yields updates by component, and `RUN` if the
            run is to start.
    """
    # Its change starts the run: Gradio runs a button's own events in turn, so a second run would wait for the first.
    asked = gr.State()
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
        looking = partial(_looking, asked, look)
        asking = button.click(looking, inputs, [*outputs, asked], concurrency_limit=None, **QUIETLY)
    return [asking, running]


async def _looking(asked: gr.State, look: Callable[..., AsyncIterator[Any]], *inputs: Any) -> AsyncIterator[Any]:
    """What `look` yields, with the state that starts the run changed where it yields `RUN`."""
    async for updates in look(*inputs):
        yield {asked: uuid.uuid4().hex} if updates is RUN else updates


def stopping(start: gr.Button, stop: gr.Button, running: Any, place: gr.HTML, what_stays: str) -> None:
    """Make a button stop a run and say so in `place`: in the run's own status line, a late report would replace it."""
    start.click(lambda: "", None, place, queue=False, **QUIETLY)

    def stopped() -> str:
        return status([_("Stopped."), what_stays], "done")

    stop.click(stopped, None, place, cancels=running, queue=False, **QUIETLY)
