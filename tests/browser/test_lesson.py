"""The lesson as a class sees it: the whole page without any model, in two languages, and on a projector."""

from collections.abc import Callable

from playwright.sync_api import Page, expect

from viz.lesson.lesson import STEPS
from viz.lesson.words import LESSON
from viz.words.catalogue import speaking, told


def expect_step(page: Page, step: int, language: str) -> None:
    """The words and the map of a step, counted from 0."""
    with speaking(language):
        expect(page.locator(".lesson h2")).to_have_text(told(LESSON[step].title))
    shown = STEPS[step]
    expect(page.locator("#lesson-progress")).to_have_text(f"{step + 1} / 7")
    last = len(shown.trace(shown.policies[0])) - 1
    expect(page.locator("#lesson .rm-number")).to_have_text(f"{shown.moment.step} / {last}")
    expect(page.locator("#lesson .rm-list canvas")).to_have_count(len(shown.policies))


def test_seven_steps_in_english_then_in_chinese_then_on_a_projector(
    open_page: Callable[..., Page], whole_page: str
) -> None:
    page = open_page(whole_page, locale="en-US")
    page.get_by_role("tab", name="Learn").click()
    back, onwards = page.locator("#lesson-back"), page.locator("#lesson-next")
    answer = page.locator(".lesson details p")

    for step, words in enumerate(LESSON):
        expect_step(page, step, "en")
        expect(answer).to_be_hidden()
        if step == 1:
            page.locator(".lesson summary").press("Enter")
            expect(answer).to_contain_text(words.answer.template.partition("{")[0])
            expect(page.locator("#lesson .rm-readout")).to_contain_text("Token 0 “The” · kept by 0 of 30 layers")
        if step < len(STEPS) - 1:
            onwards.click()
    expect(onwards).to_be_disabled()
    assert "step=" not in page.url, "the address belongs to Watch"

    page.get_by_label("中文").check()
    expect_step(page, 6, "zh_CN")
    expect(back).to_have_text("← 上一步")
    page.keyboard.press("Escape")

    title, lesson = page.locator("#title"), page.locator(".lesson")
    small = lesson.evaluate("element => parseFloat(getComputedStyle(element).fontSize)")
    page.locator("#projector").click()
    expect(title).to_be_hidden()
    expect(page.get_by_role("tab", name="Watch")).to_be_hidden()
    expect(lesson).to_be_visible()
    expect(page.locator("#lesson .rm-list canvas").first).to_be_visible()
    assert lesson.evaluate("element => parseFloat(getComputedStyle(element).fontSize)") > 1.2 * small
    page.locator("body").press("PageUp")
    expect_step(page, 5, "zh_CN")
    page.keyboard.press("Escape")
    expect(title).to_be_visible()


def test_a_chinese_browser_projects_watch_on_a_phone_and_reads_the_lesson_in_english(
    open_page: Callable[..., Page], whole_page: str
) -> None:
    page = open_page(whole_page + "?projector", locale="zh-CN", viewport={"width": 390, "height": 844})

    expect(page.locator(".rm-number").first).to_have_text("325 / 325")
    expect(page.locator("#title")).to_be_hidden()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.locator("#projector").click()
    expect(page.locator("#run")).to_have_text("运行")
    page.get_by_text("学习", exact=True).last.dispatch_event("click")  # in sight or behind “More tabs”
    expect_step(page, 0, "zh_CN")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.get_by_label("English").check()
    expect_step(page, 0, "en")
