"""Tables as the page shows them: rounded, and in its language. Files have the rows themselves."""

from collections.abc import Mapping, Sequence
from typing import Any

from core.trace import PolicySettings
from viz.words.figure_words import NAMES
from viz.words.lesson_words import Language
from viz.words.say import named, policy_name


def table_in(language: Language, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> dict[str, Any]:
    """Rows under these columns, whose names are those of the code."""
    return {"headers": [named(column, language) for column in columns], "data": rows}


def table_of(
    rows: Sequence[dict[str, Any]],
    policies: Sequence[PolicySettings],
    language: Language,
    digits: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """Rows that name policies and kinds of token in English, numbers rounded.

    Args:
        rows: all with the same columns.
        policies: that the rows may name.
        language: to be shown in.
        digits: after the point, by column; three where it says nothing.
    """
    digits = digits or {}
    names = NAMES | {str(policy): policy_name(policy, language) for policy in policies}

    def shown(column: str, value: Any) -> Any:
        if isinstance(value, float):
            return round(value, digits.get(column, 3) or None)
        if isinstance(value, str) and column != "token" and language == "zh":
            return names.get(value, value)
        return value

    data = [[shown(column, value) for column, value in row.items()] for row in rows]
    return table_in(language, list(rows[0]), data)
