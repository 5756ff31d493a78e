"""Tables of numbers whose first columns are text."""

from collections.abc import Collection
from typing import Literal

import gradio as gr


def number_table(columns: Collection[str], elem_id: str, texts: int = 1) -> gr.Dataframe:
    """A read-only table, sorted by a click on a heading; the first columns are `texts`, the others are numbers."""
    kinds: list[Literal["str", "number"]] = ["str" if i < texts else "number" for i in range(len(columns))]
    return gr.Dataframe(
        headers=list(columns),
        datatype=kinds,
        show_label=False,
        interactive=False,
        buttons=[],
        elem_id=elem_id,
    )
