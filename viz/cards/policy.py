"""What a card of the sidebar says about its policy: what it goes by, and on demand how it decides and its source."""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any

from markupsafe import Markup

from core.messages import Message
from core.policies import Own, Policy, presets
from viz.templates import fill
from viz.words.catalogue import _, told
from viz.words.explanations import EXPLANATIONS, SYMBOLS
from viz.words.policies import policy_label, policy_traits

_MARKED = re.compile(r"\*([^*]+)\*|_([a-z0-9](?:,[a-z0-9])*)")


def policy_html(policy: type[Policy]) -> Markup:
    """The traits of a policy, which open to tell how it decides; for one's own also its formula as it stands now."""
    explained = EXPLANATIONS[policy.key]
    return fill(
        "cards/policy.html",
        traits=policy_traits(policy),
        sentence=told(explained.sentence),
        formula=list(_styled(told(explained.formula))),
        symbols=list(_styled(told(SYMBOLS))),
        source=_source(policy),
        link=explained.link,
        own=_own_words() if policy is Own else None,
        presets=[(key, policy_label(key)) for key in presets(2)],
    )


def groups_html(groups: Mapping[Message, Sequence[Any]]) -> Markup:
    """The headings of groups in a menu that lists them one after another; Gradio's menus have none."""
    begins = accumulate((len(group) for group in groups.values()), initial=0)
    return fill(
        "cards/groups.html", groups=[(index, told(title)) for title, index in zip(groups, begins, strict=False)]
    )


def _styled(formula: str) -> Iterator[tuple[str, str]]:
    """The parts of a text as (text, "i", "sub" or "")."""
    end = 0
    for found in _MARKED.finditer(formula):
        yield formula[end : found.start()], ""
        yield (found[1], "i") if found[1] else (found[2], "sub")
        end = found.end()
    yield formula[end:], ""


def _source(policy: type[Policy]) -> str:
    explained = EXPLANATIONS[policy.key]
    paper = told(explained.source or policy.paper)
    if not explained.link:
        return _("ours")
    number = explained.link.partition("arxiv.org/abs/")[2]
    return f"{paper}, arXiv {number}" if number else paper


def _own_words() -> dict[str, str]:
    """What static/own_policy.js puts the formula together from."""
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
