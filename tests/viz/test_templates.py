"""HTML comes from templates alone, which escape whatever fills them."""

import ast
import html
import re
from pathlib import Path

import pytest
from jinja2 import UndefinedError

from tests.traces import HOSTILE
from viz import templates
from viz.cards.card import Card, cards_html
from viz.cards.markup import bullets, note, paragraphs
from viz.templates import fill

VIZ = Path(templates.__file__).parent
TAG = re.compile(r"</?[a-z][a-z0-9]*(\s[^>]*)?>")
FOR_PLOTLY = {"figures"}  # which takes titles and labels for HTML of its own kind


def made_of_python() -> list[Path]:
    modules = [file for file in VIZ.rglob("*.py") if file.parent.name not in FOR_PLOTLY]
    return [*modules, VIZ.parent / "app.py"]


@pytest.mark.parametrize("module", made_of_python(), ids=lambda module: module.name)
def test_no_module_writes_or_escapes_html(module: Path) -> None:
    tree = ast.parse(module.read_text(encoding="utf-8"))
    prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}  # docstrings
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
            assert not TAG.search(node.value), f"line {node.lineno}: {node.value!r}"
        if isinstance(node, ast.ImportFrom) and node.module in ("html", "markupsafe"):
            assert "escape" not in {alias.name for alias in node.names}
        assert not (isinstance(node, ast.Import) and "html" in {alias.name for alias in node.names})


@pytest.mark.parametrize("text", [*filter(None, HOSTILE), "<img src=x onerror=alert(1)>", "\"'>", "{{ 7 * 7 }}"])
def test_whatever_fills_a_template_is_text(text: str) -> None:
    card = Card(text, [text, text], text, (text, text), text)
    pages = (paragraphs([text]), bullets([text]), note(text), cards_html([card]))
    for page in pages:
        assert "<img" not in page and "<b>" not in page and "</script" not in page and "49" not in page
        assert text in html.unescape(page)
    assert html.unescape(re.search('title="([^"]*)"', pages[-1])[1]) == text


def test_a_hole_without_a_value_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="words"):
        fill("cards/note.html")
