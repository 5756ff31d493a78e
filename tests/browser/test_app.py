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
from tests.browser.runs import begin, says
from viz.examples.example_texts import EXAMPLES, first_trace

SHORT = "Maud lit the lamp. The ship's bell rang, and Maud lit the lamp again, and the light went out over the water."
HOSTILE = "Tea </script><img src=x onerror=\"document.title='owned'\"> and <b>bold</b> &amp; cake. " * 6
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
    return page


def status(page: Page):
    return page.locator("#status")


def step(page: Page):
    return page.locator(".rm-number")


def write(page: Page, text: str) -> None:
    page.get_by_label("Your text").fill(text)


def run(page: Page) -> None:
    begin(page.get_by_role("button", name="Run", exact=True), status(page))


def run_to_the_end(page: Page, text: str) -> None:
    write(page, text)
    run(page)
    expect(says(status(page))).to_contain_text("Done", timeout=RUN_TIME)


def run_in(page: Page, tab: str) -> Locator:
    """Press the Run of that tab; gives what its status says from then on."""
    its_status = page.locator(f"#{tab}-status")
    begin(page.locator(f"#{tab}-run"), its_status)
    return says(its_status)


def set_slider(page: Page, element: str, value: int) -> None:
    page.locator(f"#{element} input[type=number]").fill(str(value))
    page.locator(f"#{element} input[type=number]").press("Enter")


def choose(page: Page, element: str, option: str) -> None:
    page.locator(f"#{element} input").click()
    page.get_by_role("option", name=option, exact=True).click()
    expect(page.get_by_role("listbox")).to_have_count(0)


def alternative(page: Page):
    return page.locator(".rm-alternative")


def token(page: Page, piece: str):
    """The first token of the text that is exactly this piece."""
    return page.locator(".rm-text span").filter(has_text=re.compile(f"^{re.escape(piece)}$")).first


def test_the_first_thing_to_see_is_a_real_trace(open_page: Callable[..., Page], address: str) -> None:
    page = open_page(address)
    last = len(first_trace()) - 1
    expect(step(page)).to_have_text(f"{last} / {last}")
    expect(alternative(page)).to_contain_text("1,920 rows kept of 9,780 read")
    expect(page.locator("#findings")).to_contain_text("27 of 30")
    expect(page.locator("#token-words")).to_contain_text("still held at the end by 8 of 30 layers")
    expect(page.get_by_label("Your text")).to_have_value(EXAMPLES[0].text)


def test_run_reads_the_users_text_and_writes_on(page: Page) -> None:
    set_slider(page, "budget", 8)
    run_to_the_end(page, SHORT)
    expect(page.locator(".rm-text")).to_contain_text("The ship's bell rang")
    expect(page.locator(".rm-title")).to_contain_text("TOVA, budget 8")
    expect(alternative(page)).to_contain_text("240 rows kept")  # 30 layers with 8 rows each
    expect(page.locator("#findings")).to_contain_text("The full model, which forgets nothing")
    expect(page.locator(".rm-text .rm-generated")).to_have_count(0)

    last = int(step(page).inner_text().split("/")[1])
    set_slider(page, "new-tokens", 8)
    run_to_the_end(page, SHORT)
    expect(page.locator(".rm-text .rm-generated")).to_have_count(8)  # what is the model's is marked
    expect(step(page)).to_have_text(f"{last + 8} / {last + 8}")

    set_slider(page, "new-tokens", 0)
    set_slider(page, "budget", 64)
    run_to_the_end(page, "Two words and a few more.")
    expect(status(page)).to_contain_text("nothing had to be evicted")


def test_every_policy_runs_and_shows_its_own_settings(page: Page) -> None:
    set_slider(page, "budget", 6)
    for option, own in [
        ("Window+i", "n_sink"),
        ("H2O", None),
        ("Random", "seed"),
        ("TOVA per head", None),
        ("Full", None),
    ]:
        choose(page, "policy", option)
        for setting in ("n_sink", "seed"):
            expect(page.locator(f"#{setting}")).to_be_visible() if setting == own else expect(
                page.locator(f"#{setting}")
            ).to_be_hidden()
        expect(page.locator("#budget")).to_be_visible() if option != "Full" else expect(
            page.locator("#budget")
        ).to_be_hidden()
        run_to_the_end(page, SHORT + " " + option)
        expect(page.locator(".rm-title")).to_contain_text(option)


def stands_still(page: Page) -> bool:
    before = step(page).inner_text()
    page.wait_for_timeout(1500)
    return step(page).inner_text() == before


def test_the_map_grows_while_it_runs_and_stop_keeps_what_there_is(page: Page) -> None:
    long = "\n\n".join(example.text for example in EXAMPLES) * 6
    write(page, long)
    run(page)
    expect(status(page)).to_contain_text(re.compile(r"Reading: \d"))
    seen = set()
    while len(seen) < 3:
        seen.add(step(page).inner_text())
        page.wait_for_timeout(50)
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#stopped")).to_contain_text("Stopped.")
    assert any(stands_still(page) for _ in range(8)), "it goes on"  # a late report may come before
    expect(page.get_by_label("Your text")).to_have_value(long)
    run_to_the_end(page, SHORT)  # the model is free again


def test_what_cannot_be_read_is_explained_and_loses_nothing(page: Page) -> None:
    before = step(page).inner_text()
    for text, reason in (("", "empty"), ("   ", "empty"), ("Hello", "single token"), ("A fox ran. " * 3000, "8,192")):
        write(page, text)
        run(page)
        expect(says(status(page))).to_contain_text(reason)
        expect(page.get_by_role("alert")).to_contain_text(reason)
        expect(page.get_by_label("Your text")).to_have_value(text)
        assert step(page).inner_text() == before
    choose(page, "policy", "Window+i")
    set_slider(page, "budget", 4)
    write(page, SHORT)
    run(page)
    expect(page.get_by_role("alert")).to_contain_text("4 sink tokens leave no room")
    assert step(page).inner_text() == before
    set_slider(page, "budget", 5)
    run_to_the_end(page, SHORT)


def test_the_example_is_explored(page: Page) -> None:
    token(page, " keeper").click()
    expect(page.locator("#token-words")).to_contain_text("“ keeper”: kept for")
    page.locator(".rm canvas").click(position={"x": 300, "y": 150})
    expect(page.locator("#token-words")).to_contain_text(re.compile(r"Layer \d+ (forgot|still holds) “"))
    expect(page.locator("#head")).to_contain_text(re.compile(r"the life of layer \d+"))

    page.get_by_label("colour by attention").check()
    expect(page.locator("#head")).to_contain_text("10⁻³")
    page.get_by_label("colour by attention").uncheck()
    expect(page.locator("#head")).not_to_contain_text("10⁻³")

    # Scrubbing asks the server nothing. (A page of gradio's is never idle: it listens for its session.)
    page.wait_for_timeout(1000)
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.locator(".rm-slider input").focus()
    for key in ("Home", "ArrowRight", "Shift+ArrowRight", "End", "ArrowLeft"):
        page.keyboard.press(key)
    expect(step(page)).to_have_text("324 / 325")
    assert requests == []


def test_hostile_text_stays_text(page: Page) -> None:
    set_slider(page, "budget", 16)
    run_to_the_end(page, HOSTILE)
    expect(page.locator(".rm-text")).to_contain_text("</script><img src=x onerror=")
    token(page, "><").click()
    expect(page.locator("#token-words")).to_contain_text("“><”")
    expect(page.locator("#token")).to_contain_text("“><”")
    assert page.title() != "owned"
    assert page.locator("img[src=x]").count() == 0


def test_a_link_opens_on_its_step(open_page: Callable[..., Page], address: str) -> None:
    page = open_page(f"{address}?step=150")
    expect(step(page)).to_have_text("150 / 325")
    bar = page.locator("#head .gradient_filled").first  # filled by the page's address until that changes
    bar.wait_for(state="attached")
    page.get_by_role("button", name="Previous step").first.click()
    page.wait_for_url(re.compile(r"\?step=149$"))
    assert str(bar.evaluate("bar => bar.style.fill")).startswith('url("#')
    cuts = page.locator("#head [clip-path]").evaluate_all("all => all.map(each => each.getAttribute('clip-path'))")
    assert cuts and all(cut.startswith("url('#") for cut in cuts)


def test_a_run_can_be_taken_away(page: Page, tmp_path: Path, open_page: Callable[..., Page]) -> None:
    page.get_by_role("button", name="Export this run").click()
    saved = {}
    for kind in ("npz", "csv", "html"):
        with page.expect_download() as download:
            page.locator("#files a[download]").filter(has_text=re.compile(kind)).or_(
                page.locator(f"#files a[href$='.{kind}']")
            ).first.click()
        saved[kind] = tmp_path / f"run.{kind}"
        download.value.save_as(saved[kind])
    example = first_trace()
    assert (Trace.load(saved["npz"]).evicted_at == example.evicted_at).all()
    with saved["csv"].open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == example.evicted_at.size
    assert "".join(row["token"] for row in rows if row["layer"] == "0") == EXAMPLES[0].text
    alone = open_page(saved["html"].as_uri())
    expect(step(alone)).to_have_text("325 / 325")


def test_positions_are_chosen_and_a_saved_run_is_opened(page: Page, tmp_path: Path) -> None:
    page.get_by_role("button", name="Positions · open a saved run").click()
    choose(page, "positions", "in-cache")
    set_slider(page, "budget", 8)
    run_to_the_end(page, SHORT)
    expect(page.locator(".rm-title")).to_contain_text("TOVA, budget 8, in-cache positions")
    saved = tmp_path / "saved.npz"
    first_trace().save(saved)
    page.locator("input[type=file]").first.set_input_files(saved)
    expect(status(page)).to_contain_text("Opened: TOVA, budget 64, 326 tokens")
    expect(step(page)).to_have_text("325 / 325")
    (tmp_path / "none.npz").write_bytes(b"no trace")
    page.locator("input[type=file]").first.set_input_files(tmp_path / "none.npz")
    expect(status(page)).to_contain_text("not a trace")
    expect(step(page)).to_have_text("325 / 325")


def test_policies_are_compared_side_by_side(page: Page, tmp_path: Path) -> None:
    write(page, SHORT)
    page.get_by_role("tab", name="Compare").click()
    set_slider(page, "compare-budget", 8)
    page.locator("#compare-more").click()
    choose(page, "compare-policy-4", "Oracle")
    page.locator("#compare-budget-4 input").fill("24")
    expect(run_in(page, "compare")).to_contain_text("Done", timeout=RUN_TIME)
    policies = ["Full", "TOVA, budget 8", "Window+i, budget 8", "Window, budget 8", "Oracle, budget 24"]
    for policy in policies:
        expect(page.locator("#compare-table")).to_contain_text(policy)
    expect(page.locator("canvas:visible")).to_have_count(5)  # four maps and the difference
    page.locator("canvas:visible").first.click(position={"x": 250, "y": 40})
    expect(page.locator("#compare-missed")).to_contain_text("of the full model's attention falls on tokens")

    page.locator("#compare-export").click()
    links = page.locator("#compare-files a")
    expect(links).to_have_count(5)  # the costs, and four traces
    with page.expect_download() as download:
        links.first.click()
    download.value.save_as(tmp_path / "costs.csv")
    with (tmp_path / "costs.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["policy"] for row in rows] == policies
    assert float(rows[0]["ΔNLL (nats)"]) == 0 < float(rows[3]["ΔNLL (nats)"])


def test_policies_write_on_each_its_own_way(page: Page) -> None:
    write(page, SHORT)
    page.get_by_role("tab", name="Compare").click()
    set_slider(page, "compare-budget", 8)
    set_slider(page, "compare-new-tokens", 6)
    expect(run_in(page, "compare")).to_contain_text("Done", timeout=RUN_TIME)
    expect(page.locator("canvas:visible")).to_have_count(4)
    for i in (1, 2, 3):
        choose(page, f"compare-policy-{i}", "–")
    expect(run_in(page, "compare")).to_contain_text("at least one policy")
    expect(page.locator("canvas:visible")).to_have_count(4)


def test_every_policy_answers_and_the_evidence_is_followed(page: Page) -> None:
    page.get_by_role("tab", name="Ask").click()
    page.locator("#ask-question textarea").fill("What rang?")
    document = page.locator("#ask-document textarea")
    document.press("Control+a")
    expect(page.locator("#ask-marked")).to_contain_text("Marked: The harbour")
    page.keyboard.insert_text(SHORT)
    expect(page.locator("#ask-marked")).to_contain_text("Nothing is marked yet")
    document.evaluate("box => { box.focus(); box.setSelectionRange(4, 15); }")
    expect(page.locator("#ask-marked")).to_have_text(f"Marked: {SHORT[4:15].strip()}", use_inner_text=True)
    set_slider(page, "ask-budget", 16)
    expect(run_in(page, "ask")).to_contain_text("Done", timeout=RUN_TIME)
    cards = page.locator("#ask-answers article")
    expect(cards).to_have_count(4)
    expect(cards.first).to_contain_text("Full model")
    expect(cards.first).to_contain_text("of the marked passage 100% was kept when the question came")
    expect(page.locator("#ask-fate")).to_contain_text("Window, budget 16: 0% of the passage was kept")
    expect(page.locator("#ask-curve")).to_contain_text("How much of the passage is kept")
    page.locator("#ask-whose").get_by_label("Window, budget 16").check()
    expect(page.locator("#ask-layers")).to_contain_text("Window, budget 16")


def test_a_fact_is_hidden_and_the_matrix_shows_who_finds_it(page: Page) -> None:
    page.get_by_role("tab", name="Ask").click()
    set_slider(page, "ask-length", 104)
    page.locator("#ask-needle").click()
    expect(page.locator("#ask-document textarea")).to_have_value(re.compile("clockmaker is 7394"))
    expect(page.locator("#ask-marked")).to_contain_text("clockmaker is 7394")
    expect(page.get_by_label("The right answer, if you know it")).to_have_value("7394")
    for length in ("128", "256"):
        page.locator("#matrix-lengths").get_by_label(length, exact=True).uncheck()
    expect(run_in(page, "matrix")).to_contain_text("Choose at least one length")
    page.locator("#ask-question textarea").fill(" ")
    expect(run_in(page, "ask")).to_contain_text("There is no question")


def test_the_run_is_measured_when_its_tab_is_opened(page: Page) -> None:
    page.get_by_role("tab", name="Measure").click()
    expect(page.locator("#measure-kinds")).to_contain_text("the paper, budget 256", timeout=RUN_TIME)
    expect(page.locator("#lives button")).to_have_count(30)
    expect(page.locator("#measure-table")).to_contain_text("sentence end")


def test_a_budget_sweep_says_which_budget_is_enough_and_can_be_stopped(page: Page) -> None:
    write(page, SHORT * 2)
    page.get_by_role("tab", name="Budget").click()
    budgets = page.get_by_label("Budgets, with commas between")
    budgets.fill("many")
    expect(run_in(page, "sweep")).to_contain_text("whole numbers")
    budgets.fill("8, 500")
    expect(run_in(page, "sweep")).to_contain_text("Done", timeout=2 * RUN_TIME)
    expect(page.locator("#sweep-sentences")).to_contain_text("is the smallest budget tried that comes within 5 %")
    expect(page.locator("#sweep-plot")).to_contain_text("Short context")
    expect(page.locator("#sweep-table")).to_contain_text("Window+i")

    page.get_by_role("tab", name="Explore").click()
    write(page, SHORT * 100)
    page.get_by_role("tab", name="Budget").click()
    budgets.fill("8 16 32 64 128 256")
    expect(run_in(page, "sweep")).to_contain_text("tokens; about")
    budgets.fill("many")
    expect(run_in(page, "sweep")).to_contain_text("whole numbers")
    page.wait_for_timeout(1000)
    expect(page.locator("#sweep-status")).to_contain_text("whole numbers")  # pressed again, Run ends the former run

    budgets.fill("8 16 32 64 128 256")
    expect(run_in(page, "sweep")).to_contain_text("tokens; about")
    page.locator("#sweep-stop").click()
    expect(page.locator("#sweep-stopped")).to_contain_text("Stopped.")
    page.wait_for_timeout(1000)
    expect(page.locator("#sweep-status")).not_to_contain_text("Done")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_nothing_sticks_out(open_page: Callable[..., Page], address: str, theme: str) -> None:
    page = open_page(f"{address}?__theme={theme}", viewport={"width": 390, "height": 844})
    expect(step(page)).to_have_text("325 / 325")
    for width in (390, 1024, 1440):
        page.set_viewport_size({"width": width, "height": 844})
        page.wait_for_timeout(300)
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), width
