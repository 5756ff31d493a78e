"""Tables of numbers whose first column is text."""

from collections.abc import Collection
from typing import Literal

import gradio as gr


def number_table(columns: Collection[str], elem_id: str) -> gr.Dataframe:
    """A read-only table, sorted by a click on a heading; the first column is text, the others are numbers."""
    kinds: list[Literal["str", "number"]] = ["str" if i == 0 else "number" for i in range(len(columns))]
    return gr.Dataframe(
        headers=list(columns),
        datatype=kinds,
        show_label=False,
        interactive=False,
        buttons=[],
        elem_id=elem_id,
    )
