"""A lens: a tab that shows the run which all lenses share, drawn only while somebody looks at it."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import gradio as gr

from core.store import Stored
from viz.page.models import one_by_one
from viz.page.stored import Updates


class SharedRun:
    """The run that the lenses show.

    Attributes:
        stored: a `Stored`, perhaps of a run that still goes on or was stopped.
        ended: set to another value each time a run that has ended is shown.
        lens: the name of the open lens.
    """

    def __init__(self) -> None:
        self.stored, self.ended, self.lens = gr.State(), gr.State(), gr.State("")


def draw_when_seen(
    tab: gr.Tab,
    run: SharedRun,
    draw: Callable[..., Updates | Iterator[Updates]],
    inputs: Sequence[Any],
    outputs: Sequence[Any],
) -> None:
    """Call `draw(stored, *inputs)` when the tab is opened, and when another run is shown while it is open.

    What the lens shows already is not drawn again. A `draw` that yields several updates shows them one by one. Other
    events that fill these outputs need `one_by_one(str(tab.label))`.
    """
    name, drawn = str(tab.label), gr.State()

    def updates(stored: Stored, values: Sequence[Any]) -> Iterator[Updates]:
        made = draw(stored, *values)
        for update in [made] if isinstance(made, dict) else made:
            yield {drawn: stored, **update}

    def opened(stored: Stored, seen: Stored | None, *values: Any) -> Iterator[Updates]:
        yield {run.lens: name}
        if stored is not seen:
            yield from updates(stored, values)

    def ended(lens: str, stored: Stored, *values: Any) -> Iterator[Updates]:
        if lens == name:
            yield from updates(stored, values)
        else:
            yield {run.lens: gr.skip()}

    tab.select(opened, [run.stored, drawn, *inputs], [run.lens, drawn, *outputs], **one_by_one(name))
    run.ended.change(ended, [run.lens, run.stored, *inputs], [run.lens, drawn, *outputs], **one_by_one(name))
