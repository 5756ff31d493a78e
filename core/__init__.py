"""Run a language model with a finite multi-state and record which tokens it keeps.

The names of this package are listed in `__init__.pyi`. Each is imported when it is first used, because torch and
transformers take seconds to import and a page that only shows stored runs needs neither.
"""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
