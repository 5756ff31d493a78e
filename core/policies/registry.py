"""The policies by key, from which menus, sliders, the API and the tests are made. To add a policy, add it here."""

from dataclasses import fields
from typing import Any

from core.errors import BadInput, UnknownPolicy
from core.messages import Message
from core.policies.attention import H2O, Tova, TovaHead
from core.policies.bounds import Full, Oracle, Random
from core.policies.expected import Expected
from core.policies.history import RKV, Decay, Observed, Raas, SnapKV
from core.policies.keys_values import Caote, KeyDiff, Knorm
from core.policies.own import Own
from core.policies.policy import Policy
from core.policies.recency import Window, WindowPlusI

GROUPS: dict[Message, tuple[type[Policy], ...]] = {
    Message("By attention"): (Tova, TovaHead, H2O, Observed, SnapKV, Decay, Raas),
    Message("By recency"): (Window, WindowPlusI),
    Message("By keys and values"): (Knorm, KeyDiff, RKV, Caote, Expected),
    Message("To compare with"): (Random, Full, Oracle),
    Message("A mix of yours"): (Own,),
}
"""The headings of the menu of policies, each with its policies, in the order of the menu."""

# the API and the command line name the policies of the paper first
_PAPER_FIRST: list[type[Policy]] = [Tova, Window, WindowPlusI, H2O, TovaHead, Random, Full]

POLICIES: dict[str, type[Policy]] = {
    policy.key: policy
    for group in (_PAPER_FIRST, *GROUPS.values())
    for policy in group
    if policy is not Oracle  # which is made for one text, by `core.foresee`
}


def make_policy(key: str, budget: int | None = None, **settings: Any) -> Policy:
    """The policy of that key with its settings, e.g. ``make_policy("window+i", budget=64, n_sink=4)``.

    Raises:
        UnknownPolicy: no such key.
        BadInput: a budget or setting that is missing, unknown, not a whole number, or out of its range.
    """
    if key not in POLICIES:
        raise UnknownPolicy("There is no policy {key!r}; choose one of {known}.", key=key, known=", ".join(POLICIES))
    policy = POLICIES[key]
    if policy is Full:
        if budget is not None:
            raise BadInput("The full model keeps every token: it takes no budget.")
    else:
        settings["budget"] = budget
    known = [setting.name for setting in fields(policy)]  # type: ignore[arg-type]
    if unknown := settings.keys() - set(known):
        raise BadInput(
            "{policy} has no setting {unknown}; it has {known}.",
            policy=policy.label,
            unknown=", ".join(sorted(unknown)),
            known=", ".join(known),
        )
    return policy(**settings)
