"""What policies are called on the page."""

from core.experiments.records import BASELINE, LABELS
from core.policies import Policy
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


def policy_traits(policy: type[Policy]) -> str:
    """What a policy goes by and who decides: “by attention · per layer”."""
    goes_by = {
        "full": _("forgets nothing"),
        "random": _("at random"),
        "oracle": _("knows the future"),
    }.get(policy.key) or (_("by attention") if policy.reads_attention else _("by age"))
    if policy.key == "full":
        return goes_by
    per = _("per KV head") if policy.scope == "kv_head" else _("per layer")
    return f"{goes_by} · {per}"
