"""HTML from Jinja templates, which are files beside the modules that use them. Values are escaped, except `Markup`.

In a template, ``_("…")`` is the text in the current language.
"""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from viz.words.catalogue import _

_HERE = Path(__file__).parent
_ENVIRONMENT = Environment(loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined)
_ENVIRONMENT.globals["_"] = _
_ENVIRONMENT.policies["json.dumps_kwargs"] = {"ensure_ascii": False}  # of the filter `tojson`


def fill(template: str, **values: Any) -> Markup:
    """The HTML of a template.

    Args:
        template: the file, relative to this folder, such as "cards/status.html".
        **values: its variables. Strings are escaped; a `Markup` is HTML already and is not.

    Raises:
        jinja2.UndefinedError: a variable has no value.
    """
    return Markup(_ENVIRONMENT.get_template(template).render(values))


def static(*names: str) -> str:
    """The texts of these files of viz/static, joined."""
    return "\n".join((_HERE / "static" / name).read_text(encoding="utf-8") for name in names)
