"""A Chinese browser: what is shown is Chinese there, says the same as in English, and leaves no English over."""

import re
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from playwright.sync_api import Page, expect

from core.messages import Message
from tests.traces import random_trace
from viz.maps.payload import Mark, View, payload
from viz.maps.retention_map import RetentionMap
from viz.maps.standalone import standalone_html
from viz.page.page import Page as OurPage
from viz.words.catalogue import script_words, speaking
from viz.words.labels import translate

ENGLISH = re.compile("[A-Za-z]{2,}")
NAMES = re.compile(
    r"TOVA( per head)?|Window(\+i)?|H2O|KV|SVG|PNG|NLL|nat\b|Ctrl|Esc|Shift|Alt|Enter|Home|End|smollm2-135m-instruct"
)
TOKENS = re.compile("“[^”]*”")  # and the user's they are, in any language
MARKS = (Mark(range(3, 9), "«1»"), Mark(range(25, 28), "«2»", "question"))


def left_in_english(text: str) -> list[str]:
    return ENGLISH.findall(NAMES.sub("", TOKENS.sub("", text)))


def words_of(page: Page, of: str) -> str:
    """All that the first map says and draws no canvas for, the user's text left out."""
    return page.locator(of).first.evaluate(
        """map => {
            const said = [map, ...map.querySelectorAll("*")].flatMap(element => [
                element.title, element.ariaLabel, element.ariaValueText,
                ...Array.from(element.childNodes, node => node.nodeType === Node.TEXT_NODE ? node.data.trim() : ""),
            ].filter(words => words && !element.closest(".rm-text > *, .rm-token, style")));
            return said.join("\\n");
        }"""
    )


@pytest.mark.parametrize(("locale", "chinese"), [("zh-HK", True), ("fr-FR", False)])  # whose speakers find English
def test_a_page_what_it_computes_its_maps_and_its_errors_are_in_one_language(
    open_page: Callable[..., Page], whole_page: str, locale: str, chinese: bool
) -> None:
    page = open_page(whole_page, locale=locale)
    expect(page.locator(".rm-number").first).to_have_text("325 / 325")
    for place, english, translated in (
        ("#title h1", "What does a Transformer keep?", "Transformer 保留了什么？"),
        ("#run", "Run", "运行"),
        ("[role=tab] >> nth=0", "Watch", "观察"),
        (".rm-key-fresh >> nth=0", "just evicted", "刚被淘汰"),
    ):
        expect(page.locator(place)).to_have_text(translated if chinese else english, use_inner_text=True)
    assert page.evaluate("document.documentElement.lang") == ("zh-CN" if chinese else "en")

    page.locator("#stop").click()
    for place, english, translated in (
        ("#status", "A stored run.", "这是存好的运行。"),
        ("#stopped", "Stopped.", "已停止。"),
        ("#fates", "what became of it under each policy", "在各策略下的经历"),
        (".rm-legend >> nth=0", "just evicted", "刚被淘汰"),
        (".rm-note >> nth=0", "64 rows in each of 30 layers · 27%", "30 层各 64 行 · 其中 27%"),
    ):
        shown = page.locator(place)
        expect(shown).to_contain_text(translated if chinese else english, use_inner_text=True)
        expect(shown).not_to_contain_text(english if chinese else translated, use_inner_text=True)
        assert not chinese or left_in_english(shown.inner_text()) == []

    expect(page.locator(".rm-alternative").first).to_contain_text("第 325 / 325 步" if chinese else "Step 325 of 325")
    page.locator(".rm-tools [data-do=help]").first.click()
    if chinese:
        said = words_of(page, ".rm")
        assert {"步", "尚未读到", "上一步 (←)", "滚轮、双指", "图例"} <= set(said.split("\n"))
        assert left_in_english(said) == []

    page.locator(".rm canvas").first.click(position={"x": 400, "y": 60})
    forgot = r"第 \d+ 层(在读|一读到).*淘汰" if chinese else r"Layer \d+ forgot"
    expect(page.locator("#fates dd").first).to_have_text(re.compile(forgot), use_inner_text=True)
    page.locator("#copy-link").click()
    expect(page.locator("#link")).to_contain_text("指向这次运行" if chinese else "link to this run")
    play = page.locator(".rm-play").first
    play.click()
    expect(play).to_have_attribute("aria-label", "暂停" if chinese else "Pause")
    play.click()

    page.get_by_role("tab").nth(3).click()
    page.locator("#sweep-budgets").locator("textarea, input").fill("many")
    page.locator("#sweep-run").click()
    error = page.locator("#sweep-status .error")
    expect(error).to_contain_text("预算应是用逗号分开的整数" if chinese else "must be whole numbers")
    assert error.evaluate("line => getComputedStyle(line).color") == "rgb(255, 255, 255)"


def test_several_maps_leave_no_english_over_in_any_chinese_browser(
    open_page: Callable[..., Page], serve: Callable[..., str]
) -> None:
    with OurPage(analytics_enabled=False) as blocks:
        retention_map = RetentionMap()
        gr.Button(Message("Run"), elem_id="run")
        traces = [random_trace(3), random_trace(4, groups=2)]
        sent = payload(traces, View(run="x"), marks=MARKS) | {"model": "«3»"}
        blocks.load(lambda: sent, outputs=retention_map, show_progress="hidden")
    translate(blocks)
    address = serve(blocks)
    for locale in ("zh-Hans-CN", "zh-TW", "zh-CN"):
        page = open_page(address, locale=locale)
        expect(page.locator(".rm-number")).to_have_text("39 / 39")
        expect(page.locator(".rm-alternative")).to_contain_text("每个 KV 头 8 行")
        expect(page.locator("#run")).to_have_text("运行")
    page.locator("[data-do=difference]").click()
    page.locator(".rm-list canvas").nth(1).hover(position={"x": 400, "y": 40})
    expect(page.locator(".rm-readout span")).not_to_be_empty()

    said = words_of(page, ".rm")

    assert {"差异", "仅 A 保留：", "都不保留"} <= set(said.split("\n"))
    assert left_in_english(said) == []


# What the scripts say


def said_in(language: str, functions: Page, told: str, sent: Any) -> Any:
    """What the scripts of the map tell in this language."""
    with speaking(language):
        functions.evaluate("words => Words.speak(words)", script_words())
    return functions.evaluate(told, sent)


STORIES = """payload => {
    const trace = Traces.decode(payload).traces[0];
    const counts = Traces.noCounts(trace);
    const said = [Sentences.policyName(trace), Sentences.windowName(trace)];
    for (let step = 0; step < trace.length; step += 3) {
        Traces.moveCounts(trace, counts, step);
        said.push(Sentences.alternative(trace, step, counts), Sentences.stepStory(trace, step, counts));
        trace.pieces.forEach((_, position) => {
            said.push(Sentences.tokenStory(trace, step, position, counts.keepers[position]));
            for (const group of [...Array(trace.groups).keys(), null]) {
                said.push(Sentences.cellStory(trace, step, 1, group, position));
            }
        });
    }
    return said;
}"""


def test_the_stories_of_a_map_have_the_same_numbers(functions: Page) -> None:
    for groups, window in product((1, 2), (None, range(12, 30))):
        sent = payload([random_trace(3, groups=groups)], View(window=window), marks=MARKS)
        said = [said_in(language, functions, STORIES, sent) for language in ("en", "zh_CN")]

        assert len(said[0]) == len(said[1]) > 100
        for english, chinese in zip(*said, strict=True):
            without = [TOKENS.sub("", words) for words in (english, chinese)]
            assert sorted(re.findall(r"[\d,.]*\d", without[0])) == sorted(re.findall(r"[\d,.]*\d", without[1]))
            assert left_in_english(chinese) == []
        assert len({TOKENS.sub("", re.sub(r"\d+", "", words)) for words in said[1]}) > 8


def test_long_lines_of_a_picture_end_where_chinese_allows_it(functions: Page) -> None:
    text = "任一方保留的词元中，双方共有的并不多；在 TOVA 下，这一步淘汰的行，都是当前查询关注最少的。"
    told = """text => {
        const look = { palette: { font: "sans-serif" }, font: 13, ratio: 1 };
        const picture = new Pictures.Picture({ cssWidth: 168, ...look });
        const lines = picture.lines(text, 13, false);
        return [lines, Math.max(...lines.map(line => Painter.textWidth(line, 13, "sans-serif")))];
    }"""
    lines, widest = said_in("zh_CN", functions, told, text)
    assert len(lines) > 2 and widest <= 140
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert not any(line[0] in "，。；：、）" for line in lines)


def test_the_file_of_its_own_stays_english(open_page: Callable[..., Page], tmp_path: Path) -> None:
    file = tmp_path / "map.html"
    file.write_text(standalone_html([random_trace(3)]), encoding="utf-8")
    page = open_page(file.as_uri(), locale="zh-CN")
    expect(page.locator(".rm-number")).to_have_text("39 / 39")
    expect(page.locator(".rm-legend").first).to_contain_text("just evicted")
    expect(page.locator(".rm-readout")).to_contain_text("rows kept of")
    expect(page.locator(".rm-alternative")).to_contain_text("Step 39 of 39")
