"""Questions put to policies: what they cost, which budget a text needs, what they answer, what they write.

Imported at their first use, as in `core`.
"""

from lazy_loader import attach

__getattr__, __dir__, __all__ = attach(__name__, submodules=["ask", "needle", "writing"])
