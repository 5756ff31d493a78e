"""Contenders: controls to choose several policies, each with its own budget."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import gradio as gr

import core
from core.errors import BadInput
from core.messages import Message
from core.policies import POLICIES, Oracle, Policy, make_policy, settings_of
from core.trace import PolicySettings, Tokens
from viz.page import limits
from viz.page.models import QUIETLY

if TYPE_CHECKING:
    from core import LanguageModel

MOST = 6
NONE = ""
CHOICES = [("–", NONE)] + [(policy.label, key) for key, policy in POLICIES.items() if key != "full"]
ORACLE = (Oracle.label, Oracle.key)
LABEL_OF_CHOICE = {key: label for label, key in [*CHOICES, ORACLE]}


def contenders(name: str, chosen: Sequence[str], budget: int, *, oracle: bool = False) -> list[Any]:
    """Controls for up to `MOST` policies with their budgets, and a slider that sets all budgets at once.

    Args:
        name: the beginning of the elements' ids.
        chosen: the keys of the policies that are chosen at first.
        budget: the budget of each at first, lowered to the limit.
        oracle: whether the policy that knows the future may be chosen.

    Returns:
        The inputs for an event: policy, budget, policy, budget, …; `pairs` reads their values.
    """
    most = limits.current.max_budget
    budget = min(budget, most)
    places: list[gr.Column] = []
    policies: list[gr.Dropdown] = []
    budgets: list[gr.Number] = []
    with gr.Row(elem_classes="contenders"):
        for i in range(MOST):
            with gr.Column(min_width=118, visible=i < len(chosen)) as place, gr.Group():
                policies.append(
                    gr.Dropdown(
                        CHOICES + [ORACLE] * oracle,
                        value=chosen[i] if i < len(chosen) else NONE,
                        label=Message("Policy {i}", i=i + 1),
                        elem_id=f"{name}-policy-{i + 1}",
                        min_width=110,
                    )
                )
                budgets.append(
                    gr.Number(
                        budget,
                        label=Message("Budget"),
                        minimum=1,
                        precision=0,
                        elem_id=f"{name}-budget-{i + 1}",
                        min_width=110,
                    )
                )
            places.append(place)
        with gr.Column(min_width=190, scale=2):
            everywhere = gr.Slider(
                1,
                most,
                value=budget,
                step=1,
                label=Message("One budget for all"),
                elem_id=f"{name}-budget",
            )
            more = gr.Button(Message("Add a policy"), size="sm", elem_id=f"{name}-more")
    shown = gr.State(len(chosen))

    def one_more(n: int) -> list[Any]:
        n = min(n + 1, MOST)
        return [n, gr.update(interactive=n < MOST), *(gr.update(visible=i < n) for i in range(MOST))]

    more.click(one_more, shown, [shown, more, *places], **QUIETLY)
    everywhere.change(None, everywhere, budgets, js=f"(budget) => Array({MOST}).fill(budget)", **QUIETLY)
    return [component for pair in zip(policies, budgets, strict=True) for component in pair]


def pairs(values: Sequence[Any]) -> list[tuple[str, int]]:
    """The (key, budget) pairs that are chosen, from the values of `contenders`.

    Raises:
        BadInput: none is chosen, one is chosen twice, or a budget is missing or above the limit.
    """
    chosen: list[tuple[str, int]] = []
    for key, budget in zip(values[::2], values[1::2], strict=True):
        if key == NONE:
            continue
        label = LABEL_OF_CHOICE[key]
        if budget is None:
            raise BadInput("{policy} has no budget. Give it a whole number from 1.", policy=label)
        if (key, int(budget)) in chosen:
            raise BadInput(
                "{policy} with a budget of {budget:,} is chosen twice. Change one of the two.",
                policy=label,
                budget=int(budget),
            )
        chosen.append((key, int(budget)))
    if not chosen:
        raise BadInput("Choose at least one policy.")
    limits.current.check_budgets(budget for _, budget in chosen)
    return chosen


def contender(lm: "LanguageModel", tokens: Tokens, key: str, budget: int | None) -> Policy:
    """The policy for a run on these tokens; for the oracle, the model reads them all first."""
    if key == Oracle.key and budget is not None:
        return core.foresee(lm, tokens, budget)
    return make_policy(key, None if key == "full" else budget)


def contender_settings(key: str, budget: int | None) -> PolicySettings:
    """What identifies a policy in the store; for the oracle, without reading the tokens first."""
    if key == Oracle.key:
        return PolicySettings(key, Oracle.label, Oracle.scope, budget)
    return settings_of(make_policy(key, None if key == "full" else budget))
