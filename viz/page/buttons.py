"""Buttons that start and stop a run."""

import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

import gradio as gr

from core.messages import Message
from viz.cards.markup import status
from viz.page.models import ALONE, QUIETLY
from viz.words.catalogue import _

RUN: dict[Any, Any] = {}
"""What a `look` of `starting` yields to start the run."""


def start_and_stop(label: str, name: str) -> tuple[gr.Button, gr.Button]:
    """The two buttons of a lens's own run, side by side; their ids are the name with "-run" and "-stop"."""
    with gr.Row(elem_classes="buttons"):
        start = gr.Button(label, variant="primary", elem_id=f"{name}-run", min_width=0)
        return start, gr.Button(Message("Stop"), elem_id=f"{name}-stop", min_width=0)


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
            run is to start. It ends when the button is pressed again.
    """
    given = _Given(inputs)

    def runs(*packed: Any) -> Iterator[Any]:
        yield from run(*given.unpacked(*packed))

    async def looks(latest: list[str], *packed: Any) -> AsyncIterator[Any]:
        assert look is not None
        own = uuid.uuid4().hex
        latest[:] = [own]
        async for updates in look(*given.unpacked(*packed)):
            if latest != [own]:
                return
            yield {asked: own} if updates is RUN else updates

    # Its change starts the run: Gradio runs a button's own events in turn, so a second run would wait for the first.
    asked, latest = gr.State(), gr.State([])
    running = asked.change(
        runs,
        given.packed,
        outputs,
        api_visibility="private",
        show_progress_on=line,
        show_progress="minimal",
        **ALONE,
    )
    button.click(None, cancels=running, **QUIETLY)
    click = button.click(None, given.in_browser, given.values, js="(...values) => [values]", **QUIETLY)
    at_once = QUIETLY | {"trigger_mode": "multiple", "concurrency_limit": None}
    if look is None:
        asking = click.then(lambda: uuid.uuid4().hex, None, asked, **at_once)
    else:
        asking = click.then(looks, [latest, *given.packed], [*outputs, asked], **at_once)
    return [asking, running]


class _Given:
    """What a run is given, with all values that are in the browser as one, as they were at the click.

    So what runs is what `look` has seen, whatever is typed meanwhile. And at every report of a run, Gradio's page
    updates each input of the event, with a search for each; this is one input.

    Attributes:
        in_browser: the inputs whose values are in the browser.
        values: has their values, as a list, since the click.
        packed: the inputs of the events, for `unpacked`.
    """

    def __init__(self, inputs: Sequence[Any]) -> None:
        self._inputs = inputs
        states = [each for each in inputs if isinstance(each, gr.State)]  # of these only the server has the values
        self.in_browser = [each for each in inputs if each not in states]
        self.values = gr.JSON(visible=False)
        self.packed = [self.values, *states]

    def unpacked(self, values: list[Any], *states: Any) -> list[Any]:
        """The values of the inputs in their order, as Gradio would hand them over."""
        of_browser, of_server = iter(values), iter(states)
        return [
            next(of_server) if isinstance(each, gr.State) else each.preprocess(next(of_browser))
            for each in self._inputs
        ]


def stopping(start: gr.Button, stop: gr.Button, running: Any, place: gr.HTML, what_stays: str) -> None:
    """Make a button stop a run and say so in `place`: in the run's own status line, a late report would replace it."""
    start.click(lambda: "", None, place, queue=False, **QUIETLY)

    def stopped() -> str:
        return status([_("Stopped."), what_stays], "done")

    stop.click(stopped, None, place, cancels=running, queue=False, **QUIETLY)
