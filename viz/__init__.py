"""What a person sees: the page, and in a notebook `viz.show`.

Modules are imported when they are first used, as in `core`.
"""

from lazy_loader import attach

__getattr__, __dir__, __all__ = attach(__name__, submod_attrs={"notebook": ["show"]})
