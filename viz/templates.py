"""HTML by templates: files beside the modules that fill them. Whatever fills a hole is escaped, unless it is HTML.

In a template, ``_("…")`` is a text of ours in the language to speak now.
"""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from viz.words.catalogue import _

_ENVIRONMENT = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined)
_ENVIRONMENT.globals["_"] = _
_ENVIRONMENT.policies["json.dumps_kwargs"] = {"ensure_ascii": False}  # of the filter `tojson`


def fill(template: str, **values: Any) -> Markup:
    """The HTML of a template.

    Args:
        template: the file, from this folder on, such as "cards/status.html".
        **values: that fill its holes. Texts are escaped; a `Markup` is HTML already and stays as it is.

    Raises:
        jinja2.UndefinedError: a hole has no value.
    """
    return Markup(_ENVIRONMENT.get_template(template).render(values))
