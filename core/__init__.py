"""Run a language model with a finite multi-state and record which tokens it keeps.

What there is says `__init__.pyi`. It is imported at its first use, since torch and transformers take seconds: a page
that only shows what has been computed does not wait for them.
"""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
