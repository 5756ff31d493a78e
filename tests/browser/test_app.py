"""The whole app as a person uses it: `python app.py` in a process of its own, the real SmolLM2, real Chromium."""

import csv
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from core import Trace
from tests.browser.lenses import choose
from tests.browser.runs import begin, says
from viz.examples.example_texts import EXAMPLES, first_run
from viz.page.asked import shown

SHORT = "Maud lit the lamp. The ship's bell rang, and Maud lit the lamp again, and the light went out over the water."
HOSTILE = "Tea </script><img src=x onerror=\"document.title='owned'\"> and <b>bold</b> &amp; cake. "
RUN_TIME = 60_000  # milliseconds that a run of a few hundred tokens may take on a busy machine


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    own = tmp_path_factory.mktemp("app")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    files = ["--votes", str(own / "votes.db"), "--store", str(own / "runs")]
    command = [sys.executable, "app.py", "--port", str(port), *files]
    app = subprocess.Popen(command, env=os.environ)
    url = f"http://127.0.0.1:{port}/"
    give_up = time.monotonic() + 240
    while True:
        try:
            urllib.request.urlopen(url).close()
            break
        except OSError:
            assert app.poll() is None and time.monotonic() < give_up, "the app does not answer"
            time.sleep(0.25)
    yield url
    app.terminate()
    app.wait()


@pytest.fixture
def page(open_page: Callable[..., Page], address: str) -> Page:
    page = open_page(address)
    page.set_default_timeout(RUN_TIME)
    expect(status(page)).to_contain_text("Model ready", timeout=RUN_TIME)
    expect(step(page)).to_have_text("325 / 325")
    expect(page.locator("body.settled")).to_be_attached()
    return page


def status(page: Page) -> Locator:
    return page.locator("#status")


def step(page: Page) -> Locator:
    return page.locator("#watch .rm-number")


def alternative(page: Page) -> Locator:
    return page.locator("#watch .rm-alternative")


def names(page: Page) -> Locator:
    """The headings of the maps."""
    return page.locator("#watch .rm-name:visible")


def write(page: Page, text: str) -> None:
    page.locator("#text textarea").fill(text)


def run(page: Page) -> None:
    begin(page.locator("#run"), status(page))


def run_to_the_end(page: Page, text: str) -> None:
    write(page, text)
    run(page)
    expect(says(status(page))).to_contain_text("Done", timeout=RUN_TIME)


def set_budget(page: Page, budget: int, card: int = 1) -> None:
    page.locator(f"#budget-{card}").fill(str(budget))


def set_new_tokens(page: Page, n: int) -> None:
    page.locator("#new-tokens input[type=number]").fill(str(n))
    page.locator("#new-tokens input[type=number]").press("Enter")


def pick(page: Page, element: str, option: str) -> None:
    page.locator(f"#{element} input").click()
    page.get_by_test_id("dropdown-option").and_(page.get_by_label(option, exact=True)).click()
    expect(page.get_by_role("listbox").filter(visible=True)).to_have_count(0)


def only(page: Page, policy: str) -> None:
    """Leave one card, with this policy."""
    for cards in (2, 1):
        page.locator("#remove-1").click()
        expect(page.locator(".card:visible")).to_have_count(cards)
    choose(page, 1, policy)


def token(page: Page, piece: str) -> Locator:
    """The first token of the text that is exactly this piece."""
    return page.locator("#watch .rm-text span").filter(has_text=re.compile(f"^{re.escape(piece)}$")).first


@pytest.mark.parametrize(
    "sizes",
    [[(390, 844, 1), (1024, 844, 0)], [(1366, 768, 3), (1440, 900, 3)]],  # a phone's sidebar is closed when it opens
)
def test_the_first_thing_to_see_is_a_real_run_of_three_policies_with_text_and_maps_above_the_fold(
    open_page: Callable[..., Page], address: str, sizes: list[tuple[int, int, int]]
) -> None:
    page = open_page(address, viewport={"width": sizes[0][0], "height": sizes[0][1]})
    expect(step(page)).to_have_text("325 / 325")
    for name in ("TOVA, budget 64", "H2O, budget 64", "Window, budget 64"):
        expect(alternative(page)).to_contain_text(name)
    expect(page.locator("#watch")).to_contain_text("first token in 27 layers")
    expect(page.locator("#watch")).to_contain_text("64 rows in each of 90 KV heads")
    if sizes[0][0] >= 768:
        expect(page.locator("#text textarea")).to_have_value(EXAMPLES[0].text)
        expect(page.locator("#token-count")).to_have_text("326 tokens", timeout=RUN_TIME)
    for width, height, whole in sizes:
        page.set_viewport_size({"width": width, "height": height})
        page.wait_for_timeout(500)
        assert page.evaluate("scrollY") == 0
        for dark in ("true", "false"):
            page.evaluate(f"document.body.classList.toggle('dark', {dark})")
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (width, dark)
        if not whole:
            continue
        ends = page.locator("#watch :is(.rm-steps, .rm-canvas)").evaluate_all(
            "all => all.map(each => each.getBoundingClientRect().bottom)"
        )
        text = page.locator("#watch .rm-text").evaluate("box => [box.clientHeight, getComputedStyle(box).lineHeight]")
        fold = page.locator("#run-bar").bounding_box()["y"] if width < 768 else height
        assert all(0 < end <= fold for end in ends[: 1 + whole]), (width, ends)
        assert text[0] >= 3 * float(text[1].removesuffix("px"))
        expect(page.locator("#run")).to_be_in_viewport()
        expect(status(page)).to_be_in_viewport()


def test_a_link_opens_on_its_step_and_a_click_tells_life_and_reason_under_every_policy(
    open_page: Callable[..., Page], address: str
) -> None:
    page = open_page(f"{address}?step=150")
    expect(step(page)).to_have_text("150 / 325")
    fates = page.locator("#fates")
    token(page, " keeper").click()
    for policy in ("TOVA, budget 64", "H2O, budget 64", "Window, budget 64"):
        expect(fates).to_contain_text(policy)
    expect(fates).to_contain_text("“ keeper”: kept for")
    page.locator("#watch canvas").nth(1).click(position={"x": 300, "y": 60})
    expect(fates).to_contain_text(re.compile(r"Layer \d+, KV head \d, (forgot|still holds) “"))
    expect(fates).to_contain_text(re.compile(r"Layer \d+ (forgot|still holds) “"))
    expect(page.locator("#row")).to_contain_text(re.compile(r"the life of layer \d+, KV head \d"))
    expect(page.locator("#token")).to_contain_text("H2O")

    bar = page.locator("#row .gradient_filled").first  # filled by the page's address until that changes
    bar.wait_for(state="attached")
    page.get_by_role("button", name="Previous step").first.click()
    page.wait_for_url(re.compile(r"\?step=149$"))
    assert str(bar.evaluate("bar => bar.style.fill")).startswith('url("#')
    cuts = page.locator("#row [clip-path]").evaluate_all("all => all.map(each => each.getAttribute('clip-path'))")
    assert cuts and all(cut.startswith("url('#") for cut in cuts)

    page.get_by_label("colour by attention").check()
    expect(page.locator("#row")).to_contain_text("10⁻³")
    title = page.locator("#row").get_by_text("the life of layer").text_content()
    page.locator("#watch canvas").nth(1).click(position={"x": 20, "y": 20})
    expect(page.locator("#row")).not_to_contain_text(title)
    expect(page.locator("#row")).to_contain_text("10⁻³")  # another row, and coloured, too
    page.get_by_label("colour by attention").uncheck()
    expect(page.locator("#row")).not_to_contain_text("10⁻³")

    # Scrubbing asks the server nothing. (A page of gradio's is never idle: it listens for its session.)
    page.wait_for_timeout(1000)
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.locator("#watch .rm-slider input").focus()
    for key in ("Home", "ArrowRight", "Shift+ArrowRight", "End", "ArrowLeft"):
        page.keyboard.press(key)
    expect(step(page)).to_have_text("324 / 325")
    assert requests == []


def test_policies_write_on_each_its_own_way(page: Page) -> None:
    set_budget(page, 8)
    set_new_tokens(page, 6)
    run_to_the_end(page, SHORT)
    expect(page.locator("#watch .rm-text")).to_have_count(3)
    page.get_by_role("tab", name="Cost").click()
    expect(page.get_by_role("tabpanel").filter(visible=True)).to_contain_text("new tokens to 0")


def test_every_lens_shows_the_run_and_is_never_empty(page: Page) -> None:
    seen = {
        "Cost": ("TOVA, budget 64", "H2O, budget 64"),
        "Tokens": ("TOVA, budget 64", "the paper"),
        "Budget": ("stored example", "Short context"),
        "Ask": ("stored example", "Full model"),
        "Write": ("stored example", "Full model"),
        "Learn": ("1 / 7",),
    }
    for lens, parts in seen.items():
        page.get_by_role("tab", name=lens, exact=True).click()
        for part in parts:
            expect(page.get_by_role("tabpanel").filter(visible=True)).to_contain_text(part, timeout=RUN_TIME)
        ends = page.locator("#lenses button:visible").evaluate_all(
            "all => all.map(b => b.getBoundingClientRect().right)"
        )
        assert max(ends) <= page.viewport_size["width"], lens  # no button is cut


def test_an_open_lens_follows_the_next_run(page: Page) -> None:
    page.get_by_role("tab", name="Cost").click()
    panel = page.get_by_role("tabpanel").filter(visible=True)
    expect(panel).to_contain_text("TOVA, budget 64")
    only(page, "TOVA per head")
    set_budget(page, 7)
    run_to_the_end(page, SHORT)
    expect(panel).to_contain_text("TOVA per head, budget 7")


def test_run_reads_the_users_text_however_hostile_and_writes_on(page: Page) -> None:
    assert page.evaluate("scrollY") == 0
    set_budget(page, 8)
    expect(page.locator("#budget-3")).to_have_value("8")  # one budget for all
    run_to_the_end(page, HOSTILE)
    expect(page.locator("#watch .rm-text")).to_contain_text("</script><img src=x onerror=")
    expect(names(page).first).to_contain_text("TOVA, budget 8")
    expect(page.locator("#watch .rm-text .rm-generated")).to_have_count(0)
    token(page, "><").click()
    expect(page.locator("#fates")).to_contain_text("“><”")
    expect(page.locator("#token")).to_contain_text("“><”")
    assert page.title() != "owned"
    assert page.locator("img[src=x]").count() == 0

    only(page, "TOVA")
    set_new_tokens(page, 6)
    expect(page.locator("#message input")).to_be_checked()  # an instruct model is to answer
    expect(page.locator("#temperature input")).to_be_visible()
    run_to_the_end(page, SHORT)
    expect(page.locator("#watch .rm-text")).to_contain_text("<|im_start|>user")
    assert 1 <= page.locator("#watch .rm-text .rm-generated").count() <= 6  # what is the model's is marked
    page.locator("#message input").uncheck()
    run_to_the_end(page, SHORT)
    expect(page.locator("#watch .rm-text")).to_contain_text("The ship's bell rang")
    expect(page.locator("#watch .rm-text")).not_to_contain_text("<|im_start|>user")

    set_new_tokens(page, 0)
    set_budget(page, 64)
    run_to_the_end(page, "Two words and a few more.")
    expect(status(page)).to_contain_text("nothing had to be evicted")


def test_cards_are_added_and_removed_and_on_one_every_policy_runs_with_its_own_settings(page: Page) -> None:
    changed = page.locator("#changed")  # says that the picture is of before
    expect(changed).to_be_hidden()
    page.locator("#add-policy").click()
    expect(page.locator(".card:visible")).to_have_count(4)
    expect(changed).to_be_visible()
    page.locator("#remove-4").click()
    expect(page.locator(".card:visible")).to_have_count(3)
    expect(changed).to_be_hidden()  # what is shown again is what was run
    for cards in (4, 5, 6):
        page.locator("#add-policy").click()
        expect(page.locator(".card:visible")).to_have_count(cards)
    expect(page.locator("#add-policy")).to_be_disabled()
    for cards in (5, 4, 3, 2, 1):
        page.locator("#remove-1").click()
        expect(page.locator(".card:visible")).to_have_count(cards)
    expect(page.locator("#remove-1")).to_be_disabled()  # one policy stays

    policies = [
        ("Window+i", ["Sink tokens (i)"], "By recency · per layer"),
        ("Random", ["Seed"], "At random · per layer"),
        ("TOVA per head", [], "By attention · per KV head"),
        ("Full", [], "Forgets nothing"),
        ("Oracle", [], "Knows the future · per layer"),
    ]
    card, budget = page.locator(".card:visible"), page.locator("#budget-1")
    choose(page, 1, "Window+i")
    set_budget(page, 6)
    for option, settings, traits in policies:
        choose(page, 1, option)
        expect(card.locator(".setting")).to_have_text(settings)
        expect(card.locator(".how summary")).to_have_text(f"{traits} ?")
        expect(budget).to_be_hidden() if option == "Full" else expect(budget).to_be_visible()
        run_to_the_end(page, "Maud lit the lamp again, and the light went out.")
        expect(names(page).first).to_contain_text(option)


def stands_still(page: Page) -> bool:
    before = step(page).inner_text()
    page.wait_for_timeout(1500)
    return step(page).inner_text() == before


def test_the_map_grows_while_it_runs_stop_keeps_it_and_what_cannot_be_read_is_explained_and_loses_nothing(
    page: Page,
) -> None:
    long = "\n\n".join(example.text for example in EXAMPLES) * 2
    write(page, long)
    run(page)
    expect(status(page)).to_contain_text(re.compile(r"Reading: \d"))
    seen = set()
    while len(seen) < 3:
        seen.add(step(page).inner_text())
        page.wait_for_timeout(50)
    page.locator("#stop").click()
    expect(page.locator("#stopped")).to_contain_text("Stopped.")
    assert any(stands_still(page) for _ in range(8)), "it goes on"  # a late report may come before
    expect(page.locator("#text textarea")).to_have_value(long)

    before = step(page).inner_text()
    for text, reason in (("", "empty"), ("   ", "empty"), ("Hello", "single token"), ("A fox ran. " * 3000, "8,192")):
        write(page, text)
        run(page)
        expect(says(status(page))).to_contain_text(reason)
        expect(page.get_by_role("alert")).to_contain_text(reason)
        expect(page.locator("#text textarea")).to_have_value(text)
        assert step(page).inner_text() == before
    only(page, "Window+i")
    set_budget(page, 4)
    write(page, SHORT)
    run(page)
    expect(page.get_by_role("alert")).to_contain_text("4 sink tokens leave no room")
    page.locator("#budget-1").fill("")
    run(page)
    expect(page.get_by_role("alert")).to_contain_text("Window+i has no budget")
    assert step(page).inner_text() == before
    set_budget(page, 5)
    run_to_the_end(page, SHORT)  # the model is free again


def test_a_run_is_taken_away_another_read_in_another_way_and_the_first_opened_again_side_by_side(
    page: Page, tmp_path: Path, open_page: Callable[..., Page]
) -> None:
    page.locator("#export").click()
    files = page.locator("#files a")
    expect(files).to_have_count(8)
    saved = []
    for i in range(8):
        with page.expect_download() as download:
            files.nth(i).click()
        saved.append(tmp_path / download.value.suggested_filename)
        download.value.save_as(saved[-1])
    for trace, npz, table in zip(shown(first_run()), saved[:6:2], saved[1:6:2], strict=True):
        assert (Trace.load(npz).evicted_at == trace.evicted_at).all()
        with table.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == trace.evicted_at.size
    with saved[6].open(encoding="utf-8-sig", newline="") as file:
        costs = [row["policy"] for row in csv.DictReader(file)]
    assert costs == ["Full", "TOVA, budget 64", "H2O, budget 64", "Window, budget 64"]
    alone = open_page(saved[7].as_uri())
    expect(alone.locator(".rm-number")).to_have_text("325 / 325")
    expect(alone.locator("canvas:visible")).to_have_count(3)

    page.get_by_role("button", name="How it is read").click()
    pick(page, "positions", "in-cache")
    page.get_by_label("the prompt at once").check()
    pick(page, "budgets", "pyramid: more in the first layers")
    set_budget(page, 8)
    run_to_the_end(page, SHORT)
    expect(names(page).first).to_contain_text("TOVA, budget 8, in-cache positions")
    expect(page.locator("#watch .rm-note").last).to_contain_text("1 – 15 rows in each of 30 layers")  # Window

    upload = page.locator("input[type=file][accept='.npz']").first
    upload.set_input_files([saved[0], saved[2]])
    expect(status(page)).to_contain_text(f"Opened: {saved[0].name}, {saved[2].name}, 326 tokens")
    expect(step(page)).to_have_text("325 / 325")
    expect(names(page)).to_have_count(2)
    (tmp_path / "none.npz").write_bytes(b"no trace")
    upload.set_input_files(tmp_path / "none.npz")
    expect(status(page)).to_contain_text("not a trace")
    expect(step(page)).to_have_text("325 / 325")
