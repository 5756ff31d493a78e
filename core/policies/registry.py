"""The policies by key, from which menus, sliders, the API and the tests are made. To add a policy, add it here."""

from dataclasses import fields
from typing import Any

from core.errors import BadInput, UnknownPolicy
from core.policies.attention import H2O, Tova, TovaHead
from core.policies.bounds import Full, Random
from core.policies.expected import Expected
from core.policies.keys_values import Caote, KeyDiff, Knorm
from core.policies.own import Own
from core.policies.policy import Policy
from core.policies.recency import Window, WindowPlusI
from core.policies.votes import RKV, Decay, Observed, Raas, SnapKV

BY_RECENCY: tuple[type[Policy], ...] = (Window, WindowPlusI)
BY_ATTENTION: tuple[type[Policy], ...] = (Tova, TovaHead, H2O, Observed, SnapKV, Decay, Raas)
BY_KEYS_AND_VALUES: tuple[type[Policy], ...] = (Knorm, KeyDiff, RKV, Caote, Expected)
TO_COMPARE_WITH: tuple[type[Policy], ...] = (Random, Full)

POLICIES: dict[str, type[Policy]] = {
    policy.key: policy
    for group in (BY_ATTENTION, BY_RECENCY, BY_KEYS_AND_VALUES, TO_COMPARE_WITH, (Own,))
    for policy in group
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
