"""The lens "Budget" in real Chromium: a stored sweep at first, then sweeps of a tiny model."""

import re
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Locator, Page, expect

from tests.browser.lenses import choose, lens_page
from tests.browser.runs import begin, says
from tests.writers import writer_model
from viz.examples.sweep import example_sweep
from viz.tabs.budget import budget_lens

TEXT = " ".join(f"w{i % 9} w{i % 7}" for i in range(40))
MANY = " ".join(str(4 * i) for i in range(1, 60))


def run(page: Page, budgets: str) -> Locator:
    page.get_by_label("Budgets, with commas between").fill(budgets)
    begin(page.locator("#sweep-run"), page.locator("#sweep-status"))
    return says(page.locator("#sweep-status"))


def test_a_stored_sweep_gives_way_to_that_of_the_cards_and_one_that_runs_can_be_stopped(
    open_page: Callable[..., Page], serve: Callable[..., str], tiny, tmp_path: Path
) -> None:
    page = open_page(serve(lens_page(writer_model(tiny("llama-gqa").directory, tmp_path / "m"), "Budget", budget_lens)))
    page.get_by_role("tab", name="Budget").click()
    expect(page.locator("#sweep-plot")).to_contain_text("Short context")
    expect(page.locator("#sweep-status")).to_contain_text("A stored example, made by this app. Press “Try the budgets”")
    sentences, table = page.locator("#sweep-sentences"), page.locator("#sweep-table")
    expect(sentences).to_contain_text("TOVA: ")
    expect(page.locator("#paper-sweep-plot")).to_contain_text("LLaMA-2-7B")
    for record in example_sweep()[:3]:
        expect(table).to_contain_text(f"{round(record.perplexity, 3)}")

    page.locator("#text textarea").fill(TEXT)
    choose(page, 2, "Window+i")
    page.get_by_role("spinbutton", name="Sink tokens (i)").fill("2")
    choose(page, 3, "Oracle")
    expect(run(page, "many")).to_contain_text("whole numbers")
    expect(run(page, "8, 16")).to_contain_text(f"Done: {7 * 79} tokens")
    expect(table).to_contain_text("Window+i")
    expect(table).not_to_contain_text("H2O")
    expect(table).not_to_contain_text("Oracle")
    expect(sentences).to_contain_text("The oracle is left out")
    expect(sentences).to_contain_text("The settings on the cards are not used here")

    page.get_by_role("tab", name="Nothing").click()
    page.get_by_role("tab", name="Budget").click()
    page.wait_for_timeout(1000)
    expect(table).to_contain_text("Window+i")  # the example does not come back

    page.locator("#text textarea").fill(TEXT * 20)
    expect(run(page, MANY)).to_contain_text("tokens; about")
    expect(run(page, "many")).to_contain_text("whole numbers")
    page.wait_for_timeout(1000)
    expect(page.locator("#sweep-status")).to_contain_text("whole numbers")  # pressed again, Run ends the former run
    expect(run(page, MANY)).to_contain_text("tokens; about")
    page.locator("#sweep-stop").click()
    expect(page.locator("#sweep-stopped")).to_contain_text("Stopped.")
    page.wait_for_timeout(1000)
    expect(page.locator("#sweep-status")).not_to_contain_text(re.compile("Done"))
