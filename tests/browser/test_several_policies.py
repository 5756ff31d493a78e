"""The retention map of several policies in Chromium: one step for all, their difference, what is told to Python."""

import re
import struct
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Locator, Page, expect

from core.policies import make_policy, settings_of
from core.trace import NEVER, Trace
from tests.browser import maps
from tests.browser.maps import (
    assert_nothing_sticks_out,
    colours_of,
    contrasts_of_tokens,
    heard,
    luminances,
    pixels,
    show,
)
from tests.traces import random_trace
from viz.maps.payload import Mark, Payload, View, payload
from viz.maps.standalone import standalone_html

N = 60
LAST = N - 1


def trace(seed: int, policy: str, groups: int = 1, budget: int = 10) -> Trace:
    run = random_trace(seed=seed, layers=5, groups=groups, n=N, budget=budget)
    return replace(run, policy=settings_of(make_policy(policy, budget)))


TOVA = trace(3, "tova")
WINDOW = replace(trace(4, "window"), tokens=TOVA.tokens)
HEADS = replace(trace(5, "h2o", groups=2), tokens=TOVA.tokens)
READ = (TOVA, WINDOW, HEADS)
COSTS = np.zeros((3, N), np.float32)
COSTS[:, 0] = np.nan
COSTS[:, 7], COSTS[1, 8], COSTS[1, 9] = 0.75, 40, -1.5


def written(run: Trace, differs_at: int, n: int = N) -> Trace:
    """The run as one that has gone on by itself after 20 tokens."""
    ids = run.tokens.ids + np.where(np.arange(N) >= differs_at, 1000, 0).astype(np.int32)
    pieces = tuple(piece if i < differs_at else f" own{i}" for i, piece in enumerate(TOVA.tokens.pieces))
    tokens = replace(TOVA.tokens, ids=ids, pieces=pieces)[:n]
    evicted_at = np.where(run.evicted_at < n, run.evicted_at, NEVER)[:, :, :n]
    return replace(run, tokens=tokens, evicted_at=evicted_at, prompt_length=20)


MARKS = (Mark(range(4, 12), "the needle"), Mark(range(15, 18), "<b>why?</b>", "question"))
WRITTEN = (written(TOVA, N), written(WINDOW, 25), written(HEADS, 30, n=50))


ENDED = (written(TOVA, N), written(WINDOW, 25), written(HEADS, 30, n=50), written(WINDOW, 45, n=35))


@pytest.fixture
def page(map_page: Callable[..., Page]) -> Page:
    page = map_page(read())
    at_step(page, LAST)
    return page


def read() -> Payload:
    """What all have read."""
    return payload(READ, View("read"), delta_nll=COSTS)


def show_written(page: Page) -> None:
    show(page, payload(WRITTEN, View("write")))
    expect(page.locator(".rm-text")).to_have_count(3)


def show_plain(page: Page) -> None:
    show(page, payload([WINDOW], View("plain"), notes=["<i>only</i> what is recent"]))


def at_step(page: Page, step: int) -> None:
    maps.at_step(page, step, LAST)


def go(page: Page, step: int) -> None:
    page.get_by_label("Step", exact=True).fill(str(step))
    at_step(page, step)


def canvas(page: Page, policy: int) -> Locator:
    return page.locator(".rm-list canvas").nth(policy)


def answer(page: Page) -> Locator:
    return page.locator(".rm-readout")


def note(page: Page, policy: int) -> Locator:
    return page.locator(".rm-list .rm-note").nth(policy)


def open_difference(page: Page) -> Locator:
    """The sentence about how much A and B have in common, once their map is shown."""
    page.get_by_role("button", name="Difference").click()
    words = page.locator(".rm-overlap")
    expect(words).to_be_visible()
    return words


# The pure functions


def shares(a: Trace, b: Trace, step: int) -> tuple[np.ndarray, np.ndarray]:
    kept = [run.kept(min(step, len(run) - 1)) for run in (a, b)]
    if a.evicted_at.shape[1] != b.evicted_at.shape[1]:
        kept = [one.mean(axis=1, keepdims=True) for one in kept]
    return tuple(one.reshape(-1, one.shape[-1]).astype(float) for one in kept)


@pytest.mark.parametrize("pair", [(0, 1), (2, 2), (0, 2), (2, 1)])
def test_overlap_is_that_of_the_kept_sets(functions: Page, pair: tuple[int, int]) -> None:
    steps = [0, 9, 10, 41, LAST]

    found = functions.evaluate(
        """([payload, [a, b], steps]) => {
            const { traces } = Traces.decode(payload);
            return steps.map(step => Differences.overlap(traces[a], traces[b], step));
        }""",
        [payload(READ), pair, steps],
    )

    for step, ours in zip(steps, found, strict=True):
        a, b = shares(READ[pair[0]], READ[pair[1]], step)
        assert ours["both"] == pytest.approx(np.minimum(a, b).sum(axis=1).mean())
        assert ours["onlyA"] == pytest.approx(np.maximum(0, a - b).sum(axis=1).mean())
        assert ours["onlyB"] == pytest.approx(np.maximum(0, b - a).sum(axis=1).mean())


PALETTE = {"kept": [0, 0, 200], "only-a": [200, 0, 0], "only-b": [0, 200, 0], "evicted": [100, 100, 100]}


@pytest.mark.parametrize(("pair", "rows"), [((0, 1), 5), ((2, 2), 10), ((0, 2), 5)])
def test_a_difference_is_coloured_by_who_keeps_the_token(functions: Page, pair: tuple[int, int], rows: int) -> None:
    step = 41

    flat = functions.evaluate(
        """([payload, [a, b], rows, step, palette]) => {
            const { traces, length } = Traces.decode(payload);
            const span = { row0: 0, row1: rows, column0: 0, column1: length };
            const of = [traces[a], traces[b], rows / 5, step, span, length, rows, palette];
            return Array.from(Differences.differencePixels(...of));
        }""",
        [payload(READ), pair, rows, step, PALETTE | {"paper": [255, 255, 255]}],
    )

    found = np.array(flat, np.uint32).view(np.uint8).reshape(rows, N, 4)[..., :3].astype(int)
    a, b = (one[..., None] for one in shares(READ[pair[0]], READ[pair[1]], step))
    kept, only_a, only_b, evicted = (np.array(colour) for colour in PALETTE.values())
    wanted = np.minimum(a, b) * kept + np.maximum(0, a - b) * only_a + np.maximum(0, b - a) * only_b
    wanted = wanted + (1 - np.maximum(a, b)) * evicted
    assert np.abs(found - wanted)[:, : step + 1].max() <= 1
    assert (found[:, step + 1 :] == 255).all()


def test_costs_are_clipped_at_three_nats(functions: Page) -> None:
    levels = functions.evaluate("[NaN, 0, 0.75, 3, 40, -1.5, -3, -40].map(Texts.costLevel)")

    assert levels == [0, 0, 2, 8, 8, -4, -8, -8]


# Driving it


def test_one_step_moves_all_maps_and_asks_the_server_nothing(page: Page) -> None:
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    open_difference(page)
    canvas(page, 0).focus()
    seen = [pixels(page)]

    for key, step in [("Home", 0), ("Shift+ArrowRight", 10), ("Shift+ArrowRight", 20), ("ArrowRight", 21)]:
        page.keyboard.press(key)
        at_step(page, step)
        seen.append(pixels(page))

    for of_one_canvas in zip(*seen, strict=True):
        assert len(set(of_one_canvas)) == len(seen)
    assert len(seen[0]) == 4
    assert page.locator(".rm-list .rm-note").all_inner_texts() == [
        "10 rows per layer (45\u00a0% of those read)",
        "10 rows per layer (45\u00a0% of those read)",
        "10 rows per KV head (45\u00a0% of those read)",
    ]
    expect(page.locator(".rm-alternative")).to_have_text(
        re.compile(r"^Step 21 of 59, token .*\. TOVA, budget 10: 10 rows per layer .*; Window, budget 10: .*; H2O")
    )
    expect(canvas(page, 1)).to_have_attribute(
        "aria-label", re.compile(r"^Retention map of Window, budget 10\. .* 50 rows kept of 110 read")
    )
    assert requests == []


def test_the_crosshair_is_on_all_maps_and_each_policy_says_what_it_did(page: Page) -> None:
    go(page, 40)
    plain = pixels(page)
    canvas(page, 0).focus()
    for key in ["Control+ArrowRight"] + ["Control+ArrowLeft"] * 28 + ["Control+ArrowDown"] * 2:
        page.keyboard.press(key)

    assert all(now != before for now, before in zip(pixels(page), plain, strict=True))
    ends = [int(run.evicted_at[2, 0, 12]) for run in (TOVA, WINDOW)]
    tova, window = ("kept to the end" if end == NEVER else f"at step {end}" for end in ends)
    count = int(HEADS.kept(40)[2, :, 12].sum())
    expect(answer(page)).to_have_text(
        re.compile(
            rf"^Layer 2 · token 12 .* · TOVA: .*{tova}.* · Window: .*{window}.* · H2O: kept by {count} of 2 KV heads$"
        )
    )
    expect(page.locator(".rm-alternative")).to_have_text(answer(page).inner_text())

    page.keyboard.press("Enter")
    heard(page, {"policy": 0, "layer": 2, "group": 0, "position": 12, "step": 40})
    canvas(page, 2).focus()
    page.keyboard.press("Control+ArrowDown")
    page.keyboard.press("Enter")
    heard(page, {"policy": 2, "layer": 2, "group": 1, "position": 12, "step": 40})
    page.keyboard.press("t")
    heard(page, {"policy": 2, "position": 12, "step": 40})
    page.keyboard.press("r")
    heard(page, {"policy": 2, "layer": 2, "group": 1, "step": 40})
    page.get_by_label("one row per layer").check()
    canvas(page, 2).focus()
    page.keyboard.press("Enter")
    heard(page, {"policy": 2, "position": 40, "step": 40})


def test_a_click_tells_the_cell_under_it(page: Page) -> None:
    go(page, 30)
    canvas(page, 1).scroll_into_view_if_needed()
    box = canvas(page, 1).bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 500, box["y"] + 30)
    words = answer(page).inner_text()
    found = re.match(r"Layer (\d+) · token (\d+) ", words)
    assert found, words
    page.mouse.click(box["x"] + 500, box["y"] + 30)
    layer, position = map(int, found.groups())
    heard(page, {"policy": 1, "layer": layer, "group": 0, "position": position, "step": 30})

    page.locator(".rm-of").select_option(label="H2O")
    page.locator(".rm-t").nth(0).click()
    heard(page, {"policy": 2, "position": 0, "step": 30})


def test_zoom_is_shared(page: Page) -> None:
    whole = pixels(page)
    canvas(page, 2).focus()
    page.keyboard.press("+")
    assert all(now != before for now, before in zip(pixels(page), whole, strict=True))
    canvas(page, 0).focus()
    page.keyboard.press("0")
    assert all(now == before for now, before in list(zip(pixels(page), whole, strict=True))[1:])


def test_the_text_is_coloured_by_what_a_chosen_policy_keeps(page: Page) -> None:
    go(page, 40)
    for policy, run in enumerate(READ):
        page.locator(".rm-of").select_option(str(policy))
        pixels(page)
        looks = page.locator(".rm-t").evaluate_all("spans => spans.map(span => span.dataset.kept)")
        shares = run.kept(40).mean(axis=(0, 1))
        for position, (look, share) in enumerate(zip(looks, shares, strict=True)):
            assert look == ("unread" if position > 40 else str(round(16 * share))), position


def test_the_text_is_coloured_by_where_forgetting_hurts(page: Page) -> None:
    expect(page.get_by_text("+3 or more")).to_be_hidden()
    page.locator(".rm-by").select_option("cost")
    page.locator(".rm-of").select_option("1")
    expect(page.get_by_text("+3 or more")).to_be_visible()
    expect(page.locator(".rm-t").nth(8)).to_have_attribute("data-kept", "cost8")

    looks = page.locator(".rm-t").evaluate_all("spans => spans.slice(0, 11).map(span => span.dataset.kept)")

    assert looks == ["cost0"] * 7 + ["cost2", "cost8", "cost-4", "cost0"]
    page.locator(".rm-text").focus()
    page.keyboard.press("Home")
    go(page, 40)
    page.locator(".rm-text").focus()
    for _ in range(33):
        page.keyboard.press("Control+ArrowLeft")
    expect(answer(page)).to_have_text(
        re.compile(
            "TOVA: .* \\+0.00\u00a0nats against the full model · Window: .* \\+40.00\u00a0nats against the full model"
        )
    )


def test_the_difference_is_of_the_two_that_are_chosen(page: Page) -> None:
    words = open_difference(page)
    first = pixels(page)
    a, b = shares(TOVA, WINDOW, LAST)
    both = np.minimum(a, b).sum(axis=1).mean()
    expect(words).to_contain_text(f"a layer keeps {both:.1f}".removesuffix(".0") + " tokens under both")

    page.locator(".rm-b").select_option("2")

    assert pixels(page)[:3] == first[:3]
    assert pixels(page)[3] != first[3]
    assert len(first) == 4
    expect(page.locator(".rm-key-b")).to_have_text(re.compile("H2O, budget 10"))
    page.locator(".rm-b").select_option("0")
    expect(words).to_contain_text("keeps 10 tokens under both, 0 only under A, 0 only under B: 100\u00a0%")


def test_writers_have_a_text_each_with_the_first_different_token_marked(page: Page) -> None:
    show_written(page)

    texts = page.locator(".rm-text").evaluate_all("boxes => boxes.map(box => box.textContent)")

    assert texts == ["".join(run.tokens.pieces) for run in WRITTEN]
    marked = page.locator(".rm-diverging")
    assert marked.all_inner_texts() == [" own25", " own30"]
    assert page.locator(".rm-generated").count() == 40 + 40 + 30
    expect(page.locator(".rm-texts .rm-note").nth(1)).to_have_text("differs from token 25 on: “ own25”")
    expect(open_difference(page)).to_contain_text("From token 25 on their texts differ.")
    expect(page.locator(".rm-tints")).to_be_hidden()
    page.locator(".rm-t").nth(2 * N + 31).click()
    heard(page, {"policy": 2, "position": 31, "step": LAST})
    page.locator(".rm-t").nth(55).hover()
    expect(answer(page)).to_contain_text("H2O: had ended before")


def test_a_window_of_written_texts_has_of_each_what_is_in_it(page: Page) -> None:
    show(page, payload(ENDED, View("ends", window=range(40, 60))))
    expect(page.locator(".rm-text")).to_have_count(4)
    texts = page.locator(".rm-text").evaluate_all("boxes => boxes.map(box => box.textContent)")
    assert texts == ["".join(run.tokens.pieces[40:60]) for run in ENDED]
    captions = page.locator(".rm-texts .rm-note").all_inner_texts()
    assert captions[1] == "differs from token 25 on"
    assert captions[3] == "the same, but ends at token 34"
    expect(note(page, 3)).to_contain_text("10 rows per layer (29\u00a0% of those read), 10 of them from before")
    page.locator(".rm-t").nth(3).hover()
    expect(answer(page)).to_have_text(re.compile("^Position 43 · TOVA: .* · Window, budget 10: had ended before$"))
    open_difference(page)
    page.locator(".rm-b").select_option("3")
    page.get_by_role("button", name="First step").click()
    expect(page.locator(".rm-number")).to_have_text("40 / 59")
    pixels(page)


def test_one_policy_has_no_difference_and_nothing_to_choose(page: Page) -> None:
    open_difference(page)
    show_plain(page)
    expect(page.locator(".rm-list canvas")).to_have_count(1)
    expect(page.locator(".rm-difference")).to_be_hidden()
    expect(page.get_by_role("button", name="Difference")).to_be_hidden()
    expect(page.locator(".rm-tints")).to_be_hidden()


def test_a_note_stands_beside_the_name_as_text(page: Page) -> None:
    show_plain(page)
    expect(note(page, 0)).to_have_text("<i>only</i> what is recent")
    expect(note(page, 0)).to_have_attribute("title", "<i>only</i> what is recent")


def show_marked(page: Page) -> None:
    show(page, payload(WRITTEN, View("marked"), marks=MARKS))
    expect(page.locator(".rm-marks span")).to_have_count(2)


def share(run: Trace, positions: range, step: int) -> str:
    kept = run.kept(min(step, len(run) - 1))[:, :, positions.start : positions.stop]
    return f"{round(100 * kept.mean())}\u00a0% kept"


def test_every_policy_says_how_much_of_a_marked_passage_it_keeps(page: Page) -> None:
    plain = pixels(page)
    show_marked(page)
    go(page, 16)
    for policy, run in enumerate(WRITTEN):
        rows = note(page, policy)
        expect(rows).to_contain_text(f" · the needle: {share(run, range(4, 12), 16)} · ")
        expect(rows).to_contain_text(f" · <b>why?</b>: {share(run, range(15, 17), 16)}")
    expect(page.locator(".rm-alternative")).to_contain_text(f"the needle: {share(WRITTEN[1], range(4, 12), 16)}")
    assert page.locator(".rm-t.rm-marked-evidence").count() == 3 * 8
    assert page.locator(".rm-t.rm-marked-question").count() == 3 * 3
    assert page.locator(".rm-marks span").all_inner_texts() == ["the needle", "<b>why?</b>"]
    assert all(now != before for now, before in zip(pixels(page), plain, strict=True))
    page.locator(".rm-t").nth(5).hover()
    expect(answer(page)).to_have_text(re.compile(r"^Token 5 .* \(the needle\) · TOVA: "))
    go(page, 14)
    expect(note(page, 0)).to_contain_text("<b>why?</b>: not read yet")


def test_a_window_of_a_long_text_counts_the_rows_from_before_it(page: Page) -> None:
    show(page, payload(READ, View("part", window=range(20, 40)), delta_nll=COSTS, marks=MARKS))
    expect(page.locator(".rm-window p")).to_have_text("tokens 20–39 of 60")
    expect(page.locator(".rm-number")).to_have_text("39 / 39")
    for policy, run in enumerate(READ):
        older = float(run.kept(39)[:, :, :20].sum(axis=2).mean())
        words = f"10 rows per .* \\(25\u00a0% of those read\\), {older:.1f} of them from before token 20 · the needle: "
        expect(note(page, policy)).to_have_text(re.compile(words.replace(".0 of", " of")))
        expect(note(page, policy)).to_contain_text(f"the needle: {share(run, range(4, 12), 39)}")
    page.locator(".rm-t").nth(5).click()
    heard(page, {"policy": 0, "position": 25, "step": 39})
    page.get_by_role("button", name="later").click()
    heard(page, {"position": 40, "run": "part"})


# What leaves the page


def test_all_maps_are_saved_in_one_picture(page: Page) -> None:
    show_marked(page)
    open_difference(page)
    go(page, 41)
    with page.expect_download() as download:
        page.get_by_role("button", name="PNG").click()

    picture = Path(download.value.path()).read_bytes()
    assert download.value.suggested_filename == "comparison-step-41.png"
    width, height = struct.unpack(">II", picture[16:24])
    assert width > 1500
    assert height > 2 * sum(box.bounding_box()["height"] for box in page.locator(".rm canvas").all())


def test_the_drawing_of_all_maps_says_what_it_shows(page: Page) -> None:
    show_marked(page)
    words = open_difference(page)
    go(page, 24)
    with page.expect_download() as download:
        page.get_by_role("button", name="SVG").click()

    svg = ET.parse(download.value.path()).getroot()
    texts = [element.text or "" for element in svg.iter("{http://www.w3.org/2000/svg}text")]
    assert texts[0].startswith("What each policy keeps · by hand · step 24 of 59, token “")
    for policy, run in enumerate(WRITTEN):
        assert str(run.policy) in texts
        assert note(page, policy).inner_text() in texts
    assert "Difference between A, TOVA, budget 10, and B, Window, budget 10" in texts
    assert words.inner_text() in texts
    assert {"kept", "kept by both", "only by B: Window, budget 10", "the needle", "<b>why?</b>"} <= set(texts)
    clips = [element.get("id") for element in svg.iter("{http://www.w3.org/2000/svg}clipPath")]
    assert len(set(clips)) == 4
    assert sum(1 for _ in svg.iter("{http://www.w3.org/2000/svg}polyline")) == 2 + 2 * 4


# How it looks


# Linear RGB as seen without the red, the green or the blue cones (Machado, Oliveira and Fernandes 2009).
BLINDNESS = {
    "none": np.eye(3),
    "protanopia": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
    "deuteranopia": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
    "tritanopia": [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]],
}


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_colours_of_the_difference_differ_for_everybody_and_text_has_contrast_on_every_cost(
    map_page: Callable[..., Page], theme: str
) -> None:
    page = map_page(read(), theme=theme)
    at_step(page, LAST)
    names = ["kept", "only-a", "only-b", "evicted", "paper"]
    linear = colours_of(page, names)

    greys = sorted(luminances(page, names))
    assert all((b + 0.05) / (a + 0.05) > 1.3 for a, b in pairwise(greys)), greys
    for name, matrix in BLINDNESS.items():
        seen = np.clip(linear @ np.transpose(matrix), 0, 1) ** (1 / 2.4)
        assert min(np.abs(a - b).max() for a, b in combinations(seen, 2)) > 0.1, name
    assert min(contrasts_of_tokens(page, [f"cost{at}" for at in range(-8, 9)])) >= 4.5


@pytest.mark.parametrize("width", [390, 1024, 1440])
@pytest.mark.parametrize("mode", ["read", "write"])
def test_nothing_sticks_out_of_the_page(page: Page, width: int, mode: str) -> None:
    page.set_viewport_size({"width": width, "height": 844})
    if mode == "write":
        show_written(page)
    open_difference(page)
    page.get_by_role("button", name="Help").click()

    assert_nothing_sticks_out(page, width)


# What a click leaves, and how much room everything has


def test_a_click_keeps_the_crosshair_until_escape(page: Page) -> None:
    hint = answer(page).inner_text()
    box = canvas(page, 1).bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + 500, box["y"] + 30)
    page.mouse.move(0, 0)
    kept, drawn = answer(page).inner_text(), pixels(page)
    assert kept.startswith("Layer")

    page.locator(".rm-t").nth(3).hover()
    expect(answer(page)).to_have_text(re.compile("^Token 3 "))
    page.mouse.move(0, 0)
    expect(answer(page)).to_have_text(kept)
    assert pixels(page) == drawn
    page.keyboard.press("Escape")
    expect(answer(page)).to_have_text(hint)
    assert pixels(page) != drawn


def test_a_click_on_a_layers_number_asks_for_its_life(page: Page) -> None:
    box = canvas(page, 2).bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + 20, box["y"] + box["height"] / 2)
    told = re.match(
        r"H2O, budget 10 · Layer (\d), KV head (\d) · click to see its whole life", answer(page).inner_text()
    )
    assert told
    heard(page, {"policy": 2, "layer": int(told[1]), "group": int(told[2]), "step": LAST})


def several(n: int, tokens: int = 300) -> list[Trace]:
    runs = [random_trace(seed=seed, layers=30, groups=3 if seed == 1 else 1, n=tokens, budget=20) for seed in range(n)]
    return [replace(run, tokens=runs[0].tokens) for run in runs]


@pytest.mark.parametrize(("width", "height", "policies"), [(1018, 718, 3), (1100, 850, 3), (1018, 718, 1)])
def test_everything_is_in_sight(
    open_page: Callable[..., Page], tmp_path: Path, width: int, height: int, policies: int
) -> None:
    file = tmp_path / "map.html"
    file.write_text(standalone_html(several(policies)), encoding="utf-8")
    page = open_page(file.as_uri(), viewport={"width": width, "height": height})
    at_step_of(page, 299)

    assert page.evaluate("document.documentElement.scrollHeight") <= height
    boxes = [canvas(page, policy).bounding_box() for policy in range(policies)]
    assert all(box and box["height"] > 100 for box in boxes)
    text = page.locator(".rm-text").bounding_box()
    assert text and text["height"] >= 3 * 24
    if policies == 1:
        assert boxes[0]["height"] > 350


def test_on_a_phone_the_first_map_is_in_sight_and_a_layer_stays_a_line(
    open_page: Callable[..., Page], tmp_path: Path
) -> None:
    file = tmp_path / "map.html"
    file.write_text(standalone_html(several(6)), encoding="utf-8")
    page = open_page(file.as_uri(), viewport={"width": 370, "height": 844})
    at_step_of(page, 299)

    first, last = canvas(page, 0).bounding_box(), canvas(page, 5).bounding_box()
    assert first and first["y"] + first["height"] < 500
    assert last and last["height"] >= 2 * 30
    steps = page.locator(".rm-steps").bounding_box()
    assert steps and steps["height"] < 100


def test_tokens_below_the_last_map_take_their_room_from_the_cells(page: Page) -> None:
    show_marked(page)
    page.set_viewport_size({"width": 600, "height": 844})
    pixels(page)
    page.get_by_role("button", name="Zoom in").scroll_into_view_if_needed()
    heights = page.locator(".rm-canvas:visible").evaluate_all("all => all.map(box => box.clientHeight)")
    foot = page.locator(".rm-foot").bounding_box()
    for _ in range(3):
        page.get_by_role("button", name="Zoom in").click()
    zoomed = page.locator(".rm-canvas:visible").evaluate_all("all => all.map(box => box.clientHeight)")
    assert abs(sum(zoomed) - sum(heights)) <= 3
    assert page.locator(".rm-foot").bounding_box() == foot


def test_every_token_has_its_label_or_none_has(open_page: Callable[..., Page], tmp_path: Path) -> None:
    file = tmp_path / "map.html"
    file.write_text(standalone_html(several(2, tokens=200)), encoding="utf-8")
    page = open_page(file.as_uri())
    at_step_of(page, 199)

    def labels() -> int:
        with page.expect_download() as download:
            page.get_by_role("button", name="SVG").click()
        texts = ET.parse(download.value.path()).getroot().iter("{http://www.w3.org/2000/svg}text")
        return sum("rotate(-45" in (text.get("transform") or "") for text in texts)

    assert labels() == 0
    for _ in range(4):
        page.get_by_role("button", name="Zoom in").click()
    assert labels() >= int(200 / 1.5**4)


def at_step_of(page: Page, last: int) -> None:
    maps.at_step(page, last, last)
