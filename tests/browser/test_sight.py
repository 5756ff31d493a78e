"""What a policy holds and the model's own sliding window hides, in Chromium: hatched, told, and as Python has it."""

import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import replace
from itertools import product

import gradio as gr
import numpy as np
import pytest
from playwright.sync_api import Page, expect

from core.policies import make_policy, settings_of
from core.trace import NEVER, Trace
from tests.traces import random_trace, trace_of
from viz.maps.payload import Payload, View, payload
from viz.maps.retention_map import RetentionMap
from viz.page.page import Page as OurPage

N = 40
SVG = "{http://www.w3.org/2000/svg}"


def sinks(windows: tuple[int, ...], n: int = N) -> Trace:
    """Two layers that hold the first four tokens and the newest eight, as Window+i with a budget of 12 does."""
    ends = [*[NEVER] * 4, *range(12, n), *[NEVER] * 8]
    policy = settings_of(make_policy("window+i", 12, n_sink=4))
    pieces = tuple(f" w{i}" for i in range(n))
    return trace_of([[ends], [ends]], pieces, policy=policy.key, budget=12, sliding_windows=windows)


@pytest.fixture(scope="module")
def address(serve: Callable[..., str]) -> str:
    with OurPage(analytics_enabled=False) as blocks:
        retention_map, comparison = RetentionMap(), RetentionMap()
        quiet = {"outputs": [retention_map, comparison], "show_progress": "hidden"}

        def both(*windows: int) -> tuple[Payload, Payload]:
            trace = sinks(windows)
            return payload([trace], View(str(windows))), payload([trace, trace], View(str(windows)))

        for name, windows in (("one layer", (0, 8)), ("none", (0, 0)), ("long", (64, 64))):
            gr.Button(name).click(lambda windows=windows: both(*windows), **quiet)
        blocks.load(lambda: both(8, 8), **quiet)
    return serve(blocks)


@pytest.fixture
def page(open_page: Callable[..., Page], address: str) -> Page:
    page = open_page(address)
    at_step_of_both(page)
    return page


def at_step_of_both(page: Page) -> None:
    expect(page.locator(".rm-number")).to_have_text([f"{N - 1} / {N - 1}"] * 2)


def test_what_is_out_of_sight_is_so_in_python_and_in_the_browser(functions: Page) -> None:
    for positions, groups in product(("original", "in-cache", "log-gap"), (1, 2)):
        trace = random_trace(seed=7, layers=3, groups=groups, n=N, budget=9)
        trace = replace(trace, sliding_windows=(0, 5, 12), positions=positions)
        ours = functions.evaluate(
            """payload => {
                const trace = Traces.decode(payload).traces[0];
                return trace.pieces.map((_, step) => {
                    const hidden = Array.from({ length: trace.rows }, (_, row) => Sight.hiddenBefore(trace, step, row));
                    const { of, total } = Sight.unseen(trace, step);
                    return { hidden, of: Array.from(of), total };
                });
            }""",
            payload([trace]),
        )

        assert max(step["total"] for step in ours) > 0
        for step, told in enumerate(ours):
            attended, seen, kept = trace.attended(step), trace.in_sight(step), trace.kept(step)
            hidden = np.array(told["hidden"]).reshape(3, groups, 1)
            np.testing.assert_array_equal(attended & (np.arange(N) >= hidden), seen)
            assert told["of"] == (kept & ~seen).sum(axis=(0, 1)).tolist()
            assert told["total"] == (kept & ~seen).sum()


def test_rows_of_before_a_part_of_a_long_text_count_too(functions: Page) -> None:
    trace = replace(random_trace(seed=8, layers=2, groups=2, n=60, budget=20), sliding_windows=(7, 25))
    total = "([payload, step]) => Sight.unseenTotal(Traces.decode(payload).traces[0], step)"

    for step in range(20, 40):
        expected = int((trace.kept(step) & ~trace.in_sight(step)).sum())
        assert functions.evaluate(total, [payload([trace], View(window=range(20, 40))), step - 20]) == expected
    in_cache = replace(trace, positions="in-cache")
    assert functions.evaluate(total, [payload([in_cache], View(window=range(20, 40))), 3]) is None


CELLS = """([payload, step, palette]) => {
    const trace = Traces.decode(payload).traces[0];
    const view = { x0: 0, x1: trace.length, y0: 0, y1: trace.rows };
    const size = { cssWidth: 1000, cssHeight: 300, ratio: 1 };
    const scene = Scenes.makeScene(trace, { step, view, collapsed: false, palette, ...size });
    const context = Elements.fitted(document.createElement("canvas"), scene);
    Painter.drawScene(context, scene, Painter.makeScratch(), null);
    const coloursOf = (row, column) => {
        const x = Math.round(Scenes.toX(scene, column + 0.5)), y = Math.round(Scenes.toY(scene, row + 0.5));
        const { data } = context.getImageData(x - 5, y - 5, 10, 10);
        return new Set(Array.from({ length: 100 }, (_, i) => data.slice(4 * i, 4 * i + 3).join()));
    };
    const all = Array.from({ length: trace.rows }, (_, row) => trace.pieces.map((_, at) => [...coloursOf(row, at)]));
    return all;
}"""
NAMES = ("kept", "fresh", "evicted", "paper", "ink", "faint", "line")
PALETTE = {name: [20 * i, 100, 255 - 30 * i] for i, name in enumerate(NAMES)} | {"font": "sans-serif"}


def test_cells_that_are_held_and_not_seen_are_hatched_and_no_others(functions: Page) -> None:
    kept, paper = (",".join(map(str, PALETTE[name])) for name in ("kept", "paper"))
    for step in (5, 10, 11, 39):
        cells = functions.evaluate(CELLS, [payload([sinks((0, 8))]), step, PALETTE])
        for row, column in np.ndindex(2, N):
            hatched = row == 1 and column < 4 and column <= step - 8
            assert (len(cells[row][column]) > 1) == hatched, (step, row, column)
            assert not hatched or {kept, paper} <= set(cells[row][column])


def test_the_legend_and_the_text_show_it_and_the_readout_tells_it(page: Page) -> None:
    expect(page.locator(".rm-key-unseen")).to_have_count(2)
    for key in page.locator(".rm-key-unseen").all():
        expect(key).to_be_visible()
    one, two = page.locator(".rm").all()
    unseen = one.locator(".rm-t").evaluate_all("all => all.map(t => t.classList.contains('rm-unseen'))")
    assert [position for position, told in enumerate(unseen) if told] == [0, 1, 2, 3]
    expect(two.locator(".rm-t.rm-unseen")).to_have_count(4)
    expect(page.locator(".rm-readout").first).to_contain_text("8 of them out of the model's sight; ")
    expect(page.locator(".rm-alternative").first).to_contain_text("8 of them out of the model's sight")
    expect(two.locator(".rm-list .rm-note").first).to_contain_text("12 rows per layer")
    expect(two.locator(".rm-list .rm-note").first).to_contain_text("4 of them out of the model's sight")

    page.locator(".rm-text").first.focus()
    page.keyboard.press("Home")
    page.keyboard.press("Control+ArrowRight")
    page.wait_for_timeout(400)  # what is told of a step comes late, and must not replace this
    expect(page.locator(".rm-alternative").first).to_have_text("Token 0 “ w0” · kept by 2 of 2 layers")
    page.keyboard.press("End")
    expect(page.locator(".rm-readout").first).to_have_text(
        "Token 0 “ w0” · kept by 2 of 2 layers, 2 of them out of the model's sight"
    )


def test_a_cell_that_is_not_seen_is_told_so_and_an_eviction_out_of_sight_was_not_seen(
    functions: Page,
) -> None:
    told = "([payload, step, at]) => Sentences.cellHistory(Traces.decode(payload).traces[0], step, 1, 0, at)"

    def story(windows: tuple[int, ...], step: int, position: int) -> str:
        return functions.evaluate(told, [payload([sinks(windows)]), step, position])

    hidden = " · out of the model's sight: this layer looks back at most 8 tokens"
    assert story((0, 8), 10, 3) == "kept to the end"
    assert story((0, 8), 11, 3) == "kept to the end" + hidden
    assert story((0, 8), 12, 4).startswith("just evicted after 8 steps")
    assert story((0, 9), 12, 4).startswith("seen for the last time, then just evicted after 8 steps")
    assert story((8, 0), 39, 3) == "kept to the end"


def test_where_a_layer_without_a_window_sees_a_token_the_text_does_not_say_that_it_is_out_of_sight(
    page: Page,
) -> None:
    page.get_by_role("button", name="one layer").click()
    expect(page.locator(".rm-t.rm-unseen")).to_have_count(0)
    expect(page.locator(".rm-key-unseen").first).to_be_visible()


@pytest.mark.parametrize("name", ["none", "long"])
def test_nothing_is_said_where_the_window_hides_nothing(page: Page, name: str) -> None:
    page.get_by_role("button", name=name).click()
    expect(page.locator(".rm-t.rm-unseen")).to_have_count(0)
    for key in page.locator(".rm-key-unseen").all():
        expect(key).to_be_hidden()
    expect(page.locator(".rm-readout").first).not_to_contain_text("sight")


def test_saved_pictures_show_it(page: Page) -> None:
    pictures = {}
    for name, button in (("one", 0), ("several", 1)):
        with page.expect_download() as download:
            page.get_by_role("button", name="SVG").nth(button).click()
        pictures[name] = ET.parse(download.value.path()).getroot()
    hatched = {
        name: [node for node in svg.iter(f"{SVG}rect") if node.get("fill") == "url(#hatch)"]
        for name, svg in pictures.items()
    }

    for svg in pictures.values():
        assert len(list(svg.iter(f"{SVG}pattern"))) == 1
        assert "held, but out of the model's sight" in {text.text for text in svg.iter(f"{SVG}text")}
    # a key, and the first four cells of each layer: in one map, in two, and not in their difference
    assert [len(hatched[name]) for name in ("one", "several")] == [1 + 2, 1 + 4]


def test_the_chinese_words(open_page: Callable[..., Page], address: str) -> None:
    page = open_page(address, locale="zh-CN")
    at_step_of_both(page)
    expect(page.locator(".rm-key-unseen").first).to_have_text("仍保留，但模型看不到")
    expect(page.locator(".rm-readout").first).to_contain_text("其中 8 个模型看不到")
