"""The Measure tab in Chromium, on stored traces: which runs, what is drawn, a click on a layer, tables and files."""

import csv
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import gradio as gr
import numpy as np
import pytest
from playwright.sync_api import Locator, Page, expect

from core.measures import survival
from core.policies import make_policy, settings_of
from tests.traces import random_trace
from viz.tabs.measure import OF_ALL_RUNS, OF_ONE_RUN, measure_tab

TOVA = random_trace(1, layers=5)
HEADS = replace(
    random_trace(2, layers=5, groups=2), tokens=TOVA.tokens, policy=settings_of(make_policy("h2o", budget=8))
)


@pytest.fixture(scope="module")
def address(serve: Callable[..., str]) -> str:
    """A page with the tab; the buttons stand for runs in the other tabs."""
    with gr.Blocks(analytics_enabled=False) as blocks:
        trace, traces = gr.State(), gr.State()
        with gr.Tabs():
            with gr.Tab("Explore"):
                done = gr.Textbox(label="done")
                gr.Button("compare").click(lambda: ([TOVA, HEADS], "compare"), outputs=[traces, done])
                gr.Button("explore").click(lambda: (TOVA, "explore"), outputs=[trace, done])
            with gr.Tab("Measure") as tab:
                measure_tab(tab, trace, traces)
    return serve(blocks)


@pytest.fixture
def page(open_page: Callable[..., Page], address: str) -> Page:
    """The tab, showing the run in Explore."""
    page = open_page(address)
    run(page, "compare")
    run(page, "explore")
    page.get_by_role("tab", name="Measure").click()
    expect(status(page)).to_have_text("Measured: 40 tokens of by hand")
    return page


def run(page: Page, where: str) -> None:
    page.get_by_role("button", name=where).click()
    expect(page.get_by_label("done")).to_have_value(where)


def status(page: Page) -> Locator:
    return page.locator("#measure-status")


def figure(page: Page, name: str) -> Locator:
    return page.locator(f"#measure-{name}")


def choose(page: Page, option: str) -> None:
    page.get_by_label(option).check()


def show_table(page: Page, name: str) -> None:
    page.locator("#measure-table-choice input").click()
    page.get_by_role("option", name=name, exact=True).click()


def column(page: Page, index: int) -> Locator:
    """The cells of a column of the table, from the top, as far as they are on the screen."""
    return page.locator(f"#measure-table [data-testid^=cell][data-testid$='-{index}']")


def test_one_run_and_several_with_one_of_them_layer_by_layer(page: Page) -> None:
    expect(page.locator("#measure-sentences")).to_contain_text("TOVA, budget 8: first token kept to the end in ")
    for name in ("recency", "recency-layers"):
        expect(figure(page, name)).to_contain_text("the paper: 73–76 %")
    expect(figure(page, "early-layers")).to_contain_text("first token kept to the end in ")
    expect(figure(page, "kinds")).to_contain_text("the paper, budget 256")
    expect(figure(page, "survival-layers")).to_contain_text("Window ends here")
    expect(figure(page, "runs-overlap")).to_be_hidden()
    expect(figure(page, "head-overlap")).to_be_hidden()
    expect(figure(page, "closer")).to_be_hidden()

    choose(page, "the runs in Compare")
    for name in ("recency", "ages", "early", "survival", "kinds", "runs-overlap"):
        expect(figure(page, name)).to_contain_text("H2O, budget 8" if name != "runs-overlap" else "H2O")
    expect(figure(page, "layer-overlap")).to_contain_text("TOVA, budget 8")
    page.locator("#measure-closer input").click()
    page.get_by_role("option", name="2: H2O, budget 8").click()
    for name in ("early-layers", "survival-layers", "layer-overlap", "life"):
        expect(figure(page, name)).to_contain_text("H2O, budget 8")
    expect(figure(page, "head-overlap")).to_contain_text("agreement of the KV heads of layer 4")
    expect(page.locator("#measure-head").get_by_label("0")).to_be_checked()  # as the choice of the run has set it
    page.locator("#measure-head").get_by_label("1").check()
    expect(figure(page, "life")).to_contain_text("the life of layer 4, KV head 1")


def test_a_click_on_a_small_life_opens_it_large(page: Page) -> None:
    small = page.locator("#lives button")
    expect(small).to_have_count(5)
    small.first.scroll_into_view_if_needed()
    expect(figure(page, "life")).to_contain_text("the life of layer 4")
    expect(small.nth(4)).to_have_attribute("aria-pressed", "true")
    small.nth(2).click()
    expect(figure(page, "life")).to_contain_text("the life of layer 2")
    expect(small.nth(2)).to_have_attribute("aria-pressed", "true")
    expect(small.nth(4)).to_have_attribute("aria-pressed", "false")
    show_table(page, "The life of one layer")
    expect(page.locator("#measure-table [data-testid=cell-0-2]")).to_have_text("2")
    small.nth(1).focus()
    small.nth(1).press("Enter")
    expect(figure(page, "life")).to_contain_text("the life of layer 1")
    expect(page.locator("#measure-table [data-testid=cell-0-2]")).to_have_text("1")


def test_a_table_sorts_numbers_as_numbers_and_can_be_taken_away(page: Page) -> None:
    show_table(page, "First tokens")
    expect(page.locator("#measure-table [data-testid=cell-9-2]")).to_have_text("9")
    header = page.locator("#measure-table [data-testid=header-4]")
    expect(header).to_have_text(re.compile("mean steps kept"))
    header.hover()
    header.get_by_label("Open cell menu").click()
    page.get_by_role("menuitem", name="Sort descending").click()
    ordered = survival.early_steps_kept(TOVA).mean(axis=0)
    assert ordered.max() > 9 > ordered.min()  # as words, these would come in another order
    expect(column(page, 4).first).to_have_text(f"{ordered.max():g}")
    seen = [float(text) for text in column(page, 4).all_inner_texts()]
    assert len(seen) > 9 and seen == sorted(seen, reverse=True)

    with page.expect_download() as download:
        page.locator("#measure-csv").click()
    assert download.value.suggested_filename == "first-tokens.csv"
    with Path(download.value.path()).open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["token"] for row in rows] == list(TOVA.tokens.pieces[:26])
    assert [float(row["mean steps kept"]) for row in rows] == ordered.tolist()

    # Where there is nothing to compare, the table stays.
    show_table(page, "Agreement of KV heads")
    expect(page.locator("#measure-table-status")).to_contain_text("No two to be compared")
    expect(page.locator("#measure-table [data-testid=header-1]")).to_contain_text("budget")
    choose(page, "the runs in Compare")
    expect(page.locator("#measure-table [data-testid=header-6]")).to_contain_text("overlap (Jaccard)")
    expect(page.locator("#measure-table-status")).to_be_empty()
    show_table(page, "Agreement of the runs")
    expect(page.locator("#measure-table [data-testid=cell-0-1]")).to_have_text("H2O, budget 8")


def test_saved_traces_and_files_that_are_none(page: Page, tmp_path: Path) -> None:
    words = replace(TOVA.tokens, ids=TOVA.tokens.ids + 1)
    other = replace(random_trace(7, layers=5, budget=12), tokens=words)
    for name, trace in (("one", TOVA), ("other", other)):
        trace.save(tmp_path / f"{name}.npz")
    choose(page, "saved traces (.npz)")
    expect(status(page)).to_contain_text("choose some .npz files. Below is what was measured before.")
    page.locator("#measure-files input[type=file]").set_input_files([tmp_path / "one.npz", tmp_path / "other.npz"])
    expect(page.locator("#measure-sentences")).to_contain_text("TOVA, budget 12")
    expect(page.locator("#measure-overlap-line")).to_contain_text("over different tokens")
    expect(figure(page, "early")).to_contain_text("TOVA, budget 12")

    words, other, large = (tmp_path / f"{name}.npz" for name in ("words", "other", "large"))
    words.write_text("hello")
    np.savez(other, hello=np.arange(3))
    np.savez_compressed(large, evicted_at=np.zeros(100_000_000 // 8 + 1))
    page.locator("#measure-files").get_by_label("Clear").click()
    expect(status(page)).to_contain_text("choose some .npz files")
    for file, message in ((words, "words.npz: This"), (other, "other.npz: This"), (large, "at most 100 MB")):
        page.locator("#measure-files input[type=file]").set_input_files(file)
        expect(status(page).locator(".error")).to_contain_text(message)
        page.locator("#measure-files").get_by_label("Clear").click()
        expect(status(page)).to_contain_text("choose some .npz files")
    expect(figure(page, "recency")).to_contain_text("TOVA, budget 12")  # nothing blanks
    expect(page.locator("#lives button")).to_have_count(5)


def test_what_is_not_there_yet_is_asked_for(open_page: Callable[..., Page], address: str) -> None:
    page = open_page(address)
    page.get_by_role("tab", name="Measure").click()
    expect(status(page)).to_have_text("There is nothing to measure yet: press Run in Explore.")
    choose(page, "the runs in Compare")
    expect(status(page)).to_have_text("There is nothing to measure yet: press Run in Compare.")
    show_table(page, "Survival")
    page.get_by_role("tab", name="Explore").click()
    run(page, "compare")
    page.get_by_role("tab", name="Measure").click()
    expect(page.locator("#measure-sentences")).to_contain_text("H2O, budget 8")
    expect(page.locator("#measure-table [data-testid=header-4]")).to_contain_text("age")


def test_titles_fit_a_phone_and_nothing_sticks_out(open_page: Callable[..., Page], address: str) -> None:
    page = open_page(address, viewport={"width": 390, "height": 844})
    run(page, "compare")
    page.get_by_role("tab", name="Measure").click()
    choose(page, "the runs in Compare")
    expect(page.locator("#measure-sentences")).to_contain_text("H2O")
    for name in (*OF_ALL_RUNS, *OF_ONE_RUN, "runs-overlap", "life"):
        figure(page, name).scroll_into_view_if_needed()  # far below, it is drawn only then
        expect(figure(page, name).locator(".main-svg").first).to_be_visible()
    titles = page.locator(".js-plotly-plot .gtitle, .js-plotly-plot .legendtitletext")
    edges = titles.evaluate_all(
        "all => all.map(title => [title.textContent, title.getBoundingClientRect().right, "
        "title.closest('.js-plotly-plot').getBoundingClientRect().right])"
    )
    assert len(edges) == 11
    assert [title for title, right, limit in edges if right > limit] == []
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
