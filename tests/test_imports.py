"""Imports go one way, and what takes seconds is not imported for a page that only shows."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CORE = (
    *(
        "messages",
        "errors",
        "trace",
        "whole_numbers",
        "texts",
        "policies",
        "measures",
        "model",
        "recording",
        "engine",
        "loading",
    ),
    *("store", "experiments", "__main__"),
)
"""The rooms of core from the ground up: each imports only from those before it."""

VIZ = ("words", "templates", "maps", "notebook", "figures", "lesson", "cards", "examples", "page", "tabs", "api")
"""Those of viz."""

LIGHT = {f"core.{room}" for room in ("messages", "errors", "trace", "whole_numbers", "texts", "policies", "measures")}
FOR_PICTURES = {
    "core.messages",
    "core.errors",
    "core.trace",
    "core.measures",
    "core.model.registry",
    "core.policies",
    "core.store",
    *(f"core.experiments.{module}" for module in ("answers", "haystack", "question", "records", "stories", "votes")),
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


def module_of(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


NAMES = {module_of(file): file for file in MODULES}


def ours(file: Path) -> set[str]:
    """The modules of ours that a file imports."""
    return {name for name in imported(file) if name in NAMES} - {module_of(file), "core", "viz"}


def within(name: str, places: set[str]) -> bool:
    return any(name == place or name.startswith(f"{place}.") for place in places)


@pytest.mark.parametrize("file", MODULES, ids=lambda file: str(file.relative_to(ROOT)))
def test_imports_go_one_way(file):
    name, packages = module_of(file), {name.split(".")[0] for name in imported(file)}
    assert "app" not in packages
    if name.startswith("core."):
        assert not packages & {"gradio", "plotly", "viz"}
        rooms = CORE[: CORE.index(name.split(".")[1]) + 1]
        assert {other.split(".")[1] for other in ours(file)} <= set(rooms)
        if within(name, LIGHT):
            assert not packages & {"torch", "transformers"}
    elif name.startswith("viz."):
        assert not packages & {"torch", "transformers"}
        rooms = VIZ[: VIZ.index(name.split(".")[1]) + 1]
        assert {other.split(".")[1] for other in ours(file) if other.startswith("viz.")} <= set(rooms)
        if rooms[-1] not in ("page", "tabs", "api"):  # what makes pictures knows no model; these bring the two together
            assert all(within(other, FOR_PICTURES) for other in ours(file) if other.startswith("core."))


def test_no_modules_import_each_other_in_a_circle():
    """Not even for types."""
    faces = {name for name, file in NAMES.items() if file.name == "__init__.py"}  # they hand names on
    graph = {name: {other for other in ours(file) if other not in faces} for name, file in NAMES.items()}
    TopologicalSorter(graph).prepare()


def test_the_modules_were_found():
    assert {"core.policies.attention", "core.trace", "core.engine.batch", "viz.maps.payload"} <= set(NAMES)


def test_the_page_is_built_without_torch(tmp_path):
    build = f"""
import sys
from graphlib import TopologicalSorter
from pathlib import Path
import app
from core.store import TraceStore
app.build(TraceStore({str(tmp_path / "runs")!r}), votes=Path({str(tmp_path / "votes.db")!r}))
print(*sorted({{"torch", "transformers"}} & set(sys.modules)))
"""
    assert subprocess.run([sys.executable, "-c", build], cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout == b"\n"
