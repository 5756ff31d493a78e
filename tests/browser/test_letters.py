"""Texts that are read from right to left, in Chromium: every line as a plain paragraph has it, its letters joined."""

import re
import sys
import unicodedata
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import gradio as gr
import numpy as np
import pytest
from playwright.sync_api import Locator, Page, expect

import app
from core.experiments.stories import Story, Telling
from core.policies import make_policy, settings_of
from core.trace import NEVER, Trace
from tests.browser.maps import hear, heard
from tests.traces import tokens_of, trace_of
from viz.cards.card import CSS
from viz.cards.story_cards import telling_html
from viz.maps.payload import payload
from viz.maps.retention_map import RetentionMap
from viz.templates import static
from viz.words.letters import isolated
from viz.words.sentences import quoted

# As byte-level tokenizers cut them: an empty piece continues the character before it.
ARABIC = (
    "م",
    "ر",
    "ح",
    "ب",
    "ا",
    " ب",
    "ال",
    "ع",
    "",
    "ال",
    "م",
    "،",
    "",
    " 12",
    "3",
    " ن",
    "ص",
    "",
    " and",
    " words",
    " ه",
    "نا",
    ".",
)
HEBREW = ("ש", "", "ל", "ום", " (", "ע", "", "ולם", ")", " 42", "!")
LINES = (*ARABIC, "\n", "An", " English", " line", " with", " مر", "حبا", " in", " it", ".", "\n", *HEBREW)
FIRST = ("<s>", *LINES)  # a control token in front says nothing of the direction


def trace_with(pieces: tuple[str, ...], **more: Any) -> Trace:
    tokens = replace(tokens_of(pieces), special=np.array([piece == "<s>" for piece in pieces]))
    return trace_of(np.full((2, 1, len(pieces)), NEVER), pieces, tokens=tokens, **more)


@pytest.fixture(scope="module")
def address(serve: Callable[..., str]) -> str:
    with gr.Blocks(analytics_enabled=False) as blocks:
        retention_map, other, words = RetentionMap(), RetentionMap(), gr.Textbox(label="heard")
        retention_map.token(hear, outputs=words)
        sent = payload([trace_with(FIRST)]), payload([trace_with(FIRST)] * 2)
        blocks.load(lambda: sent, outputs=[retention_map, other], show_progress="hidden")
    return serve(blocks)


@pytest.fixture
def page(open_page: Callable[..., Page], address: str) -> Page:
    page = open_page(address)
    expect(page.locator(".rm-t")).to_have_count(2 * len(FIRST))
    return page


# Where the letters of each piece stand, from the left of the box, and the letters of the same piece in a plain
# paragraph of the same width and letters. Control tokens stand there as <bdi>.
PLACES = """box => {
    const pieces = Array.from(box.querySelectorAll(".rm-t"), span => span.textContent);
    const special = Array.from(box.querySelectorAll(".rm-t"), span => span.classList.contains("rm-special"));
    const plain = document.createElement("div");
    const style = getComputedStyle(box);
    const like = ["fontFamily", "fontSize", "fontVariantNumeric", "lineHeight"];
    for (const name of [...like, "padding", "width", "whiteSpace", "border", "boxSizing"]) {
        plain.style[name] = style[name];
    }
    plain.style.unicodeBidi = "plaintext";
    plain.style.textAlign = "start";
    const text = document.createElement("bdi");
    text.textContent = special[0] ? pieces[0] : "";
    const { fontFamily, fontSize, fontStyle } = getComputedStyle(box.querySelector(".rm-t"));
    Object.assign(text.style, { fontFamily, fontSize, fontStyle });
    plain.append(text, pieces.slice(special[0] ? 1 : 0).join(""));
    box.parentElement.append(plain);
    const letters = plain.lastChild;
    const side = (range, of) => {
        const [left] = [of.getBoundingClientRect().left];
        return Array.from(range.getClientRects(), box => [box.left - left, box.right - left]).filter(([a, b]) => b > a);
    };
    let at = 0;
    const places = pieces.map((piece, i) => {
        const ours = document.createRange();
        ours.selectNodeContents(box.querySelectorAll(".rm-t")[i]);
        if (special[i] || piece === "" || piece.includes("\\n")) { at += special[i] ? 0 : piece.length; return null; }
        const theirs = document.createRange();
        theirs.setStart(letters, at);
        theirs.setEnd(letters, at += piece.length);
        return [side(ours, box), side(theirs, plain)];
    });
    plain.remove();
    return places.filter(place => place);
}"""


def assert_plain(places: list[Any]) -> None:
    for ours, plain in places:
        np.testing.assert_allclose(
            [min(map(min, ours)), max(map(max, ours))], [min(map(min, plain)), max(map(max, plain))], atol=1.5
        )


def test_a_line_stands_as_in_a_plain_paragraph_clicks_and_arrows_follow_it_and_a_token_turns_no_sentence_round(
    page: Page,
) -> None:
    for box in page.locator(".rm-text").all():
        places = box.evaluate(PLACES)
        assert len(places) > 30
        assert_plain(places)
        ours = [places[i][0][0][0] for i in range(4)]
        assert ours == sorted(ours, reverse=True)  # from the right

    page.locator(".rm-t").nth(1).hover()
    expect(page.locator(".rm-readout").first).to_contain_text("Token 1 “\u2068م\u2069” · ")
    assert quoted(trace_with(FIRST), 1) == "“\u2068م\u2069”"
    assert quoted(trace_with(FIRST), FIRST.index(" English")) == "“ English”"
    with page.expect_download() as download:
        page.get_by_role("button", name="SVG").first.click()
    texts = {text.text for text in ET.parse(download.value.path()).getroot().iter("{http://www.w3.org/2000/svg}text")}
    assert {"\u2068م\u2069", "\u2068מ\u2069"} & texts

    last = len(FIRST) - 1
    for position in (1, 7, 9, 13, 20, 24, last):
        span = page.locator(".rm-t").nth(position)
        if FIRST[position]:
            span.click()
        else:
            span.evaluate("span => span.scrollIntoView({ block: 'center' })")
            tab = span.evaluate("span => { const { left, top } = span.getBoundingClientRect(); return [left, top]; }")
            page.mouse.click(tab[0] + 2, tab[1] + 1)
        heard(page, {"policy": 0, "position": position, "step": last})

    page.keyboard.press("Escape")
    page.locator(".rm-text").first.focus()
    page.keyboard.press("Home")
    readout = page.locator(".rm-readout").first
    english = FIRST.index(" English")
    for keys, expected in (
        (["ArrowLeft"], 0),
        (["ArrowLeft", "ArrowLeft"], 2),
        (["ArrowRight"], 1),
        (["ArrowLeft"] * (english - 2), english - 1),
        (["ArrowRight"], english),
        (["ArrowRight"], english + 1),
        (["ArrowLeft"], english),
    ):
        for key in keys:
            page.keyboard.press(f"Control+{key}")
        expect(readout).to_have_text(re.compile(f"^Token {expected} "))


def test_that_also_where_the_policies_texts_part(open_page: Callable[..., Page], serve: Callable[..., str]) -> None:
    one = other = trace_with(LINES, prompt_length=4)
    ids = other.tokens.ids + 100 * (np.arange(len(LINES)) >= 9)
    other = replace(other, tokens=replace(other.tokens, ids=ids), policy=settings_of(make_policy("window", 2)))
    with gr.Blocks(analytics_enabled=False) as blocks:
        comparison = RetentionMap()
        blocks.load(lambda: payload([one, other]), outputs=comparison, show_progress="hidden")
    page = open_page(serve(blocks))
    expect(page.locator(".rm-diverging")).to_have_count(1)

    for box in page.locator(".rm-text").all():
        assert_plain(box.evaluate(PLACES))


# Sentences of ours


def test_what_is_isolated_in_python_is_isolated_in_the_browser(functions: Page) -> None:
    known = [chr(code) for code in range(sys.maxunicode) if unicodedata.category(chr(code)) not in ("Cn", "Cs", "Co")]

    theirs = functions.evaluate("all => all.map(one => Letters.isolated(one) !== one)", known)

    ours = [isolated(one) != one for one in known]
    assert [f"U+{ord(one):04X}" for one, a, b in zip(known, ours, theirs, strict=True) if a and not b] == []
    letters = [i for i, one in enumerate(known) if unicodedata.category(one)[0] == "L"]
    assert [known[i] for i in letters if theirs[i] and not ours[i]] == []


# The rest of the page


def test_a_story_reads_from_the_right_and_its_mark_parts_no_letters(
    open_page: Callable[..., Page], serve: Callable[..., str]
) -> None:
    def story(policy: str, left_at: int | None) -> Story:
        budget = () if policy == "full" else (8,)
        return Story(settings_of(make_policy(policy, *budget)), tokens_of(ARABIC), False, left_at)

    telling = Telling("مرحبا", 0, (story("full", None), story("tova", 2)))
    with gr.Blocks(analytics_enabled=False) as blocks:
        gr.HTML(telling_html(telling, finished=True), css_template=CSS)
    page = open_page(serve(blocks))

    full, marked = (page.locator(".story .text > div").nth(i) for i in (0, 1))
    assert lefts(full) == pytest.approx(lefts(marked), abs=1)
    assert lefts(full)[0] == max(lefts(full))
    assert lefts(full)[-1] == min(lefts(full))  # the full stop at the end of the line


def lefts(box: Locator) -> list[float]:
    """Where each letter stands, from the left of the box."""
    return box.evaluate(
        """box => {
            const texts = document.createTreeWalker(box, NodeFilter.SHOW_TEXT);
            const places = [];
            while (texts.nextNode()) {
                for (let i = 0; i < texts.currentNode.length; i++) {
                    const range = document.createRange();
                    range.setStart(texts.currentNode, i);
                    range.setEnd(texts.currentNode, i + 1);
                    places.push(range.getBoundingClientRect().left - box.getBoundingClientRect().left);
                }
            }
            return places;
        }"""
    )


def test_what_is_typed_reads_from_the_right(open_page: Callable[..., Page], serve: Callable[..., str]) -> None:
    with gr.Blocks(analytics_enabled=False) as blocks:
        gr.Textbox(label="lines", lines=3)
        gr.Textbox(label="line")
    page = open_page(serve(blocks, theme=app.THEME, css=static("page.css")))

    for label in ("lines", "line"):
        style = page.get_by_label(label, exact=True).evaluate(
            "box => getComputedStyle(box).unicodeBidi + getComputedStyle(box).textAlign"
        )
        assert style == "plaintextstart"
