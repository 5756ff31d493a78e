"""What a card of the sidebar says about its policy: what it goes by, its settings, how it decides and its source."""

import re
from collections.abc import Iterator
from dataclasses import Field, fields
from typing import Any

from markupsafe import Markup

from core.messages import Message
from core.policies import GROUPS, Explanation, Own, Policy, presets
from viz.templates import fill
from viz.words.catalogue import _, told
from viz.words.policies import TRANSLATED, policy_label, policy_traits

SYMBOLS = Message(
    "*j*: a row; *a*_h: the attention that head *h* of the query just read pays to it; *k*, *v*: its key and value."
)
_MARKED = re.compile(r"\*([^*]+)\*|_([a-z0-9](?:,[a-z0-9])*)")


MOST_TO_SLIDE = 100
"""A slider with more steps than it is pixels wide would skip some; such a setting is a number alone."""


def policies_html(most: int, budget: int) -> Markup:
    """What static/policy_cards.js makes cards from, at most so many; the budget is that of a card that is new."""
    groups = [
        (told(title), [(kind.key, told(TRANSLATED.get(kind.key, kind.label))) for kind in kinds])
        for title, kinds in GROUPS.items()
    ]
    policies = [(kind.key, policy_html(kind)) for kinds in GROUPS.values() for kind in kinds]
    return fill("cards/policies.html", most=most, budget=budget, groups=groups, policies=policies)


def policy_html(policy: type[Policy]) -> Markup:
    """The traits of a policy, which open to tell how it decides, and its own settings.

    For one's own also presets, its formula as it stands now, and the policy as Python.
    """
    return fill(
        "cards/policy.html",
        traits=policy_traits(policy),
        **_explained(policy),
        settings=[_setting(setting) for setting in fields(policy) if setting.name != "budget" and setting.metadata],  # type: ignore[arg-type]
        own=_own_words() if policy is Own else None,
        presets=[(policy_label(key), preset) for key, preset in presets(2).items()],
    )


def _setting(setting: Field[int]) -> dict[str, Any]:
    of = setting.metadata
    return {
        "name": setting.name,
        "label": told(of["label"]),
        "minimum": of["minimum"],
        "maximum": of["maximum"],
        "default": setting.default,
        "slides": of["maximum"] <= MOST_TO_SLIDE,
    }


def _styled(formula: str) -> Iterator[tuple[str, str]]:
    """The parts of a text as (text, "i", "sub" or "")."""
    end = 0
    for found in _MARKED.finditer(formula):
        yield formula[end : found.start()], ""
        yield (found[1], "i") if found[1] else (found[2], "sub")
        end = found.end()
    yield formula[end:], ""


def _explained(policy: type[Policy]) -> dict[str, Any]:
    ours = _("ours") if policy.paper == "ours" else policy.paper
    explained: Explanation | None = getattr(policy, "explanation", None)
    if explained is None:
        return {"sentence": "", "source": ours, "link": ""}
    paper, number = told(explained.source or policy.paper), explained.link.partition("arxiv.org/abs/")[2]
    return {
        "sentence": told(explained.sentence),
        "formula": list(_styled(told(explained.formula))),
        "symbols": list(_styled(told(SYMBOLS))),
        "source": f"{paper}, arXiv {number}" if number else paper if explained.link else ours,
        "link": explained.link,
    }


def _own_words() -> dict[str, str]:
    """What static/policy_cards.js puts the formula together from."""
    return {
        "importance": _("importance = {terms}"),
        "attention": _("{weight} · R(attention, γ {gamma} %)"),
        "recent": _("{weight} · R(position)"),
        "keys": _("{weight} · R(short key)"),
        "nothing": _("give one of them a weight"),
        "sinks": _("first {n} spared"),
        "last": _("last {n} spared"),
        "layer": _("the layer decides"),
        "head": _("each KV head decides"),
        "and": _("; "),
    }
