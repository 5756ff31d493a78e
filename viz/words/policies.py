"""What policies are called on the page."""

from core.experiments.records import BASELINE, LABELS
from core.trace import PolicySettings
from viz.words.catalogue import _


def policy_label(key: str) -> str:
    """The name of a policy, the full model or the short context by its key; an unknown key is returned unchanged."""
    ours = {"full": _("Full"), BASELINE: _("Short context")}
    return ours.get(key) or LABELS.get(key, key)


def policy_name(policy: PolicySettings) -> str:
    """A policy's label, and its budget if it has one: “TOVA, budget 64”."""
    return _(", ").join(policy_parts(policy))


def policy_parts(policy: PolicySettings) -> list[str]:
    """The parts of `policy_name`, not yet joined."""
    label = _("Full") if policy.key == "full" else policy.label
    return [label] if policy.budget is None else [label, _("budget {budget}", budget=policy.budget)]
