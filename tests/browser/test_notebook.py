"""The maps in a notebook: the example notebook is run, and what its cells show is looked at in Chromium."""

from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from playwright.sync_api import FrameLocator, Page, expect

import viz
from core.errors import BadInput
from viz.examples.example_texts import first_run

NOTEBOOK = Path(viz.__file__).parent / "examples" / "notebook.ipynb"
BACKGROUNDS = {"light": "#ffffff", "dark": "#1e1e1e"}


@pytest.fixture(scope="module")
def outputs() -> list[dict[str, Any]]:
    """What the cells of the notebook show, in order, of the beginning of its text."""
    source, whole = NOTEBOOK.read_text(encoding="utf-8"), "read_text()"
    assert source.count(whole) == 1
    notebook = nbformat.reads(source.replace(whole, whole + "[:600]"), as_version=4)
    NotebookClient(notebook, resources={"metadata": {"path": str(NOTEBOOK.parent)}}, timeout=300).execute()
    shown = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return [output["data"] for output in shown if "data" in output]


@pytest.fixture
def cell(open_page, tmp_path):
    """`cell(html, background)`: the frame of a cell's output in a notebook of this background, and the notebook."""

    def show(html: str, background: str):
        notebook = tmp_path / "notebook.html"
        notebook.write_text(
            f'<meta charset="utf-8"><body style="background: {background}"><div class="cell">{html}</div></body>'
        )
        page = open_page(notebook.as_uri())
        return page.frame_locator("iframe"), page

    return show


def at(frame: FrameLocator, step: str) -> None:
    expect(frame.locator(".rm-number")).to_have_text(step)


def has(frame: FrameLocator, policies: list[str]) -> None:
    expect(frame.locator(".rm-list h3")).to_have_count(len(policies))
    for heading, policy in zip(frame.locator(".rm-list h3").all(), policies, strict=True):
        expect(heading).to_contain_text(policy)


def test_the_notebook_shows_figures_costs_and_maps_to_scrub_as_high_and_as_dark_as_fits(outputs, cell):
    maps, figure, costs, recorded = outputs
    assert "application/vnd.plotly.v1+json" in figure
    assert "'TOVA'" in costs["text/plain"]
    frame, page = cell(maps["text/html"], BACKGROUNDS["light"])
    has(frame, ["TOVA", "H2O", "Window"])
    expect(frame.locator(".rm-body")).to_be_visible()
    page.wait_for_function(
        "() => { const frame = document.querySelector('iframe');"
        " return Math.abs(frame.offsetHeight - frame.contentDocument.documentElement.scrollHeight) < 2; }"
    )
    last = int(frame.locator(".rm-number").inner_text().split(" / ")[1])
    at(frame, f"{last} / {last}")
    frame.get_by_role("button", name="Previous step").click()
    at(frame, f"{last - 1} / {last}")
    follows(frame, page, "light", "dark")

    frame, page = cell(recorded["text/html"], BACKGROUNDS["dark"])
    has(frame, ["first 4 and last 60"])
    follows(frame, page, "dark", "light")


def follows(frame: FrameLocator, page: Page, theme: str, other: str) -> None:
    """The frame has this theme, as its notebook, and the other when the notebook gets that."""
    expect(frame.locator("body")).to_have_class("dark" if theme == "dark" else "")
    page.evaluate("colour => { document.body.style.background = colour; }", BACKGROUNDS[other])
    expect(frame.locator("body")).to_have_class("dark" if other == "dark" else "")


def test_without_a_right_to_look_outside_it_follows_the_system(cell):
    html = viz.show(first_run().traces[0])._repr_html_().replace("<iframe", '<iframe sandbox="allow-scripts"')
    frame, _ = cell(html, BACKGROUNDS["dark"])
    expect(frame.locator(".rm-body")).to_be_visible()
    expect(frame.locator("body")).to_have_class("")


def test_seven_runs_are_too_many():
    traces = first_run().traces
    with pytest.raises(BadInput, match="At most 6"):
        viz.show([traces[0]] * 7)


@pytest.mark.parametrize("strange", ["run.npz", Path("run.npz"), None, [None], ["run.npz"], 3])
def test_what_is_no_trace_is_refused(strange: Any) -> None:
    with pytest.raises(BadInput, match=r"Give one trace .* Trace\.load opens"):
        viz.show(strange)
