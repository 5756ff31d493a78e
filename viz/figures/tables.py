"""Tables as the page shows them: rounded and translated. Exported files have the original rows."""

from collections.abc import Mapping, Sequence
from typing import Any

from core.trace import PolicySettings
from viz.words.names import named
from viz.words.policies import policy_name


def table_in(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> dict[str, Any]:
    """The value of a Gradio table: these rows under the translated names of the columns."""
    return {"headers": [named(column) for column in columns], "data": rows}


def table_of(
    rows: Sequence[dict[str, Any]],
    policies: Sequence[PolicySettings],
    digits: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """The value of a Gradio table for rows of data: numbers rounded, names of policies and kinds translated.

    Args:
        rows: at least one, all with the same columns.
        policies: those that the rows may name, as `str(policy)`.
        digits: after the decimal point, by column; 3 for other columns.
    """
    digits = digits or {}
    names = {str(policy): policy_name(policy) for policy in policies}

    def shown(column: str, value: Any) -> Any:
        if isinstance(value, float):
            return round(value, digits.get(column, 3) or None)
        if isinstance(value, str) and column != "token":
            return names.get(value) or named(value)
        return value

    data = [[shown(column, value) for column, value in row.items()] for row in rows]
    return table_in(list(rows[0]), data)
