"""Tables as the page shows them, in its language; files keep the English of the code."""

from collections.abc import Sequence
from typing import Any

from pandas import DataFrame

from core.trace import PolicySettings
from viz.words.figure_words import NAMES
from viz.words.lesson_words import Language
from viz.words.say import named, policy_name


def table_in(language: Language, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> dict[str, Any]:
    """Rows under these columns, whose names are those of the code."""
    return {"headers": [named(column, language) for column in columns], "data": rows}


def table_of(rows: Sequence[dict[str, Any]], policies: Sequence[PolicySettings], language: Language) -> dict[str, Any]:
    """Rows that name policies and kinds of token in English, numbers rounded.

    Args:
        rows: all with the same columns.
        policies: that the rows may name.
        language: to be shown in.
    """
    names = NAMES | {str(policy): policy_name(policy, language) for policy in policies}

    def shown(column: str, value: Any) -> Any:
        if isinstance(value, float):
            return round(value, 3)
        if isinstance(value, str) and column != "token" and language == "zh":
            return names.get(value, value)
        return value

    data = [[shown(column, value) for column, value in row.items()] for row in rows]
    return table_in(language, list(rows[0]), data)


def in_english(shown: DataFrame, columns: Sequence[str], policies: Sequence[PolicySettings] = ()) -> DataFrame:
    """What `table_in` has shown in any language, as it is in the code.

    Args:
        shown: the table; its first column names policies.
        columns: the names of its columns.
        policies: that it may name with their budgets.
    """
    names = {chinese: english for english, chinese in NAMES.items()}
    names |= {policy_name(policy, "zh"): str(policy) for policy in policies}
    english = shown.set_axis(list(columns), axis=1)
    return english.assign(**{columns[0]: english[columns[0]].replace(names)})
