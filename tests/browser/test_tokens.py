"""The lens Tokens in Chromium, on stored traces: what is drawn when, a click on a layer, tables and files."""

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
from core.store import Stored
from tests.traces import random_trace
from viz.page.lens import SharedRun
from viz.page.page import Page as Shell
from viz.tabs.tokens import AT_FIRST, OF_ALL_RUNS, OF_ONE_RUN, tokens_lens

TOVA = random_trace(1, layers=5)
HEADS = replace(
    random_trace(2, layers=5, groups=2), tokens=TOVA.tokens, policy=settings_of(make_policy("h2o", budget=8))
)


@pytest.fixture(scope="module")
def address(serve: Callable[..., str]) -> str:
    """A page with the lens on two stored runs; a button stands for another run, one policy alone."""
    with Shell(analytics_enabled=False) as blocks:
        run = SharedRun()
        run.stored = gr.State(Stored((TOVA, HEADS)))
        gr.Button("another").click(lambda ended: (Stored((TOVA,)), not ended), run.ended, [run.stored, run.ended])
        with gr.Tabs():
            gr.Tab("Watch")
            with gr.Tab("Tokens") as tab:
                tokens_lens(tab, run)
    return serve(blocks)


def opened(page: Page) -> Page:
    """The lens, with the figures that are drawn at first."""
    page.get_by_role("tab", name="Tokens").click()
    expect(page.locator("#tokens-sentences")).to_contain_text("TOVA, budget 8: first token kept to the end in ")
    expect(page.locator("#tokens-runs-overlap")).to_contain_text("H2O")  # the last of them
    return page


def open_accordion(page: Page, name: str) -> None:
    page.get_by_role("button", name=name).click()


def figure(page: Page, name: str) -> Locator:
    return page.locator(f"#tokens-{name}")


def show_table(page: Page, name: str) -> None:
    page.locator("#tokens-table-choice input").click()
    page.get_by_role("option", name=name, exact=True).click()


def column(page: Page, index: int) -> Locator:
    """The cells of a column of the table, from the top, as far as they are on the screen."""
    return page.locator(f"#tokens-table [data-testid^=cell][data-testid$='-{index}']")


def test_on_a_phone_all_figures_fit_a_small_life_opens_large_and_another_run_is_drawn_only_once(
    open_page: Callable[..., Page], address: str
) -> None:
    page = opened(open_page(address, viewport={"width": 390, "height": 844}))
    for accordion in ("Layer by layer", "The numbers of all figures"):
        open_accordion(page, accordion)
    small = page.locator("#lives button")
    expect(small).to_have_count(5)
    for name in (*AT_FIRST, *OF_ALL_RUNS, *OF_ONE_RUN, "runs-overlap", "life"):
        figure(page, name).scroll_into_view_if_needed()
        expect(figure(page, name).locator(".main-svg").first).to_be_visible()
    titles = page.locator(".js-plotly-plot .gtitle, .js-plotly-plot .legendtitletext")
    edges = titles.evaluate_all(
        "all => all.map(title => [title.textContent, title.getBoundingClientRect().right, "
        "title.closest('.js-plotly-plot').getBoundingClientRect().right])"
    )
    assert len(edges) == 11
    assert [title for title, right, limit in edges if right > limit] == []
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")

    expect(figure(page, "status")).to_have_text("Measured: 40 tokens of by hand")
    for name in ("recency", "recency-layers"):
        expect(figure(page, name)).to_contain_text("the paper: 73–76 %")
    for name in ("recency", "ages", "early", "survival", "kinds"):
        expect(figure(page, name)).to_contain_text("H2O, budget 8")
    expect(figure(page, "kinds")).to_contain_text("the paper, budget 256")
    expect(figure(page, "early-layers")).to_contain_text("the first tokens, by layer")
    expect(figure(page, "survival-layers")).to_contain_text("Window ends here")
    expect(figure(page, "layer-overlap")).to_contain_text("TOVA, budget 8")
    expect(figure(page, "head-overlap")).to_be_hidden()

    small.first.scroll_into_view_if_needed()
    expect(figure(page, "life")).to_contain_text("the life of layer 4")
    expect(small.nth(4)).to_have_attribute("aria-pressed", "true")
    small.nth(2).click()
    expect(figure(page, "life")).to_contain_text("the life of layer 2")
    expect(small.nth(2)).to_have_attribute("aria-pressed", "true")
    expect(small.nth(4)).to_have_attribute("aria-pressed", "false")
    show_table(page, "The life of one layer")
    expect(page.locator("#tokens-table [data-testid=cell-0-2]")).to_have_text("2")
    small.nth(1).focus()
    small.nth(1).press("Enter")
    expect(figure(page, "life")).to_contain_text("the life of layer 1")
    expect(page.locator("#tokens-table [data-testid=cell-0-2]")).to_have_text("1")

    page.locator("#tokens-closer input").click()
    page.get_by_role("option", name="2: H2O, budget 8").click()
    for name in ("early-layers", "survival-layers", "layer-overlap", "life"):
        expect(figure(page, name)).to_contain_text("H2O, budget 8")
    expect(figure(page, "head-overlap")).to_contain_text("agreement of the KV heads of layer 1")
    expect(page.locator("#tokens-kv-head").get_by_label("0")).to_be_checked()  # as the choice of the run has set it
    page.locator("#tokens-kv-head").get_by_label("1").check()
    expect(figure(page, "life")).to_contain_text("the life of layer 1, KV head 1")

    page.get_by_role("button", name="another").click()
    for name in ("runs-overlap", "closer"):
        expect(figure(page, name)).to_be_hidden()
    expect(figure(page, "recency")).not_to_contain_text("H2O")
    small.nth(2).click()
    expect(figure(page, "life")).to_contain_text("the life of layer 2")
    page.get_by_role("tab", name="Watch").click()
    page.get_by_role("tab", name="Tokens").click()
    show_table(page, "Survival")
    expect(page.locator("#tokens-table [data-testid=header-3]")).to_contain_text("age")
    expect(small.nth(2)).to_have_attribute("aria-pressed", "true")


def test_saved_traces_replace_the_run_other_files_change_nothing_and_the_next_runs_numbers_are_sorted_and_taken_away(
    open_page: Callable[..., Page], address: str, tmp_path: Path
) -> None:
    page = opened(open_page(address))
    words = replace(TOVA.tokens, ids=TOVA.tokens.ids + 1)
    other = replace(random_trace(7, layers=5, budget=12), tokens=words)
    for name, trace in (("one", TOVA), ("other", other)):
        trace.save(tmp_path / f"{name}.npz")
    upload = page.locator("input[type=file][multiple]")
    upload.set_input_files([tmp_path / "one.npz", tmp_path / "other.npz"])
    expect(page.locator("#tokens-sentences")).to_contain_text("TOVA, budget 12")
    expect(figure(page, "overlap-line")).to_contain_text("over different tokens")
    expect(figure(page, "early")).to_contain_text("TOVA, budget 12")

    words, other, large = (tmp_path / f"{name}.npz" for name in ("words", "strange", "large"))
    words.write_text("hello")
    np.savez(other, hello=np.arange(3))
    np.savez_compressed(large, evicted_at=np.zeros(100_000_000 // 8 + 1))
    for file, message in ((words, "words.npz: This"), (other, "strange.npz: This"), (large, "at most 100 MB")):
        upload.set_input_files(file)
        expect(figure(page, "status").locator(".error")).to_contain_text(message)
        expect(figure(page, "status")).to_contain_text("Below is what was measured before.")
    upload.set_input_files([tmp_path / "one.npz"] * 9)
    expect(figure(page, "status")).to_contain_text("These are 9 files; at most 8 are measured at once.")
    expect(figure(page, "recency")).to_contain_text("TOVA, budget 12")  # nothing blanks
    page.get_by_role("button", name="another").click()
    expect(figure(page, "recency")).not_to_contain_text("budget 12")
    expect(figure(page, "runs-overlap")).to_be_hidden()

    open_accordion(page, "The numbers of all figures")
    show_table(page, "First tokens")
    expect(page.locator("#tokens-table [data-testid=cell-9-2]")).to_have_text("9")
    header = page.locator("#tokens-table [data-testid=header-4]")
    expect(header).to_have_text(re.compile("mean steps kept"))
    header.hover()
    header.get_by_label("Open cell menu").click()
    page.get_by_role("menuitem", name="Sort descending").click()
    ordered = survival.early_steps_kept(TOVA).mean(axis=0)
    assert ordered.max() > 9 > ordered.min()  # as words, these would come in another order
    expect(column(page, 4).first).to_have_text(f"{ordered.max():.3f}")
    seen = [float(text) for text in column(page, 4).all_inner_texts()]
    assert len(seen) > 9 and seen == sorted(seen, reverse=True)

    with page.expect_download() as download:
        page.locator("#tokens-csv").click()
    assert download.value.suggested_filename == "first-tokens.csv"
    with Path(download.value.path()).open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["token"] for row in rows] == list(TOVA.tokens.pieces[:26])
    assert [float(row["mean steps kept"]) for row in rows] == ordered.tolist()

    # Where there is nothing to compare, the table stays.
    show_table(page, "Agreement of KV heads")
    expect(figure(page, "table-status")).to_contain_text("No two to be compared")
    expect(page.locator("#tokens-table [data-testid=header-1]")).to_contain_text("budget")
    show_table(page, "Survival")
    expect(page.locator("#tokens-table [data-testid=header-3]")).to_contain_text("age")
    expect(figure(page, "table-status")).to_be_empty()
