"""What policies are called on the page."""

from core.experiments.records import BASELINE, LABELS
from core.trace import PolicySettings
from viz.words.catalogue import _


def policy_label(key: str) -> str:
    """The name of a policy, or of the model without one, by its key; a key that nobody knows stays as it is."""
    ours = {"full": _("Full"), BASELINE: _("Short context")}
    return ours.get(key) or LABELS.get(key, key)


def policy_name(policy: PolicySettings) -> str:
    """The policy with its budget, if it has one."""
    return _(", ").join(policy_parts(policy))


def policy_parts(policy: PolicySettings) -> list[str]:
    """A policy's name in parts: its label, and its budget if it has one."""
    label = _("Full") if policy.key == "full" else policy.label
    return [label] if policy.budget is None else [label, _("budget {budget}", budget=policy.budget)]
