"""Imports go one way, and what takes seconds is not imported for a page that only shows."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NUMBERS_ONLY = {"policies", "trace", "metrics", "errors", "evidence", "whole_numbers"}
FOR_PICTURES = {
    f"core.{module}"
    for module in (
        *("answers", "costs", "errors", "evidence", "haystack", "kinds", "metrics", "records", "registry", "stories"),
        *("survival", "trace", "votes"),
    )
}
MODULES = sorted(path for folder in ("core", "viz") for path in (ROOT / folder).rglob("*.py"))


def imported(file: Path) -> set[str]:
    """Full names, e.g. ``core.trace`` for both ``import core.trace`` and ``from core import trace``."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            package = ".".join(file.relative_to(ROOT).parent.parts) if node.level else ""
            module = ".".join(filter(None, [package, node.module]))
            names |= {f"{module}.{alias.name}" for alias in node.names} | {module}
    return names


@pytest.mark.parametrize("file", MODULES, ids=lambda file: str(file.relative_to(ROOT)))
def test_imports_go_one_way(file):
    names = imported(file)
    packages = {name.split(".")[0] for name in names}
    ours = {".".join(name.split(".")[:2]) for name in names if name.split(".")[0] in ("core", "viz")} - {"core", "viz"}
    assert "app" not in packages
    if file.parent.name == "core":
        assert not packages & {"gradio", "plotly", "viz"}
        if file.stem in NUMBERS_ONLY:
            assert not packages & {"torch", "transformers"}
            assert ours <= {"core.errors", "core.trace", "core.whole_numbers"}
        return
    assert not packages & {"torch", "transformers"}
    if file.parent.name != "tabs":  # what makes pictures knows no model; the tabs bring the two together
        assert "viz.tabs" not in ours
        assert {name for name in ours if name.startswith("core")} <= FOR_PICTURES


def test_the_modules_were_found():
    assert {"policies.py", "trace.py", "errors.py", "engine.py"} <= {file.name for file in MODULES}


def test_the_page_is_built_without_torch(tmp_path):
    build = f"""
import sys
from pathlib import Path
import app
from core.trace_store import TraceStore
app.build(TraceStore({str(tmp_path / "runs")!r}), votes=Path({str(tmp_path / "votes.db")!r}))
print(*sorted({{"torch", "transformers"}} & set(sys.modules)))
"""
    assert subprocess.run([sys.executable, "-c", build], cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout == b"\n"
