"""The retention map of one policy in Chromium: what it shows, how it is driven, what it tells Python."""

import json
import re
import struct
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise, product
from pathlib import Path

import gradio as gr
import numpy as np
import pytest
from playwright.sync_api import Page, expect

from core.trace import NEVER, Trace
from tests.browser import maps
from tests.browser.maps import (
    assert_nothing_sticks_out,
    contrasts_of_tokens,
    hear,
    heard,
    luminances,
    pixels,
    show,
)
from tests.traces import HOSTILE, random_trace, trace_of
from viz.maps.payload import Mark, Payload, View, payload
from viz.maps.retention_map import RetentionMap
from viz.maps.standalone import CSS, HTML, standalone_html

PER_LAYER = random_trace(seed=3, layers=5, groups=1, n=60, budget=10)
PER_HEAD = random_trace(seed=4, layers=3, groups=2, n=50, budget=10)
LAST = len(PER_LAYER) - 1
MARKS = (Mark(range(15, 28), "the needle"), Mark(range(45, 48), "<b>why?</b>", "question"))


def beginning(trace: Trace, n: int) -> Trace:
    """The trace as it was when only n tokens had been read."""
    evicted_at = np.where(trace.evicted_at < n, trace.evicted_at, NEVER)[:, :, :n]
    more = {
        name: getattr(trace, name)[:, :, :n]
        for name in ("importance_at_eviction", "runner_up_importance", "attention_received")
    }
    return replace(
        trace, tokens=trace.tokens[:n], prompt_length=min(n, 30), evicted_at=evicted_at, nll=trace.nll[:n], **more
    )


def part(position: int) -> Payload:
    """Of a trace in windows of 20 tokens, the one that holds this position."""
    start = position // 20 * 20
    return payload([PER_LAYER], View("long", window=range(start, start + 20)), marks=MARKS)


@pytest.fixture
def page(map_page: Callable[..., Page]) -> Page:
    page = map_page(payload([PER_LAYER], View("first")))
    at_step(page, LAST)
    return page


def at_step(page: Page, step: int, last: int = LAST) -> None:
    maps.at_step(page, step, last)


def choose_heads(page: Page) -> None:
    show(page, payload([PER_HEAD], View("heads")))
    at_step(page, len(PER_HEAD) - 1, len(PER_HEAD) - 1)


# The pure functions


@pytest.mark.parametrize(("seed", "groups"), [(0, 1), (1, 3), (2, 2)])
@pytest.mark.parametrize(("name", "predicate"), [("isKept", "kept"), ("isAttended", "attended")])
def test_predicates_equal_those_of_the_trace(
    functions: Page, seed: int, groups: int, name: str, predicate: str
) -> None:
    trace = random_trace(seed, layers=3, groups=groups, n=31, budget=7)

    ours = functions.evaluate(
        f"""payload => {{
            const trace = Traces.decode(payload).traces[0];
            const at = (step) => (end, cell) => Number(Traces.{name}(step, cell % trace.length, end));
            return trace.pieces.map((_, step) => Array.from(trace.evictedAt, at(step)).join(""));
        }}""",
        payload([trace]),
    )

    for step, flat in enumerate(ours):
        np.testing.assert_array_equal(np.array(list(flat)) == "1", getattr(trace, predicate)(step).ravel())


def test_tokens_are_counted_by_the_deciders_that_keep_them(functions: Page) -> None:
    steps = [0, 33, 12, 49, 48, 12]

    counts = functions.evaluate(
        """([payload, steps]) => {
            const trace = Traces.decode(payload).traces[0];
            const counts = Traces.noCounts(trace);
            return steps.map(step => {
                const { keepers, total } = Traces.moveCounts(trace, counts, step);
                return { keepers: Array.from(keepers), total };
            });
        }""",
        [payload([PER_HEAD]), steps],
    )

    for step, count in zip(steps, counts, strict=True):
        assert count["keepers"] == PER_HEAD.kept(step).sum(axis=(0, 1)).tolist()
        assert count["total"] == PER_HEAD.kept(step).sum()


@pytest.mark.parametrize("start", [0, 20])
def test_rows_held_are_counted_with_those_from_before_the_window(functions: Page, start: int) -> None:
    held = functions.evaluate(
        """([payload, steps]) => {
            const trace = Traces.decode(payload).traces[0];
            const of = (per) => (step) =>
                Array.from({ length: trace.rows / per }, (_, row) => Traces.heldIn(trace, step, row, per));
            return steps.map((step) => [of(1)(step), of(trace.groups)(step)]);
        }""",
        [payload([PER_HEAD], View(window=range(start, 50))), [0, 13, 29]],
    )

    for step, (each, by_layer) in zip([0, 13, 29], held, strict=True):
        expected = PER_HEAD.kept(start + step).sum(axis=2)
        assert each == expected.ravel().tolist()
        assert by_layer == expected.mean(axis=1).tolist()


def test_a_map_whose_rows_hold_unequally_many_says_how_many(open_page: Callable[..., Page], tmp_path: Path) -> None:
    evicted_at = PER_LAYER.evicted_at.copy()
    evicted_at[2, 0, evicted_at[2, 0] == NEVER] = LAST
    file = tmp_path / "map.html"
    file.write_text(standalone_html([replace(PER_LAYER, evicted_at=evicted_at, budgets="pyramid")]), encoding="utf-8")

    page = open_page(file.as_uri())
    at_step(page, LAST)
    with page.expect_download() as download:
        page.get_by_role("button", name="SVG").click()

    svg = ET.parse(download.value.path()).getroot()
    texts = [element.text for element in svg.iter("{http://www.w3.org/2000/svg}text")]
    named = texts.index("rows")
    assert texts[named - 3 : named] == ["10", "0", "10"]  # beside the layers 0, 2 and 4, which have names


def test_pieces_arrive_whole(functions: Page) -> None:
    pieces = functions.evaluate("payload => Traces.decode(payload).traces[0].pieces", payload([PER_LAYER]))

    assert tuple(pieces) == PER_LAYER.tokens.pieces


def test_only_nobody_is_none_and_only_everybody_is_all(functions: Page) -> None:
    levels = functions.evaluate("[0, 1, 999, 1000].map(count => Colours.level(count, 1000))")

    assert levels == [0, 1, 15, 16]


PALETTE = {"kept": [0, 97, 143], "fresh": [232, 115, 12], "evicted": [220, 221, 224], "paper": [255, 255, 255]}


def rasterised(page: Page, trace: Trace, step: int, width: int, height: int) -> np.ndarray:
    span = {"row0": 0, "row1": trace.evicted_at.shape[0] * trace.evicted_at.shape[1], "column0": 0}
    colours = page.evaluate(
        """([payload, step, span, width, height, palette]) => {
            const trace = Traces.decode(payload).traces[0];
            return Array.from(Pixels.rasterise(trace, step, span, width, height, palette));
        }""",
        [payload([trace]), step, span | {"column1": len(trace)}, width, height, PALETTE],
    )
    return np.array(colours, np.uint32).view(np.uint8).reshape(height, width, 4)[..., :3].astype(int)


def test_a_cell_has_the_colour_of_its_state(functions: Page) -> None:
    ends = [NEVER, 9, 8, 2, 1, 20]
    trace = trace_of([[ends + [NEVER] * 14]], ("x",) * 20)

    row = rasterised(functions, trace, 8, 20, 1)[0]

    halfway = [round(e + (f - e) * (1 - 6 / 12)) for e, f in zip(PALETTE["evicted"], PALETTE["fresh"], strict=True)]
    assert row[0].tolist() == row[1].tolist() == PALETTE["kept"]
    assert row[2].tolist() == PALETTE["fresh"]
    assert np.abs(row[3] - halfway).max() <= 1
    assert row[8].tolist() == PALETTE["kept"]
    assert row[9].tolist() == PALETTE["paper"]
    late = rasterised(functions, trace, 19, 20, 1)[0]
    assert late[4].tolist() == PALETTE["evicted"]


def test_a_pixel_of_several_cells_is_their_mean(functions: Page) -> None:
    trace = random_trace(seed=5, layers=4, groups=3, n=40, budget=6)
    cells = rasterised(functions, trace, 31, 40, 12)

    fewer = rasterised(functions, trace, 31, 10, 4)

    mean = cells.reshape(4, 3, 10, 4, 3).mean(axis=(1, 3))
    assert np.abs(fewer - mean).max() <= 8  # of 255: tints are counted in 64 × 16 shades


def test_pixels_carried_from_step_to_step_are_those_drawn_anew(functions: Page) -> None:
    steps = [30, 31, 32, 31, 20, 12, 13, 39, 38, 0, 3]

    same = functions.evaluate(
        """([payload, palette, steps]) => {
            const trace = Traces.decode(payload).traces[0];
            const span = { row0: 1, row1: 12, column0: 3, column1: 38 };
            const memo = {};
            const at = (step, memo) => Pixels.rasterise(trace, step, span, 11, 4, palette, memo).join();
            return steps.map(step => at(step, memo) === at(step));
        }""",
        [payload([random_trace(seed=6, layers=4, groups=3, n=40, budget=6)]), PALETTE, steps],
    )

    assert same == [True] * len(steps)


# Driving it


def test_it_says_that_it_waits_and_a_run_without_a_key_leaves_the_address_alone(
    open_page: Callable[..., Page], serve: Callable[..., str]
) -> None:
    with gr.Blocks(analytics_enabled=False) as blocks:
        retention_map = RetentionMap()
        gr.Button("fill").click(lambda: payload([PER_LAYER], View("first")), outputs=retention_map)

    page = open_page(serve(blocks))

    expect(page.get_by_text("Loading the example…")).to_be_visible()
    expect(page.locator(".rm-list canvas")).to_be_hidden()
    before = page.url
    page.get_by_role("button", name="fill").click()
    at_step(page, LAST)
    page.locator(".rm-list canvas").focus()
    page.keyboard.press("ArrowLeft")
    at_step(page, LAST - 1)
    page.wait_for_timeout(600)  # the address would be written late
    assert page.url == before


def test_gradio_hears_of_clicks_and_answers_with_another_window_and_the_address_carries_the_step(
    open_page: Callable[..., Page], serve: Callable[..., str]
) -> None:
    def other_part(event: gr.EventData) -> Payload:
        return part(event.position)

    with gr.Blocks(analytics_enabled=False) as blocks:
        retention_map, text = RetentionMap(), gr.Textbox(label="heard")
        for event in (retention_map.cell, retention_map.token, retention_map.row):
            event(hear, outputs=text)
        retention_map.window(other_part, outputs=retention_map)
        blocks.load(lambda: payload([PER_LAYER], View("first", key="")), outputs=retention_map)
        gr.Button("long").click(lambda: part(0), outputs=retention_map)
    address = serve(blocks)

    at_step(open_page(f"{address}?step=1000"), LAST)
    at_step(open_page(f"{address}?step=nonsense"), LAST)
    page = open_page(f"{address}?lesson=2&step=31")
    at_step(page, 31)
    page.get_by_role("button", name="Next step").click()
    page.wait_for_url("**/?lesson=2&step=32*")
    assert "lesson=2" in page.url

    page.locator(".rm-t").nth(0).click()
    heard(page, {"policy": 0, "position": 0, "step": 32})
    page.locator(".rm-list canvas").focus()
    page.keyboard.press("Control+ArrowDown")
    page.keyboard.press("Enter")
    heard(page, {"policy": 0, "layer": 1, "group": 0, "position": 0, "step": 32})
    page.keyboard.press("r")
    heard(page, {"policy": 0, "layer": 1, "group": 0, "step": 32})

    page.get_by_role("button", name="long").click()
    expect(page.locator(".rm-window p")).to_have_text("tokens 0–19 of 60")
    page.get_by_role("button", name="later").click()
    expect(page.locator(".rm-window p")).to_have_text("tokens 20–39 of 60")
    page.locator(".rm-list canvas").focus()
    page.keyboard.press("Shift+ArrowRight")
    at_step(page, 30, 39)
    page.wait_for_url("**step=30*")


def test_keys_change_the_step_everywhere_and_ask_the_server_nothing(page: Page) -> None:
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    seen = {pixels(page)}
    page.locator(".rm-list canvas").focus()

    for key, step in [
        ("Home", 0),
        ("Shift+ArrowRight", 10),
        ("Shift+ArrowRight", 20),
        ("ArrowRight", 21),
        ("ArrowLeft", 20),
        ("Shift+ArrowLeft", 10),
        ("End", LAST),
        ("ArrowLeft", LAST - 1),
    ]:
        page.keyboard.press(key)
        at_step(page, step)
        expect(page.locator(".rm-slider input")).to_have_value(str(step))
        seen.add(pixels(page))

    kept = int(PER_LAYER.kept(LAST - 1).sum())
    expect(page.locator(".rm-alternative")).to_have_text(
        re.compile(rf"^Step {LAST - 1} of {LAST}, token .*\. 5 layers\. {kept} rows kept of {5 * LAST} read")
    )
    expect(page.locator(".rm-alternative")).to_have_text(re.compile("; 5 evicted at this step.$"))
    assert len(seen) == 6  # the steps 59, 0, 10, 20, 21 and 58
    assert requests == []


def test_slider_and_buttons_change_the_step(page: Page) -> None:
    page.get_by_label("Step", exact=True).fill("17")
    at_step(page, 17)
    page.get_by_role("button", name="Next step").click()
    at_step(page, 18)
    page.get_by_role("button", name="Previous step").click()
    at_step(page, 17)
    page.get_by_role("button", name="First step").click()
    at_step(page, 0)
    page.get_by_role("button", name="Last step").click()
    at_step(page, LAST)


def test_space_plays_from_the_beginning_to_the_end(page: Page) -> None:
    page.get_by_label("Steps per second").select_option("60")
    page.locator(".rm-list canvas").focus()
    page.keyboard.press(" ")
    expect(page.get_by_role("button", name="Pause")).to_be_visible()
    expect(page.get_by_role("button", name="Play")).to_be_visible(timeout=10_000)
    at_step(page, LAST)


def test_the_text_stands_as_it_was_written(page: Page) -> None:
    assert page.locator(".rm-text").evaluate("box => box.textContent") == "".join(PER_LAYER.tokens.pieces)
    assert page.locator(".rm-t").count() == len(PER_LAYER)
    assert page.locator(".rm-text img, .rm-text b").count() == 0
    assert "owned" not in page.title()


def test_tokens_are_tinted_by_the_share_of_deciders_that_keep_them(page: Page) -> None:
    page.get_by_label("Step", exact=True).fill("40")
    at_step(page, 40)

    looks = page.locator(".rm-t").evaluate_all("spans => spans.map(span => span.dataset.kept)")

    counts = PER_LAYER.kept(40).sum(axis=(0, 1))
    for position, (look, count) in enumerate(zip(looks, counts, strict=True)):
        assert look == ("unread" if position > 40 else str(round(16 * int(count) / 5))), position
    expect(page.locator(".rm-t").nth(40)).to_have_class(re.compile("rm-current"))


def test_clicks_are_told(page: Page) -> None:
    choose_heads(page)
    page.get_by_label("Step", exact=True).fill("30")
    box = page.locator(".rm-list canvas").bounding_box()
    assert box is not None

    page.locator(".rm-t").nth(0).click()
    heard(page, {"policy": 0, "position": 0, "step": 30})

    # What the crosshair says it is on is what a click must send.
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    words = page.locator(".rm-readout").inner_text()
    found = re.match(r"Layer (\d+), KV head (\d+) · token (\d+) ", words)
    assert found, words
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    layer, group, position = map(int, found.groups())
    heard(page, {"policy": 0, "layer": layer, "group": group, "position": position, "step": 30})

    page.mouse.click(box["x"] + 30, box["y"] + box["height"] / 2)
    heard(page, {"policy": 0, "layer": layer, "group": group, "step": 30})


def test_the_keyboard_reaches_every_cell_token_and_row(page: Page) -> None:
    choose_heads(page)
    page.locator(".rm-list canvas").focus()
    page.keyboard.press("Home")
    for key in ["Control+ArrowRight"] * 4 + ["Control+ArrowDown"] * 3:
        page.keyboard.press(key)
    expect(page.locator(".rm-readout")).to_have_text(re.compile(r"^Layer 1, KV head 1 · token 3 .* · not read yet$"))

    page.keyboard.press("Enter")
    heard(page, {"policy": 0, "layer": 1, "group": 1, "position": 3, "step": 0})
    page.keyboard.press("t")
    heard(page, {"policy": 0, "position": 3, "step": 0})
    page.keyboard.press("r")
    heard(page, {"policy": 0, "layer": 1, "group": 1, "step": 0})
    page.locator(".rm-text").focus()
    page.keyboard.press("Control+ArrowRight")
    page.keyboard.press("Enter")
    heard(page, {"policy": 0, "position": 4, "step": 0})


def test_the_crosshair_tells_the_history_of_every_cell(functions: Page) -> None:
    stories = functions.evaluate(
        """payload => {
            const trace = Traces.decode(payload).traces[0];
            return trace.pieces.map((_, position) => trace.pieces.map((_, step) =>
                Sentences.cellStory(trace, step, 1, 1, position)));
        }""",
        payload([PER_HEAD]),
    )

    for position, step in product(range(len(PER_HEAD)), repeat=2):
        story, end = stories[position][step], int(PER_HEAD.evicted_at[1, 1, position])
        assert story.startswith(f"Layer 1, KV head 1 · token {position} ")
        assert ("not read yet" in story) == (step < position)
        if step >= position:
            kept = bool(PER_HEAD.kept(step)[1, 1, position])
            assert ("kept to the end" in story) == (end == NEVER)
            assert ("kept now" in story) == (kept and end != NEVER)
            assert ("just evicted" in story) == (end <= step < end + 12)
            assert ("seen for the last time" in story) == (step == end)
            assert (f"at step {end}" in story) == (end != NEVER)


def test_zoom_pan_and_back(page: Page) -> None:
    box = page.locator(".rm-list canvas").bounding_box()
    assert box is not None
    whole = pixels(page)
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 3)
    page.mouse.wheel(0, -400)
    page.mouse.move(0, 0)
    zoomed = pixels(page)
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 3)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2 - 150, box["y"] + box["height"] / 3, steps=4)
    page.mouse.up()
    page.mouse.move(0, 0)
    panned = pixels(page)
    page.locator(".rm-list canvas").focus()
    page.keyboard.press("0")

    assert len({whole, zoomed, panned}) == 3
    assert pixels(page) == whole
    page.keyboard.press("+")
    assert pixels(page) != whole
    page.keyboard.press("-")
    assert pixels(page) == whole
    expect(page.get_by_label("heard")).to_have_value("")  # a drag is no click


def test_two_fingers_zoom(map_page: Callable[..., Page]) -> None:
    page = map_page(payload([PER_LAYER]), viewport={"width": 390, "height": 844}, has_touch=True)
    at_step(page, LAST)
    whole = pixels(page)
    page.locator(".rm-list canvas").scroll_into_view_if_needed()
    box = page.locator(".rm-list canvas").bounding_box()
    assert box is not None
    touch = page.context.new_cdp_session(page)

    def fingers(kind: str, apart: int) -> None:
        at = [(box["x"] + 190 + side * apart, box["y"] + 90) for side in (-1, 1)]
        points = [] if kind == "touchEnd" else [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(at)]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    fingers("touchStart", 30)
    for apart in (40, 60, 90, 120):
        fingers("touchMove", apart)
    fingers("touchEnd", 0)

    assert pixels(page) != whole
    expect(page.get_by_label("heard")).to_have_value("")
    page.get_by_role("button", name="All").tap()
    page.locator(".rm-name").first.tap()
    assert pixels(page) == whole


def test_rows_collapse_to_one_per_layer(page: Page) -> None:
    expect(page.get_by_label("one row per layer")).to_be_hidden()
    choose_heads(page)
    heads = pixels(page)
    page.get_by_label("one row per layer").check()
    assert pixels(page) != heads
    page.locator(".rm-list canvas").focus()
    page.keyboard.press("Control+ArrowRight")
    count = int(PER_HEAD.kept(len(PER_HEAD) - 1)[0, :, -1].sum())
    expect(page.locator(".rm-readout")).to_have_text(re.compile(f"^Layer 0 · .*kept by {count} of 2 KV heads$"))
    page.get_by_label("one row per layer").uncheck()
    page.mouse.move(0, 0)
    assert pixels(page) == heads


def test_a_growing_run_follows_the_end_unless_the_step_was_moved(page: Page) -> None:
    def grow(n: int) -> None:
        show(page, payload([beginning(PER_LAYER, n)], View("growing", total=60)))

    first = page.locator(".rm-t").first.element_handle()
    grow(20)
    at_step(page, 19, 19)
    assert not first.evaluate("span => span.isConnected")
    first = page.locator(".rm-t").first.element_handle()
    grow(40)
    at_step(page, 39, 39)
    page.locator(".rm-list canvas").focus()
    page.keyboard.press("Home")
    at_step(page, 0, 39)
    grow(60)
    at_step(page, 0, LAST)
    assert first.evaluate("span => span.isConnected")  # grown, not made anew
    assert page.locator(".rm-generated").count() == 60 - 30
    choose_heads(page)


def test_marked_passages_are_named_everywhere(page: Page) -> None:
    page.get_by_label("Step", exact=True).fill("40")
    plain = pixels(page)
    show(page, payload([PER_LAYER], View("first"), marks=MARKS))
    kept = PER_LAYER.kept(40)[:, :, 15:28]
    says = f"the needle: {round(100 * kept.mean())}\u00a0% kept"
    expect(page.locator(".rm-marks span")).to_have_text([says, "<b>why?</b>: not read yet"])
    assert pixels(page) != plain
    at_step(page, 40)
    expect(page.locator(".rm-alternative")).to_contain_text(f"at this step. T{says[1:]}. <b>why?</b>: not read yet.")
    classes = page.locator(".rm-t").evaluate_all("spans => spans.map(span => span.className)")
    assert [i for i, names in enumerate(classes) if "rm-marked-evidence" in names] == [*range(15, 28)]
    assert [i for i, names in enumerate(classes) if "rm-marked-question" in names] == [*range(45, 48)]
    page.locator(".rm-t").nth(20).hover()
    expect(page.locator(".rm-readout")).to_have_text(re.compile(r"^Token 20 .* \(the needle\) · kept by"))


def test_almost_forgotten_is_not_forgotten(functions: Page) -> None:
    ends = np.full((1, 1, 300), 299)
    ends[0, 0, 7] = NEVER
    marks = [Mark(range(300), "all"), Mark(range(8, 300), "rest"), Mark(range(299, 300), "last")]
    sent = payload([trace_of(ends, ("x",) * 300)], marks=marks)

    words = functions.evaluate(
        """payload => {
            const trace = Traces.decode(payload).traces[0];
            const counts = Traces.moveCounts(trace, Traces.noCounts(trace), 299);
            return trace.marks.map(mark => Sentences.markStory(trace, mark, 299, counts));
        }""",
        sent,
    )

    assert words == ["all: 1\u00a0% kept", "rest: 0\u00a0% kept", "last: 0\u00a0% kept"]


def turn(page: Page, where: str, position: int) -> None:
    """To an earlier or later window, as Python gives it."""
    page.get_by_role("button", name=where).click()
    heard(page, {"position": position, "run": "long"})
    show(page, part(position))


def test_a_long_text_is_shown_by_windows(page: Page) -> None:
    assert page.locator(".rm-window").is_hidden()
    show(page, part(0))
    shown = page.locator(".rm-window p")
    expect(shown).to_have_text("tokens 0–19 of 60")
    at_step(page, 19, 19)
    assert page.get_by_role("button", name="earlier").is_disabled()
    turn(page, "later", 20)
    expect(shown).to_have_text("tokens 20–39 of 60")
    at_step(page, 20, 39)  # the time goes on
    page.locator(".rm-list canvas").focus()
    page.keyboard.press("Shift+ArrowRight")
    at_step(page, 30, 39)

    kept, older = PER_LAYER.kept(30), PER_LAYER.kept(30)[:, :, :20]
    assert 0 < older.sum() < PER_LAYER.kept(19).sum()
    expect(page.locator(".rm-alternative")).to_have_text(
        re.compile(
            rf"^Step 30 of 39, .* {kept.sum()} rows kept of 155 read \(32\u00a0%\), {older.sum()} of them from before "
            rf"token 20; 5 evicted at this step\. The needle: {round(100 * kept[:, :, 15:28].mean())}\u00a0% kept\."
        )
    )
    box = page.locator(".rm-list canvas").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 60, box["y"] + box["height"] / 2)
    words = page.locator(".rm-readout").inner_text()
    layer = int(re.match(r"Layer (\d) ", words)[1])
    held = int(older[layer].sum())
    assert words == f"Layer {layer} · holds {held} rows from before token 20 · click to see its whole life"
    page.locator(".rm-t").nth(3).click()
    heard(page, {"policy": 0, "position": 23, "step": 30})

    turn(page, "later", 40)
    expect(shown).to_have_text("tokens 40–59 of 60")
    assert page.get_by_role("button", name="later").is_disabled()
    turn(page, "earlier", 39)
    at_step(page, 39, 39)


def test_a_window_tells_how_a_token_ended_only_as_far_as_it_goes(functions: Page) -> None:
    story = """([payload, position]) => Sentences.cellStory(Traces.decode(payload).traces[0], 12, 0, 0, position)"""
    trace = trace_of([[[NEVER] * 20 + [NEVER, 33, 45, 30] + [NEVER] * 36]], ("x",) * 60)

    told = [
        functions.evaluate(story, [payload([trace], View(window=range(20, 40))), position]) for position in range(4)
    ]

    assert [words.split(" · ", 2)[1:] for words in told] == [
        ["token 20 “x”", "kept to the end of this window"],
        ["token 21 “x”", "kept now · will be evicted after 12 steps, at step 33, reading “x”"],
        ["token 22 “x”", "kept to the end of this window"],
        ["token 23 “x”", "just evicted after 7 steps, at step 30, reading “x”"],
    ]
    last = functions.evaluate(story, [payload([trace], View(window=range(40, 60))), 0])
    assert last.endswith("token 40 “x” · kept to the end")


def test_the_column_of_older_rows_darkens_with_their_number(functions: Page) -> None:
    sent = payload([PER_HEAD], View(window=range(20, 50)))

    counts = functions.evaluate(
        """payload => {
            const trace = Traces.decode(payload).traces[0];
            return trace.pieces.map((_, step) =>
                [1, 2].map(per => Array.from({ length: 6 / per }, (_, row) => Traces.olderIn(trace, step, row, per))));
        }""",
        sent,
    )

    for step, (heads, layers) in enumerate(counts, start=20):
        older = PER_HEAD.kept(step)[:, :, :20].sum(axis=2)
        assert heads == older.ravel().tolist()
        assert layers == older.mean(axis=1).tolist()


# How it looks


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_marks_texts_and_states_have_contrast(map_page: Callable[..., Page], theme: str) -> None:
    page = map_page(payload([PER_LAYER]), theme=theme)
    at_step(page, LAST)

    evidence, question, paper = luminances(page, ["evidence", "question", "paper"])
    for colour in (evidence, question):
        assert (max(colour, paper) + 0.05) / (min(colour, paper) + 0.05) >= 4.5
    greys = sorted(luminances(page, ["kept", "fresh", "evicted", "paper"]))
    assert all((b + 0.05) / (a + 0.05) > 1.25 for a, b in pairwise(greys)), greys
    looks = ["unread", *(str(level) for level in range(17))]
    assert min(contrasts_of_tokens(page, looks)) >= 4.5


def test_the_canvas_follows_the_theme(page: Page) -> None:
    light = pixels(page)
    page.evaluate("document.body.classList.add('dark')")
    assert pixels(page) != light
    page.evaluate("document.body.classList.remove('dark')")
    assert pixels(page) == light


@pytest.mark.parametrize("width", [390, 820, 1280])
def test_nothing_sticks_out_of_the_page(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 844})
    choose_heads(page)
    page.get_by_role("button", name="Help").click()

    assert_nothing_sticks_out(page, width)


# What leaves the page


def test_a_picture_is_saved_as_png(page: Page) -> None:
    with page.expect_download() as download:
        page.get_by_role("button", name="PNG").click()

    picture = Path(download.value.path()).read_bytes()
    assert download.value.suggested_filename == f"tova-10-step-{LAST}.png"
    assert picture.startswith(b"\x89PNG")
    assert struct.unpack(">II", picture[16:24])[0] > 1500


def test_a_picture_is_saved_as_svg_in_which_tokens_are_text(page: Page) -> None:
    step = PER_LAYER.tokens.pieces.index(HOSTILE[0])
    page.get_by_label("Step", exact=True).fill(str(step))
    at_step(page, step)

    with page.expect_download() as download:
        page.get_by_role("button", name="SVG").click()

    svg = ET.parse(download.value.path()).getroot()
    names = {element.tag.split("}")[1] for element in svg.iter()}
    assert names <= {"svg", "clipPath", "rect", "g", "line", "polygon", "text"}
    texts = [element.text or "" for element in svg.iter("{http://www.w3.org/2000/svg}text")]
    assert texts[0] == f"TOVA, budget 10 · by hand · step {step} of {LAST}, token “{HOSTILE[0]}”"


def test_a_saved_picture_shows_the_older_rows_and_the_marks_of_the_window(page: Page) -> None:
    for position in (0, 20, 40):
        show(page, part(position))
    at_step(page, 40, 59)
    with page.expect_download() as download:
        page.get_by_role("button", name="SVG").click()

    assert download.value.suggested_filename == "tova-10-step-40.svg"
    svg = ET.parse(download.value.path()).getroot()
    texts = [element.text or "" for element in svg.iter("{http://www.w3.org/2000/svg}text")]
    assert texts[0].startswith("TOVA, budget 10 · by hand · step 40 of 59, token “")
    assert page.locator(".rm-marks span").first.inner_text() in texts
    assert {"older", "<b>why?</b>", "<b>why?</b>: not read yet"} <= set(texts)
    assert "the needle" not in texts  # it lies before the window: only in the legend
    assert sum(1 for _ in svg.iter("{http://www.w3.org/2000/svg}polyline")) == 1 + 2


def test_positions_that_are_not_the_original_ones_are_named(functions: Page) -> None:
    name = "payload => Sentences.policyName(Traces.decode(payload).traces[0])"

    names = [functions.evaluate(name, payload([replace(PER_LAYER, positions=p)])) for p in ("original", "in-cache")]

    assert names == ["TOVA, budget 10", "TOVA, budget 10, in-cache positions"]


def test_the_file_of_its_own_opens_from_disk_without_a_network(open_page: Callable[..., Page], tmp_path: Path) -> None:
    file = tmp_path / "map.html"
    file.write_text(standalone_html([PER_HEAD]), encoding="utf-8")

    page = open_page(file.as_uri(), offline=True)

    at_step(page, len(PER_HEAD) - 1, len(PER_HEAD) - 1)
    before = pixels(page)
    page.locator(".rm-list canvas").focus()
    page.keyboard.press("Shift+ArrowLeft")
    at_step(page, len(PER_HEAD) - 11, len(PER_HEAD) - 1)
    assert pixels(page) != before
    assert page.locator(".rm-text").evaluate("box => box.textContent") == "".join(PER_HEAD.tokens.pieces)
    assert "owned" not in page.title()
    page.wait_for_timeout(500)  # the address is written late, and files may not have one


def test_the_file_of_its_own_is_dark_where_the_reader_prefers_it(
    open_page: Callable[..., Page], tmp_path: Path
) -> None:
    file = tmp_path / "map.html"
    file.write_text(standalone_html([PER_HEAD]), encoding="utf-8")

    page = open_page(file.as_uri(), color_scheme="dark")

    at_step(page, len(PER_HEAD) - 1, len(PER_HEAD) - 1)
    paper = page.locator(".rm-frame").evaluate("box => getComputedStyle(box).backgroundColor")
    assert paper == "rgb(15, 15, 17)"


def test_hostile_tokens_cannot_end_the_script_that_carries_them() -> None:
    pieces = (*HOSTILE, "<!--", "</ScRiPt>")
    trace = trace_of(np.full((1, 1, len(pieces)), NEVER), pieces)

    html = standalone_html([trace])

    data = html.split('id="payload">')[1].split("</script>")[0]
    assert "<" not in data
    assert json.loads(data) == payload([trace])


@pytest.mark.parametrize("template", [HTML, CSS])
def test_gradio_finds_nothing_to_fill_into_the_templates(template: str) -> None:
    assert not re.search(r"`|\\|\$\{|\{\{", template)
