"""The cards of the sidebar that choose one to six policies, each with its budget and its own settings.

They are one component, which lives in the browser, see static/policy_cards.js. Its value is a list of dicts with the
attributes of `Chosen`.
"""

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import gradio as gr

from core.errors import BadInput, UserError
from core.policies import Own, make_policy
from core.policies.own_class import class_of
from viz.cards.policy import policies_html
from viz.maps.payload import MOST
from viz.page import limits
from viz.page.asked import KINDS, Chosen
from viz.templates import static
from viz.words.catalogue import told
from viz.words.labels import later

BUDGET = 64
FIRST = (Chosen("tova", BUDGET), Chosen("h2o", BUDGET), Chosen("window", BUDGET))
"""What is chosen on arrival. The stored example is the run of these: after a change, `make examples`."""


def PolicyCards() -> gr.HTML:  # noqa: N802 (a class would make gradio write a .pyi file beside this one)
    """The cards; `chosen_in` reads their value, and `shown_on_cards` makes one."""
    most = limits.current.max_budget
    usual = min(BUDGET, most)
    return gr.HTML(
        shown_on_cards([replace(chosen, budget=min(chosen.budget or usual, most)) for chosen in FIRST]),
        label=later(lambda: policies_html(MOST, usual)),
        html_template="",
        js_on_load=f"({static('policy_cards.js')})(element, props, watch, server)",
        server_functions=[own_class],
        apply_default_css=False,
        elem_id="policies",
    )


def shown_on_cards(policies: Sequence[Chosen]) -> list[dict[str, Any]]:
    """The value with which the cards show these policies."""
    return [asdict(chosen) for chosen in policies]


def chosen_in(cards: Any) -> tuple[Chosen, ...]:
    """What is chosen, from the value of the cards.

    Raises:
        BadInput: a budget is missing or no whole number, or this is no value of the cards.
    """
    try:
        return tuple(_chosen(**card) for card in cards)
    except (KeyError, TypeError) as e:  # the page does not send this, but a program might
        raise BadInput("These are no policies as the page sends them. Reload the page.") from e


def _chosen(key: str, budget: Any, settings: dict[str, Any]) -> Chosen:
    policy = KINDS[key]
    if key == "full":
        return Chosen(key)
    if not isinstance(budget, int):
        raise BadInput("{policy} has no budget. Give it a whole number from 1.", policy=policy.label)
    return Chosen(key, budget, {**settings})


def own_class(own: dict[str, Any]) -> str:
    """A policy of one's own, from budget and settings by name, as Python; or what is wrong with its settings."""
    try:
        policy = make_policy(Own.key, **own)
    except UserError as e:
        return told(e.message)
    assert isinstance(policy, Own)
    return class_of(policy)
