"""Experiments with policies: what they cost, which budget a text needs, what they answer, what they write.

Modules are imported when they are first used, as in `core`.
"""

from lazy_loader import attach

__getattr__, __dir__, __all__ = attach(__name__, submodules=["ask", "needle", "writing"])
