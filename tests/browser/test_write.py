"""The tab "Write" in real Chromium, with a tiny model that writes words, some of which look like markup."""

import csv
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import gradio as gr
import pytest
from playwright.sync_api import Locator, Page, expect

from core.errors import VotesUnavailable
from core.experiments.votes import VoteStore
from tests.browser.lenses import choose, lens_page, set_budget
from tests.browser.runs import begin, says
from tests.writers import ODD, Endpoint, pair_of, stories_in, writer_model
from viz.examples.telling import PROMPT
from viz.tabs.write import write_lens


@pytest.fixture(scope="module")
def model(tiny, tmp_path_factory: pytest.TempPathFactory) -> str:
    return writer_model(tiny("llama-gqa").directory, tmp_path_factory.mktemp("writer") / "model")


@pytest.fixture
def store(tmp_path: Path) -> VoteStore:
    return VoteStore(tmp_path / "votes.db")


def blocks(model: str, store: VoteStore) -> gr.Blocks:
    return lens_page(model, "Write", write_lens, store.path)


def shown(page: Page) -> Page:
    page.get_by_role("tab", name="Write").click()
    expect(page.locator("#judge-plot")).to_contain_text("The paper: TOVA, budget 1,024")
    return page


def write(page: Page, prompts: str, length: int = 30, temperature: str = "1", budget: int = 6) -> None:
    page.locator("#write-prompts textarea").fill(prompts)
    for name, value in (("length", str(length)), ("temperature", temperature)):
        page.locator(f"#write-{name} input[type=number]").fill(value)
        page.locator(f"#write-{name} input[type=number]").press("Enter")
    set_budget(page, budget)
    begin(page.locator("#write-run"), page.locator("#write-status"))


def told(page: Page) -> Locator:
    """What is said of the stories that are being written."""
    return says(page.locator("#write-status"))


def write_to_the_end(page: Page, prompts: str, **settings) -> None:
    write(page, prompts, **settings)
    expect(told(page)).to_contain_text("Done")


def cards(page: Page, where: str = "#write-stories") -> Locator:
    return page.locator(f"{where} article")


def next_pair(page: Page) -> None:
    page.locator("#judge-next").click()
    expect(page.locator("#judge-a")).to_be_enabled()


def vote(page: Page, button: str) -> None:
    page.locator(f"#judge-{button}").click()
    expect(page.locator("#judge-status")).to_contain_text("Your vote is stored")


def test_the_stored_stories_give_way_to_those_of_the_cards_whose_writing_can_be_stopped(
    open_page: Callable[..., Page], serve: Callable[..., str], model: str, store: VoteStore
) -> None:
    page = shown(open_page(serve(blocks(model, store))))
    expect(page.locator("#write-status")).to_contain_text("A stored example, made by this app. Press “Write stories”")
    expect(page.locator("#write-prompts textarea")).to_have_value(PROMPT)
    expect(page.locator("#judge-ask")).to_have_count(0)  # no judge is configured
    heads, table = cards(page).locator("h4"), page.locator("#write-table")
    expect(heads).to_have_text(["Full model", "TOVA, budget 64", "H2O, budget 64", "Window, budget 64"])
    expect(cards(page).first).to_contain_text("160 tokens, stopped at the limit")
    expect(table).to_contain_text("H2O, budget 64")
    page.locator("#judge-next").click()
    expect(page.locator("#judge-pair")).to_contain_text("There is no pair")
    assert store.without_verdict_of("gpt") == []  # the example is not there to be judged

    for prompts, reason in (
        (" \n ", "Write a story prompt first"),
        ("w1\n" * 101, "a batch takes 100"),
        ("w" * 4001, "shorten it to 4,000"),
    ):
        write(page, prompts)
        expect(told(page)).to_contain_text(reason)
        expect(told(page)).to_have_attribute("role", "alert")

    write_to_the_end(page, "w1 w2 w3", length=60)
    for card, name in zip(cards(page).all(), ("Full model", "TOVA", "H2O", "Window"), strict=True):
        expect(card.locator("h4")).to_contain_text(name)
        expect(card).to_contain_text(re.compile(r"\d+ tokens?, (ended by itself|stopped at the limit)"))
        expect(card).to_contain_text("distinct-1 / 2 / 3")
        assert card.locator("mark").count() == (name != "Full model")
    shared = cards(page).nth(1).locator(".shared").inner_text()
    assert cards(page).nth(0).locator(".text").inner_text().startswith(shared)
    for text in ("Full", "1566", "H2O, budget 6", "distinct-3"):
        expect(table).to_contain_text(text)
    store.add([pair_of("p", story="x" * 3000)])
    next_pair(page)
    for width in (1440, 1024, 390, 1280):
        page.set_viewport_size({"width": width, "height": 900})
        page.wait_for_timeout(300)
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), width

    def stored() -> int:
        return len(store.without_verdict_of("gpt"))

    before = stored()
    write(page, "\n".join(["w1 w2 w3"] * 100), length=60, temperature="0")
    expect(told(page)).to_contain_text(re.compile(r"Prompt ([3-9]|\d\d) of 100"))
    page.locator("#write-stop").click()
    expect(page.locator("#write-stopped")).to_contain_text("Stopped")
    page.wait_for_timeout(1000)
    found = stored()
    assert 6 <= found - before < 300 and (found - before) % 3 == 0
    page.wait_for_timeout(1000)
    assert stored() == found

    choose(page, 2, "Full")
    write_to_the_end(page, "w1 w2 w3", budget=64)  # the model is free again
    expect(page.locator("#write-stopped")).to_be_empty()
    expect(heads).to_have_text(["Full model", "TOVA, budget 64", "Window, budget 64"])  # the full model writes once
    choose(page, 1, "Oracle")
    write(page, "w1 w2 w3", budget=64)
    expect(told(page)).to_contain_text("The oracle needs to know the whole text beforehand")
    page.get_by_role("tab", name="Nothing").click()
    page.get_by_role("tab", name="Write").click()
    page.wait_for_timeout(1000)
    expect(cards(page)).to_have_count(3)  # the example does not come back


def test_two_browsers_judge_blind_and_whatever_is_written_stays_text(
    open_page: Callable[..., Page], serve: Callable[..., str], model: str, store: VoteStore, tmp_path: Path
) -> None:
    address = serve(blocks(model, store))
    ann, bob = (shown(open_page(address)) for _ in range(2))
    write_to_the_end(ann, "w1 w2 w3")
    ann.locator("#judge-next").click()  # she has seen who wrote what
    expect(ann.locator("#judge-pair")).to_contain_text("There is no pair")
    expect(ann.locator("#judge-a")).to_be_disabled()
    write_to_the_end(ann, "w4 w5 w6\nw7 w8 w9")
    expect(told(ann)).to_contain_text("They can be judged blind")  # of these, not of the first
    expect(cards(ann)).to_have_count(0)
    expect(ann.locator("#write-stories")).to_contain_text("not shown here")
    for page, button in ((ann, "a"), (bob, "b")):
        next_pair(page)
        expect(page.locator("#judge-pair .prompt")).to_contain_text("w7 w8 w9")  # the newest
        expect(page.locator("#judge-pair")).not_to_contain_text(re.compile("Full model|TOVA|Window|tokens"))
        vote(page, button)
        expect(page.locator("#judge-pair h4")).to_contain_text([re.compile("^A: "), re.compile("^B: ")])
        expect(page.locator("#judge-pair")).to_contain_text("Full model")
        for choice in ("a", "tie", "b"):
            expect(page.locator(f"#judge-{choice}")).to_be_disabled()
    expect(bob.locator("#judge-plot")).to_contain_text("1 vote on 1 pair")  # he got another one than she
    votes = exported(bob, tmp_path)
    assert [row["voter"] for row in votes] == ["1", "2"]
    assert {row["verdict"] for row in votes} <= {"win", "loss"}
    assert sum(tally.votes for tally in store.tallies()) == 2

    store.add([pair_of(f"pair {i}") for i in range(4)])
    for better in ("Its story.", "Its story.", "The full story.", None):
        next_pair(bob)
        first = cards(bob, "#judge-pair").first.locator(".text").inner_text()
        vote(bob, "tie" if better is None else "a" if first == better else "b")
    (tally,) = (tally for tally in store.tallies() if tally.model == "m")
    assert (tally.wins, tally.ties, tally.losses, tally.pairs) == (2, 1, 1, 4)

    strange, title = " ".join(ODD.values()), bob.title()
    store.add([pair_of("p", prompt=strange, full=strange, story=strange + ".")])
    next_pair(bob)
    expect(bob.locator("#judge-pair .prompt")).to_have_text(strange.replace("\n", " "))
    assert cards(bob, "#judge-pair").first.locator(".text").inner_text().rstrip(".") == strange
    bob.locator("#new-tokens input[type=number]").fill("1")  # else the seed is not on the page
    bob.locator("#new-tokens input[type=number]").press("Enter")
    for seed in ("1", "2", "3"):
        bob.locator("#seed input").fill(seed)
        write_to_the_end(bob, "w1 w2 w3", length=100, temperature="1.5")
        if "{{value}}" in (text := bob.locator("#write-stories").inner_text()):
            break
    assert "{{value}}" in text and "onerror" in text, "the model has written nothing odd: this tests nothing"
    assert bob.title() == title
    assert bob.locator("img[src=x]").count() == 0


def exported(page: Page, folder: Path) -> list[dict[str, str]]:
    page.locator("#judge-export").click()
    with page.expect_download() as download:
        page.locator("#judge-files a[download]").first.click()
    download.value.save_as(folder / "votes.csv")
    with (folder / "votes.csv").open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def judge(monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    endpoint = Endpoint()
    monkeypatch.setenv("JUDGE_BASE_URL", endpoint.url)
    monkeypatch.setenv("JUDGE_MODEL", "wise-1")
    yield endpoint
    endpoint.close()


def test_after_a_restart_a_browser_is_known_again_and_a_language_model_judges_all_pairs(
    judge: Endpoint, open_page: Callable[..., Page], serve: Callable[..., str], model: str, store: VoteStore
) -> None:
    store.add([pair_of("p")])
    first = blocks(model, store)
    _, address, _ = first.launch(prevent_thread_lock=True, quiet=True)
    page = shown(open_page(address))
    next_pair(page)
    vote(page, "tie")
    page.goto("about:blank")
    first.close(verbose=False)
    page.goto(serve(blocks(model, store), server_port=int(address.rstrip("/").rsplit(":", 1)[1])))
    shown(page).locator("#judge-next").click()
    expect(page.locator("#judge-pair")).to_contain_text("There is no pair")

    store.add([pair_of("q"), pair_of("r", story="<b>I refuse</b>")])

    def answer(request: dict) -> str:
        stories = stories_in(request)
        if "<b>I refuse</b>" in stories.values():
            return "<b>No.</b>"
        return "A" if stories["STORY A"] == "Its story." else "B"

    judge.answer = answer
    page.get_by_role("button", name="Ask the judge (wise-1)").click()
    expect(page.locator("#judge-progress")).to_contain_text("Done: 2 pairs judged. 1 without a verdict")
    expect(page.locator("#judge-progress")).to_contain_text("<b>No.</b>")
    expect(page.locator("#judge-plot")).to_contain_text("wise-1: 2 votes on 2 pairs")
    (tally,) = (tally for tally in store.tallies() if tally.judge)
    assert (tally.judge, tally.wins, tally.pairs) == ("wise-1", 2, 2)
    judge.requests.clear()
    judge.answer = lambda request: (401, {}, b"")
    page.locator("#judge-ask").click()
    expect(page.locator("#judge-progress").get_by_role("alert")).to_contain_text("HTTP 401")
    assert len(judge.requests) == 1  # only what has no verdict is asked about


def test_a_file_that_cannot_hold_votes_stops_the_app(model: str, tmp_path: Path) -> None:
    with pytest.raises(VotesUnavailable):
        lens_page(model, "Write", write_lens, tmp_path)
