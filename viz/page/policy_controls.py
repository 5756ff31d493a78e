"""The controls that choose a policy: its name, its budget, and its own settings."""

from dataclasses import fields
from typing import Any, cast

import gradio as gr

from core.messages import Message
from core.policies import POLICIES
from viz.page import limits
from viz.page.models import QUIETLY

SETTINGS = [
    (key, setting)
    for key, policy in POLICIES.items()
    for setting in fields(policy)  # type: ignore[arg-type]
    if setting.name != "budget" and setting.metadata
]
"""The policies' own settings, each with the policy it belongs to."""


def policy_controls() -> tuple[gr.Dropdown, gr.Slider, gr.Slider, list[gr.Slider]]:
    """Policy, budget, number of new tokens, and the policies' own settings, each shown when its policy is chosen."""
    policy = gr.Dropdown(
        [(policy.label, key) for key, policy in POLICIES.items()],
        value="tova",
        label=Message("Policy"),
        scale=2,
        min_width=140,
        elem_id="policy",
    )
    most = limits.current.max_budget
    budget = gr.Slider(
        1,
        most,
        value=min(64, most),
        step=1,
        label=Message("Multi-state size (budget)"),
        scale=4,
        min_width=190,
        elem_id="budget",
    )
    settings = [
        gr.Slider(
            setting.metadata["minimum"],
            setting.metadata["slider"],
            value=cast(int, setting.default),
            step=1,
            label=setting.metadata["label"],
            visible=False,
            scale=3,
            min_width=60,
            elem_id=setting.name,
        )
        for _, setting in SETTINGS
    ]
    new_tokens = gr.Slider(
        0,
        min(512, limits.current.max_new_tokens),
        value=0,
        step=1,
        label=Message("New tokens to write"),
        scale=4,
        min_width=180,
        elem_id="new-tokens",
    )
    policy.change(show_settings, policy, [budget, *settings], **QUIETLY)
    return policy, budget, new_tokens, settings


def show_settings(key: str) -> list[Any]:
    """Updates that show only the settings of this policy, and the budget unless it is "full"."""
    return [gr.update(visible=key != "full"), *(gr.update(visible=owner == key) for owner, _ in SETTINGS)]
