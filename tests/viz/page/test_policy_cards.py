"""The value of the cards of policies: what is shown is what is chosen, and what no page sends is refused in words."""

from typing import Any

import pytest

from core.errors import BadInput
from viz.page.asked import Chosen
from viz.page.policy_cards import FIRST, chosen_in, shown_on_cards


def test_what_is_shown_is_what_is_chosen() -> None:
    policies = (*FIRST, Chosen("full"), Chosen("window+i", 7, {"n_sink": 2}))
    assert chosen_in(shown_on_cards(policies)) == policies


@pytest.mark.parametrize("budget", [None, 1.5, float("inf"), "8"])
def test_a_policy_without_a_whole_budget_is_told_by_its_name(budget: Any) -> None:
    with pytest.raises(BadInput, match="TOVA has no budget"):
        chosen_in([{"key": "tova", "budget": budget, "settings": {}}])


@pytest.mark.parametrize(
    "cards",
    [
        None,
        3,
        "tova",
        [None],
        [{"key": "tova"}],
        [{"key": "tova", "budget": 8, "settings": {}, "more": 1}],
        [{"key": "nobody's", "budget": 8, "settings": {}}],
        [{"key": ["tova"], "budget": 8, "settings": {}}],
        [{"key": "tova", "budget": 8, "settings": 5}],
        [{"key": "tova", "budget": 8, "settings": "5"}],
    ],
)
def test_what_no_page_sends_is_refused_in_words(cards: Any) -> None:
    with pytest.raises(BadInput, match="Reload the page"):
        chosen_in(cards)
