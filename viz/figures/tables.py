"""Tables as the page shows them: rounded and translated. Exported files have the original rows."""

from collections.abc import Mapping, Sequence
from typing import Any

from core.trace import PolicySettings
from viz.words.names import named
from viz.words.policies import policy_name


def table_in(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> dict[str, Any]:
    """The value of a Gradio table: these rows under the translated names of the columns."""
    return {"headers": [named(column) for column in columns], "data": rows}


def rounded(
    columns: Sequence[str], rows: Sequence[Sequence[Any]], digits: Mapping[str, int] | None = None
) -> dict[str, Any]:
    """Like `table_in`, with numbers rounded and set one below the other: at the right, equally many digits in a column.

    Args:
        columns: their names.
        rows: a cell for each column.
        digits: after the decimal point, by column; 3 for other columns. Whole numbers have none.
    """
    places = [(digits or {}).get(column, 3) for column in columns]
    data = [
        [round(cell, n or None) if isinstance(cell, float) else cell for cell, n in zip(row, places, strict=True)]
        for row in rows
    ]
    shown = [[_shown(cell, n) for cell, n in zip(row, places, strict=True)] for row in data]
    styles = [["text-align: end" if isinstance(cell, int | float) else "" for cell in row] for row in data]
    return table_in(columns, data) | {"metadata": {"display_value": shown, "styling": styles}}


def _shown(cell: Any, digits: int) -> str:
    if isinstance(cell, float):
        return f"{cell + 0.0:,.{digits}f}"  # + 0.0: no minus before a zero
    return "" if cell is None else str(cell)


def table_of(
    rows: Sequence[dict[str, Any]],
    policies: Sequence[PolicySettings],
    digits: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """The value of a Gradio table for rows of data: numbers as in `rounded`, names of policies and kinds translated.

    Args:
        rows: at least one, all with the same columns.
        policies: those that the rows may name, as `str(policy)`.
        digits: as in `rounded`.
    """
    names = {str(policy): policy_name(policy) for policy in policies}

    def shown(column: str, value: Any) -> Any:
        return names.get(value) or named(value) if isinstance(value, str) and column != "token" else value

    return rounded(list(rows[0]), [[shown(column, value) for column, value in row.items()] for row in rows], digits)
