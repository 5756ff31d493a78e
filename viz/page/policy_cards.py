"""The cards of the sidebar that choose one to six policies, each with its budget and its own settings."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

import gradio as gr

from core.errors import BadInput
from core.messages import Message
from viz.page import limits
from viz.page.asked import KINDS, Chosen
from viz.page.models import QUIETLY
from viz.words.labels import later
from viz.words.policies import policy_traits

MOST = 6
FIRST = (Chosen("tova", 64), Chosen("h2o", 64), Chosen("window", 64))
"""What is chosen on arrival; the stored example is the run of these."""

SETTINGS = [
    (key, setting)
    for key, policy in KINDS.items()
    for setting in fields(policy)  # type: ignore[arg-type]
    if setting.name != "budget" and setting.metadata
]
"""The policies' own settings, each with the key of the policy that it belongs to."""

WIDTH = 2 + len(SETTINGS)
"""How many values a card has: policy, budget, and every setting of any policy."""


@dataclass(frozen=True)
class Card:
    """The components of one card; it is on the page if a policy is chosen in it."""

    place: gr.Column
    policy: gr.Dropdown
    budget: gr.Number
    settings: Sequence[gr.Number]
    traits: gr.HTML
    remove: gr.Button

    @property
    def values(self) -> list[Any]:
        """The components whose values say what is chosen."""
        return [self.policy, self.budget, *self.settings]


class PolicyCards:
    """Cards for up to `MOST` policies. The first ones are filled; the others wait, not shown, until one is added.

    Attributes:
        values: the components that say what is chosen, `WIDTH` for each card.
        outputs: the components that `show` and `showing` fill.
        events: those that add and remove cards; the values of cards that come or go do not change by themselves.
    """

    def __init__(self, together: gr.Checkbox) -> None:
        """Add the cards; while `together` is checked, all have the budget that was written last."""
        self.cards = [_card(i) for i in range(MOST)]
        self.add = gr.Button(Message("+ Add a policy"), size="sm", elem_id="add-policy")
        self.values: list[Any] = [component for card in self.cards for component in card.values]
        self.outputs: list[Any] = [
            component for card in self.cards for component in (card.place, card.traits, *card.values)
        ] + [self.add]
        self.events = [self.add.click(self._one_more, self.values, self.outputs, **QUIETLY)]
        budgets = [card.budget for card in self.cards]
        for i, card in enumerate(self.cards):
            card.policy.input(self.show, self.values, self.outputs, **QUIETLY)
            self.events.append(card.remove.click(self._without(i), self.values, self.outputs, **QUIETLY))
            same = f"(together, ...all) => together && all[{i}] ? all.map(() => all[{i}]) : all"
            card.budget.input(None, [together, *budgets], budgets, js=same, **QUIETLY)

    def show(self, *values: Any) -> dict[Any, Any]:
        """Updates after which the cards show these values, without gaps, and only settings of their policies."""
        rows = [values[i : i + WIDTH] for i in range(0, len(values), WIDTH)]
        filled = [row for row in rows if row[0]]
        updates: dict[Any, Any] = {self.add: gr.update(interactive=len(filled) < MOST)}
        for card, row in zip(self.cards, filled + [[None, *_defaults()]] * (MOST - len(filled)), strict=True):
            key, budget, *own = row
            updates |= {
                card.place: gr.update(visible=key is not None),
                card.policy: gr.update(value=key),
                card.budget: gr.update(value=budget, visible=key != "full"),
                card.traits: "" if key is None else policy_traits(KINDS[key]),
            }
            for component, value, (owner, _setting) in zip(card.settings, own, SETTINGS, strict=True):
                updates[component] = gr.update(value=value, visible=owner == key)
        return updates

    def showing(self, policies: Sequence[Chosen]) -> dict[Any, Any]:
        """Updates after which the cards show these policies."""
        return self.show(*(value for chosen in policies for value in _row(chosen)))

    def _one_more(self, *values: Any) -> dict[Any, Any]:
        """One more card, with a policy that is not chosen yet and the budget of the first."""
        chosen = values[::WIDTH]
        free = next((key for key in KINDS if key not in chosen), "tova")
        place = next(i for i in range(MOST) if not chosen[i])
        budget = values[1] if values[0] else None
        new = [free, budget or _defaults()[0], *_defaults()[1:]]
        return self.show(*values[: place * WIDTH], *new, *values[(place + 1) * WIDTH :])

    def _without(self, i: int) -> Any:
        def removed(*values: Any) -> dict[Any, Any]:
            if sum(key is not None for key in values[::WIDTH]) == 1:
                raise BadInput("One policy stays: there would be nothing to run.")
            return self.show(*values[: i * WIDTH], *values[(i + 1) * WIDTH :])

        return removed


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
        settings = {
            setting.name: int(default if value is None else value)
            for value, default, (owner, setting) in zip(own, _defaults()[1:], SETTINGS, strict=True)
            if owner == key
        }
        chosen.append(Chosen(key, int(budget), settings))
    return tuple(chosen)


def _card(i: int) -> Card:
    key, budget, *own = _row(FIRST[i]) if i < len(FIRST) else [None, *_defaults()]
    budget = min(budget, limits.current.max_budget)
    with gr.Column(visible=key is not None, elem_classes="card", min_width=0) as place:
        with gr.Row():
            policy = gr.Dropdown(
                [(policy.label, key) for key, policy in KINDS.items()],
                value=key,
                label=Message("Policy {i}", i=i + 1),
                container=False,
                elem_id=f"policy-{i + 1}",
                min_width=110,
                scale=3,
            )
            amount = gr.Number(
                budget,
                label=Message("Budget"),
                minimum=1,
                precision=0,
                container=False,
                elem_id=f"budget-{i + 1}",
                min_width=64,
                scale=2,
            )
            remove = gr.Button("×", size="sm", elem_id=f"remove-{i + 1}", min_width=32, scale=0)
        traits = gr.HTML(later(partial(policy_traits, KINDS[key])) if key else "", elem_classes="traits")
        settings = [
            gr.Number(
                value,
                label=setting.metadata["label"],
                minimum=setting.metadata["minimum"],
                precision=0,
                visible=owner == key,
                elem_id=f"{setting.name}-{i + 1}",
                min_width=90,
            )
            for value, (owner, setting) in zip(own, SETTINGS, strict=True)
        ]
    return Card(place, policy, amount, settings, traits, remove)


def _row(chosen: Chosen) -> list[Any]:
    """The values of a card that shows this policy."""
    defaults = _defaults()[1:]
    own = [
        chosen.settings.get(setting.name, default) if owner == chosen.key else default
        for (owner, setting), default in zip(SETTINGS, defaults, strict=True)
    ]
    return [chosen.key, chosen.budget or _defaults()[0], *own]


def _defaults() -> list[Any]:
    """Budget and settings of a card that nobody has filled in."""
    return [min(64, limits.current.max_budget), *(setting.default for _owner, setting in SETTINGS)]
