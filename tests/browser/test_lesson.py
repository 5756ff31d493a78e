"""The lesson as a class sees it: the whole page without any model, in two languages, and on a projector."""

from collections.abc import Callable

import gradio as gr
import pytest
from playwright.sync_api import Page, expect

import app
from core.store import TraceStore
from viz.lesson.lesson import STEPS
from viz.maps.retention_map import static
from viz.words.lesson_words import LESSON, LESSON_LABELS
from viz.words.translations import I18N

LAST = 736


@pytest.fixture(scope="module")
def address(serve: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("page")
    page: gr.Blocks = app.build(TraceStore(folder / "runs", 10), votes=folder / "votes.db")
    return serve(page, theme=app.THEME, css=static("page.css"), i18n=I18N)


def expect_step(page: Page, step: int, language: str) -> None:
    """The words and the map of a step, counted from 0."""
    words = LESSON[language][step]
    expect(page.locator(".lesson h2")).to_have_text(words.title)
    expect(page.locator("#lesson-progress")).to_have_text(f"{step + 1} / 6")
    expect(page.locator("#lesson .rm-number")).to_have_text(f"{STEPS[step].moment.step} / {LAST}")


def test_six_steps_in_english_then_in_chinese_then_on_a_projector(open_page: Callable[..., Page], address: str) -> None:
    page = open_page(address, locale="en-US")
    page.get_by_role("tab", name="Lesson").click()
    back, onwards = page.locator("#lesson-back"), page.locator("#lesson-next")
    answer = page.locator(".lesson details p")

    for step, words in enumerate(LESSON["en"]):
        expect_step(page, step, "en")
        expect(answer).to_be_hidden()
        if step == 1:
            page.locator(".lesson summary").press("Enter")
            expect(answer).to_contain_text(words.answer.partition("{")[0])
            expect(page.locator("#lesson .rm-readout")).to_contain_text("Token 0 “The” · kept by 0 of 30 layers")
        if step < len(STEPS) - 1:
            onwards.click()
    expect(onwards).to_be_disabled()
    assert "step=" not in page.url, "the address belongs to Explore"

    page.get_by_label("中文").check()
    expect_step(page, 5, "zh")
    expect(back).to_have_text(LESSON_LABELS["zh"]["back"])
    page.keyboard.press("Escape")

    title, lesson = page.locator("#title"), page.locator(".lesson")
    small = lesson.evaluate("element => parseFloat(getComputedStyle(element).fontSize)")
    page.locator("#projector").click()
    expect(title).to_be_hidden()
    expect(page.get_by_role("tab", name="Explore")).to_be_hidden()
    expect(lesson).to_be_visible()
    expect(page.locator("#lesson canvas")).to_be_visible()
    assert lesson.evaluate("element => parseFloat(getComputedStyle(element).fontSize)") > 1.2 * small
    page.locator("body").press("PageUp")
    expect_step(page, 4, "zh")
    page.keyboard.press("Escape")
    expect(title).to_be_visible()


def test_a_chinese_browser_projects_explore_on_a_phone(open_page: Callable[..., Page], address: str) -> None:
    page = open_page(address + "?projector", locale="zh-CN", viewport={"width": 390, "height": 844})

    expect(page.locator(".rm-number").first).to_have_text("325 / 325")
    expect(page.locator("#controls")).to_be_hidden()
    expect(page.locator("#title")).to_be_hidden()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.locator("#projector").click()
    expect(page.locator("#run")).to_have_text("运行")
    more = page.get_by_role("button", name="More tabs")
    if more.is_visible():  # not where the fonts are so narrow that all tabs fit
        more.click()
    page.get_by_text("课程", exact=True).locator("visible=true").last.click()
    expect_step(page, 0, "zh")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
