"""The cards of the sidebar that choose one to six policies, each with its budget and its own settings.

What a card shows follows its policy in the browser, see static/cards.js; the server only reads and writes the values.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

import gradio as gr

from core.errors import BadInput, UserError
from core.messages import Message
from core.policies import GROUPS, Own, make_policy, presets
from core.policies.own_class import class_of
from core.whole_numbers import MOST_SEED
from viz.cards.policy import groups_html, policy_html
from viz.maps.payload import MOST
from viz.page import limits
from viz.page.asked import KINDS, Chosen
from viz.page.models import QUIETLY
from viz.templates import static
from viz.words.catalogue import told
from viz.words.labels import fixed, later
from viz.words.policies import TRANSLATED

FIRST = (Chosen("tova", 64), Chosen("h2o", 64), Chosen("window", 64))
"""What is chosen on arrival; the stored example is the run of these."""

SETTINGS = {
    key: [setting for setting in fields(policy) if setting.name != "budget" and setting.metadata]  # type: ignore[arg-type]
    for key, policy in KINDS.items()
}
"""Each policy's own settings."""

SLOTS = max(map(len, SETTINGS.values()))
"""How many settings a card has room for: those of the policy with the most."""

ANY = (0, MOST_SEED)
"""The range of a slot: which policy is chosen in the browser is not known to what Gradio checks a value with."""

MOST_TO_SLIDE = 100
"""A slider with more steps than it is pixels wide would skip some; such a setting is a number alone."""

WIDTH = 2 + SLOTS
"""How many values a card has: policy, budget, settings."""


@dataclass(frozen=True)
class Card:
    """The components of one card; it is on the page if a policy is chosen in it."""

    place: gr.Column
    policy: gr.Dropdown
    budget: gr.Number
    settings: Sequence[gr.Slider]
    traits: gr.HTML
    remove: gr.Button

    @property
    def values(self) -> list[Any]:
        """The components whose values say what is chosen."""
        return [self.policy, self.budget, *self.settings]

    @property
    def looks(self) -> list[Any]:
        """The components that look as the policy wants, see `_look`."""
        return [self.place, self.traits, self.budget, *self.settings]


class PolicyCards:
    """Cards for up to `MOST` policies. The first ones are filled; the others wait, not shown, until one is added.

    Attributes:
        values: the components that say what is chosen, `WIDTH` for each card.
    """

    def __init__(self, page: gr.Blocks, together: gr.Checkbox) -> None:
        """Add the cards; while `together` is checked, all have the budget that was written last."""
        cards = [_card(i) for i in range(MOST)]
        add = gr.Button(Message("+ Add a policy"), size="sm", elem_id="add-policy")
        self.values: list[Any] = [component for card in cards for component in card.values]
        looks = {key: _look(key) for key in ("", *KINDS)}
        rows = {key: _row(Chosen(key)) for key in ("", *KINDS)}
        own_names = [setting.name for setting in SETTINGS[Own.key]]
        own = f"({static('own_policy.js')})({json.dumps(own_names)}, {json.dumps(presets(2))})"
        page.load(None, js=f"() => ({static('cards.js')})({json.dumps(looks)}, {json.dumps(rows)}, {MOST}, {own})")
        gr.HTML(
            later(lambda: groups_html(GROUPS)),
            js_on_load="window.ownClass = server.own_class;",
            server_functions=[own_class],
            elem_classes="unseen",
        )
        add.click(None, self.values, self.values, js="(...all) => policyCards.add(...all)", **QUIETLY)
        policies, budgets = [card.policy for card in cards], [card.budget for card in cards]
        for i, card in enumerate(cards):
            card.policy.change(None, card.policy, card.looks, js="(key) => policyCards.look(key)", **QUIETLY)
            card.policy.input(None, card.policy, card.settings, js="(key) => policyCards.defaults(key)", **QUIETLY)
            without = f"(...all) => policyCards.remove({i}, all)"
            card.remove.click(None, self.values, self.values, js=without, **QUIETLY)
            same = f"(together, ...all) => together && all[{i}] ? all.map(() => all[{i}]) : all"
            click = "(...all) => policyCards.clicked(...all)"
            card.traits.click(None, [card.budget, *card.settings], card.settings, js=click, **QUIETLY)
            card.budget.input(None, [together, *budgets], budgets, js=same, **QUIETLY)
        settled = "(...all) => policyCards.settled(...all)"
        gr.on([component.change for component in self.values], None, self.values, js=settled, **QUIETLY)
        buttons = "(...keys) => policyCards.buttons(...keys)"
        gr.on([policy.change for policy in policies], None, policies, [add, cards[0].remove], js=buttons, **QUIETLY)

    def showing(self, policies: Sequence[Chosen]) -> dict[Any, Any]:
        """Updates after which the cards show these policies."""
        shown = [*policies, *[Chosen("")] * (MOST - len(policies))]
        return dict(zip(self.values, (value for chosen in shown for value in _row(chosen)), strict=True))


def chosen_in(values: Sequence[Any]) -> tuple[Chosen, ...]:
    """What is chosen, from the values of the cards.

    Raises:
        BadInput: a budget is missing.
    """
    chosen = []
    for i in range(0, len(values), WIDTH):
        key, budget, *own = values[i : i + WIDTH]
        if not key:
            continue
        if key == "full":
            chosen.append(Chosen(key))
            continue
        if budget is None:
            raise BadInput("{policy} has no budget. Give it a whole number from 1.", policy=KINDS[key].label)
        # the other slots are empty
        settings = {
            setting.name: int(default if value is None else value)
            for setting, value, default in zip(SETTINGS[key], own, _row(Chosen(key))[2:], strict=False)
        }
        chosen.append(Chosen(key, int(budget), settings))
    return tuple(chosen)


def _card(i: int) -> Card:
    chosen = FIRST[i] if i < len(FIRST) else Chosen("")
    key, budget, *own = _row(chosen)
    place_look, traits, budget_look, *looks = _look(chosen.key)
    with gr.Column(visible=place_look["visible"], elem_classes="card", min_width=0) as place:
        with gr.Row():
            policy = gr.Dropdown(
                [(TRANSLATED.get(key, policy.label), key) for key, policy in KINDS.items()],
                value=key,
                label=Message("Policy {i}", i=i + 1),
                container=False,
                elem_id=f"policy-{i + 1}",
                min_width=110,
                scale=3,
            )
            amount = gr.Number(
                min(budget, limits.current.max_budget),
                label=Message("Budget"),
                minimum=1,
                precision=0,
                container=False,
                visible=budget_look["visible"],
                elem_id=f"budget-{i + 1}",
                min_width=64,
                scale=2,
            )
            remove = gr.Button("×", size="sm", elem_id=f"remove-{i + 1}", min_width=32, scale=0)
        explained = gr.HTML(traits, elem_classes="traits")
        settings = [
            gr.Slider(
                *ANY,
                value=value,
                step=1,
                precision=0,
                label=look.get("label"),
                visible=look["visible"],
                elem_classes=look.get("elem_classes"),
                min_width=90,
            )
            for value, look in zip(own, looks, strict=True)
        ]
    return Card(place, policy, amount, settings, explained, remove)


def _look(key: str) -> list[Any]:
    """What a card of this policy looks like: updates of `Card.looks`, in the language of the browser that gets them."""
    settings = [
        gr.update(
            label=str(fixed(setting.metadata["label"])),
            minimum=setting.metadata["minimum"],
            maximum=setting.metadata["maximum"],
            elem_classes=["slides"] if setting.metadata["maximum"] <= MOST_TO_SLIDE else [],
            visible=True,
        )
        for setting in SETTINGS.get(key, ())
    ]
    return [
        gr.update(visible=key != ""),
        str(later(partial(policy_html, KINDS[key]))) if key else "",
        gr.update(visible=key != "full"),
        *settings,
        *[gr.update(visible=False)] * (SLOTS - len(settings)),
    ]


def own_class(own: dict[str, Any]) -> str:
    """A policy of one's own, from budget and settings by name, as Python; or what is wrong with its settings."""
    try:
        policy = make_policy(Own.key, **own)
    except UserError as e:
        return told(e.message)
    assert isinstance(policy, Own)
    return class_of(policy)


def _row(chosen: Chosen) -> list[Any]:
    """The values of a card that shows this policy; its budget and settings are the defaults if they are not chosen."""
    own = [chosen.settings.get(setting.name, setting.default) for setting in SETTINGS.get(chosen.key, ())]
    budget = chosen.budget or min(64, limits.current.max_budget)
    return [chosen.key or None, budget, *own, *[0] * (SLOTS - len(own))]
