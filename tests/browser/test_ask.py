"""The lens "Ask" in real Chromium: stored answers at first, then those of a tiny model that reads any text."""

import re
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Locator, Page, expect

import app
from tests.browser.lenses import choose, lens_page, set_budget
from tests.browser.runs import begin, says
from tests.talkers import make_talker
from viz.tabs.ask import ask_lens
from viz.templates import static

TEXT = "Maud lit the lamp. The ship's bell rang, and Maud lit the lamp again."


def cards(page: Page) -> Locator:
    return page.locator("#ask-answers article")


def run(page: Page, lens: str = "ask") -> Locator:
    begin(page.locator(f"#{lens}-run"), page.locator(f"#{lens}-status"))
    return says(page.locator(f"#{lens}-status"))


def mark(page: Page, start: int, stop: int) -> None:
    page.locator("#ask-document textarea").evaluate(
        f"box => {{ box.focus(); box.setSelectionRange({start}, {stop}); }}"
    )


def test_a_stored_answer_is_in_sight_until_the_cards_are_asked_and_then_who_finds_a_hidden_fact(
    open_page: Callable[..., Page], serve: Callable[..., str], tmp_path: Path
) -> None:
    model = make_talker(tmp_path / "talker", chats=True)
    page = open_page(serve(lens_page(model, "Ask", ask_lens), theme=app.THEME, css=static("page.css")))
    page.set_viewport_size({"width": 1366, "height": 768})
    page.get_by_role("tab", name="Ask").click()
    expect(page.locator("#ask-status")).to_contain_text("A stored example, made by this app. Press “Ask”")
    expect(cards(page)).to_have_count(4)
    for card, name in zip(cards(page).all(), ("Full model", "TOVA", "H2O", "Window"), strict=True):
        expect(card.locator("h4")).to_contain_text(name)
        box = card.locator(".text").bounding_box()
        assert box is not None and box["y"] + box["height"] <= 768, "an answer is not in sight without scrolling"
    expect(cards(page).first).to_contain_text("Maud")
    fate, marked = page.locator("#ask-fate"), page.locator("#ask-marked")
    expect(fate).to_contain_text("H2O, budget 64")
    expect(page.locator("canvas:visible")).to_have_count(3)
    expect(page.locator("#ask-curve")).to_contain_text("How much of the passage is kept")
    expect(page.locator("#matrix-status")).to_contain_text("A stored example, made by this app")
    expect(page.locator("#matrix-words")).to_contain_text("Full: finds the fact in")
    expect(page.locator("#matrix-plot")).to_contain_text("Is the fact found?")

    before = fate.inner_text()
    mark(page, 0, 12)
    expect(marked).to_have_text("Marked: The harbour", use_inner_text=True)
    expect(fate).not_to_have_text(before, use_inner_text=True)
    expect(fate).to_contain_text("Window, budget 64: 0% of the passage was kept")
    page.locator("#ask-whose").get_by_label("Window, budget 64").check()
    expect(page.locator("#ask-layers")).to_contain_text("Window, budget 64")

    page.locator("#ask-question textarea").fill(" ")
    expect(run(page)).to_contain_text("There is no question")
    choose(page, 1, "Oracle")
    for lens in ("ask", "matrix"):
        expect(run(page, lens)).to_contain_text("The oracle needs to know the whole text beforehand")
    expect(cards(page)).to_have_count(4)

    page.locator("#text textarea").fill(TEXT)
    page.locator("#ask-take").click()
    expect(page.locator("#ask-document textarea")).to_have_value(TEXT)
    expect(marked).to_contain_text("Nothing is marked yet")
    mark(page, 0, 8)
    expect(marked).to_contain_text("Marked: Maud lit")
    page.locator("#ask-question textarea").fill("What rang?")
    set_budget(page, 16)
    choose(page, 1, "TOVA")
    choose(page, 2, "Full")
    expect(run(page)).to_contain_text("Done")
    expect(cards(page).locator("h4")).to_have_text(["Full model", "TOVA, budget 16", "Window, budget 16"])
    expect(cards(page).first).to_contain_text("evidence kept at the question: 100%")
    expect(fate).to_contain_text("Window, budget 16: 0% of the passage was kept")
    expect(page.locator("canvas:visible")).to_have_count(2)

    page.get_by_role("tab", name="Nothing").click()
    page.get_by_role("tab", name="Ask").click()
    page.wait_for_timeout(1000)
    expect(cards(page)).to_have_count(3)  # the example does not come back

    page.locator("#ask-length input[type=number]").fill("512")
    page.locator("#ask-length input[type=number]").press("Enter")
    page.locator("#ask-needle").click()
    expect(page.locator("#ask-document textarea")).to_have_value(re.compile("clockmaker is 7394"))
    expect(marked).to_contain_text("clockmaker is 7394")
    expect(page.get_by_label("The right answer, if you know it")).to_have_value("7394")
    for length in ("128", "256"):
        page.locator("#matrix-lengths").get_by_label(length, exact=True).uncheck()
    expect(run(page, "matrix")).to_contain_text("Choose at least one length")
    page.locator("#matrix-lengths").get_by_label("256", exact=True).check()
    for _ in range(2):
        page.locator("#remove-1").click()
    choose(page, 1, "Random")
    expect(run(page, "matrix")).to_contain_text("Done")
    expect(page.locator("#matrix-words")).to_contain_text("Random, budget 16: finds the fact in")
    expect(page.locator("#matrix-plot")).to_contain_text("Random")
    expect(page.locator("#matrix-plot")).not_to_contain_text("H2O")

    choose(page, 1, "Full")
    expect(run(page)).to_contain_text("The full model is always beside the others")
    expect(cards(page)).to_have_count(3)
