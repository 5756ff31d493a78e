"""The lens "Budget" in real Chromium: a stored sweep at first, then sweeps of a tiny model."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.lenses import choose, lens_page
from tests.browser.runs import begin, says
from tests.writers import writer_model
from viz.examples.sweep import example_sweep
from viz.tabs.budget import budget_lens

TEXT = " ".join(f"w{i % 9} w{i % 7}" for i in range(40))


@pytest.fixture(scope="module")
def address(tiny, tmp_path_factory: pytest.TempPathFactory, serve: Callable[..., str]) -> str:
    model = writer_model(tiny("llama-gqa").directory, tmp_path_factory.mktemp("writer") / "model")
    return serve(lens_page(model, "Budget", budget_lens))


@pytest.fixture
def page(open_page: Callable[..., Page], address: str) -> Page:
    page = open_page(address)
    page.get_by_role("tab", name="Budget").click()
    expect(page.locator("#sweep-plot")).to_contain_text("Short context")
    return page


def run(page: Page) -> Locator:
    begin(page.locator("#sweep-run"), page.locator("#sweep-status"))
    return says(page.locator("#sweep-status"))


def budgets(page: Page, text: str) -> None:
    page.get_by_label("Budgets, with commas between").fill(text)


def test_it_opens_on_a_stored_sweep_beside_the_papers(page: Page) -> None:
    expect(page.locator("#sweep-status")).to_contain_text("A stored example, made by this app. Press “Try the budgets”")
    expect(page.locator("#sweep-sentences")).to_contain_text("TOVA: ")
    expect(page.locator("#paper-sweep-plot")).to_contain_text("LLaMA-2-7B")
    for record in example_sweep()[:3]:
        expect(page.locator("#sweep-table")).to_contain_text(f"{round(record.perplexity, 3)}")


def test_the_policies_of_the_cards_are_swept_and_what_cannot_be_followed_is_said(page: Page) -> None:
    page.locator("#text textarea").fill(TEXT)
    choose(page, 2, "Window+i")
    page.get_by_role("spinbutton", name="Sink tokens (i)").fill("2")
    choose(page, 3, "Oracle")
    budgets(page, "8, 16")
    expect(run(page)).to_contain_text(f"Done: {7 * 79} tokens")
    table = page.locator("#sweep-table")
    expect(table).to_contain_text("Window+i")
    expect(table).not_to_contain_text("H2O")
    expect(table).not_to_contain_text("Oracle")
    sentences = page.locator("#sweep-sentences")
    expect(sentences).to_contain_text("The oracle is left out")
    expect(sentences).to_contain_text("The settings on the cards are not used here")

    page.get_by_role("tab", name="Nothing").click()
    page.get_by_role("tab", name="Budget").click()
    page.wait_for_timeout(1000)
    expect(table).to_contain_text("Window+i")  # the example does not come back


def test_what_is_no_budget_is_explained_and_a_sweep_can_be_stopped(page: Page) -> None:
    budgets(page, "many")
    expect(run(page)).to_contain_text("whole numbers")
    page.locator("#text textarea").fill(TEXT * 60)
    budgets(page, " ".join(str(4 * i) for i in range(1, 60)))
    expect(run(page)).to_contain_text("tokens; about")
    budgets(page, "many")
    expect(run(page)).to_contain_text("whole numbers")
    page.wait_for_timeout(1000)
    expect(page.locator("#sweep-status")).to_contain_text("whole numbers")  # pressed again, Run ends the former run

    budgets(page, " ".join(str(4 * i) for i in range(1, 60)))
    expect(run(page)).to_contain_text("tokens; about")
    page.locator("#sweep-stop").click()
    expect(page.locator("#sweep-stopped")).to_contain_text("Stopped.")
    page.wait_for_timeout(1000)
    expect(page.locator("#sweep-status")).not_to_contain_text(re.compile("Done"))
