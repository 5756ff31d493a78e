"""Tables as the page shows them: rounded, and in its language. Files have the rows themselves."""

from collections.abc import Mapping, Sequence
from typing import Any

from core.trace import PolicySettings
from viz.words.names import named
from viz.words.policies import policy_name


def table_in(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> dict[str, Any]:
    """Rows under these columns, whose names are those of the code."""
    return {"headers": [named(column) for column in columns], "data": rows}


def table_of(
    rows: Sequence[dict[str, Any]],
    policies: Sequence[PolicySettings],
    digits: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """Rows that name policies and kinds of token in English, numbers rounded.

    Args:
        rows: all with the same columns.
        policies: that the rows may name.
        digits: after the point, by column; three where it says nothing.
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
