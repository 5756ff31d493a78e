"""The policies: rules that say which row of a finite multi-state is evicted. numpy only.

To add one, write a class like those in `recency.py` and `attention.py`, and name it in one of the groups of
`registry.py`.
"""

from core.policies.attention import H2O, Tova, TovaHead
from core.policies.bounds import Full, Oracle, Random
from core.policies.expected import Expected
from core.policies.history import RKV, Decay, Observed, Raas, SnapKV
from core.policies.keys_values import Caote, KeyDiff, Knorm
from core.policies.own import Own, presets
from core.policies.policy import Explanation, Policy, Rows, Step, a_budget, a_setting, settings_of
from core.policies.recency import Window, WindowPlusI
from core.policies.registry import GROUPS, POLICIES, make_policy
from core.policies.scripted import Scripted, scripted
from core.trace import Floats, Ints

__all__ = [
    "GROUPS",
    "H2O",
    "POLICIES",
    "RKV",
    "Caote",
    "Decay",
    "Expected",
    "Explanation",
    "Floats",
    "Full",
    "Ints",
    "KeyDiff",
    "Knorm",
    "Observed",
    "Oracle",
    "Own",
    "Policy",
    "Raas",
    "Random",
    "Rows",
    "Scripted",
    "SnapKV",
    "Step",
    "Tova",
    "TovaHead",
    "Window",
    "WindowPlusI",
    "a_budget",
    "a_setting",
    "make_policy",
    "presets",
    "scripted",
    "settings_of",
]
