"""The policies: rules that say which row of a finite multi-state is evicted. numpy only.

To add one, write a class like those in `recency.py` and `attention.py`, and add it to `POLICIES` in `registry.py`.
"""

from core.policies.attention import H2O, Tova, TovaHead
from core.policies.bounds import Full, Oracle, Random
from core.policies.policy import Policy, Step, a_budget, settings_of
from core.policies.recency import Window, WindowPlusI
from core.policies.registry import POLICIES, make_policy
from core.trace import Floats, Ints

__all__ = [
    "H2O",
    "POLICIES",
    "Floats",
    "Full",
    "Ints",
    "Oracle",
    "Policy",
    "Random",
    "Step",
    "Tova",
    "TovaHead",
    "Window",
    "WindowPlusI",
    "a_budget",
    "make_policy",
    "settings_of",
]
