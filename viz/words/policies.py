"""What policies are called on the page."""

from core.experiments.records import LABELS
from core.messages import Message
from core.policies import GROUPS, Policy
from core.trace import PolicySettings, recorded
from viz.words.catalogue import _, told

TRANSLATED = {"full": Message("Full"), "own": Message("Your own")}
"""The names of policies that are no proper names, by key."""

NAMELESS = Message("Recorded")
"""What a recorded run is called that has no name."""


def policy_label(key: str) -> str:
    """The name of a policy, the full model or the short context by its key; an unknown key is returned unchanged."""
    return told(TRANSLATED.get(key) or LABELS.get(key, key))


def policy_name(policy: PolicySettings) -> str:
    """A policy's label, and its budget if it has one: “TOVA, budget 64”."""
    return _(", ").join(policy_parts(policy))


def policy_parts(policy: PolicySettings) -> list[str]:
    """The parts of `policy_name`, not yet joined."""
    label = told(NAMELESS if policy == recorded() else TRANSLATED.get(policy.key, policy.label))
    return [label] if policy.budget is None else [label, _("budget {budget}", budget=policy.budget)]


def policy_traits(policy: type[Policy]) -> str:
    """What a policy goes by and who decides: “By attention · per layer”."""
    group = next(group for group, policies in GROUPS.items() if policy in policies)
    goes_by = {
        "full": _("Forgets nothing"),
        "random": _("At random"),
        "oracle": _("Knows the future"),
    }.get(policy.key) or told(group)
    if policy.key in ("full", "own"):
        return goes_by
    per = _("per KV head") if policy.scope == "kv_head" else _("per layer")
    return f"{goes_by} · {per}"
