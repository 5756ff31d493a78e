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
from tests.traces import HOSTILE
from tests.writers import Endpoint, pair_of, stories_in, writer_model
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


@pytest.fixture
def open_tab(
    open_page: Callable[..., Page], serve: Callable[..., str], model: str, store: VoteStore
) -> Callable[..., Page]:
    """`open_tab()` opens the tab in a fresh browser; all of them are of one server."""
    address = serve(blocks(model, store))

    def open_(**context) -> Page:
        page = open_page(address, **context)
        page.get_by_role("tab", name="Write").click()
        expect(page.locator("#judge-plot")).to_contain_text("The paper: TOVA, budget 1,024")
        return page

    return open_


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


def test_it_opens_on_stored_stories_which_are_not_there_to_be_judged(
    open_tab: Callable[..., Page], store: VoteStore
) -> None:
    page = open_tab()
    expect(page.locator("#write-status")).to_contain_text("A stored example, made by this app. Press “Write stories”")
    expect(cards(page).locator("h4")).to_have_text(
        ["Full model", "TOVA, budget 64", "H2O, budget 64", "Window, budget 64"]
    )
    expect(cards(page).first).to_contain_text("160 tokens, stopped at the limit")
    expect(page.locator("#write-table")).to_contain_text("H2O, budget 64")
    page.locator("#judge-next").click()
    expect(page.locator("#judge-pair")).to_contain_text("There is no pair")
    assert store.without_verdict_of("gpt") == []


def test_a_chosen_full_model_writes_once_and_the_oracle_is_refused(open_tab: Callable[..., Page]) -> None:
    page = open_tab()
    choose(page, 2, "Full")
    write(page, "w1 w2 w3", budget=64)
    expect(told(page)).to_contain_text("Done")
    expect(cards(page).locator("h4")).to_have_text(["Full model", "TOVA, budget 64", "Window, budget 64"])
    choose(page, 1, "Oracle")
    write(page, "w1 w2 w3", budget=64)
    expect(told(page)).to_contain_text("The oracle needs to know the whole text beforehand")
    page.get_by_role("tab", name="Nothing").click()
    page.get_by_role("tab", name="Write").click()
    page.wait_for_timeout(1000)
    expect(cards(page)).to_have_count(3)  # the example does not come back


def test_stories_stand_side_by_side_with_their_numbers(open_tab: Callable[..., Page], store: VoteStore) -> None:
    store.add([pair_of("p", story="x" * 3000)])
    page = open_tab()
    expect(page.locator("#judge-ask")).to_have_count(0)  # no judge is configured
    expect(page.locator("#write-prompts textarea")).to_have_value(PROMPT)
    write_to_the_end(page, "w1 w2 w3", length=60)
    for card, name in zip(cards(page).all(), ("Full model", "TOVA", "H2O", "Window"), strict=True):
        expect(card.locator("h4")).to_contain_text(name)
        expect(card).to_contain_text(re.compile(r"\d+ tokens?, (ended by itself|stopped at the limit)"))
        expect(card).to_contain_text("distinct-1 / 2 / 3")
        assert card.locator("mark").count() == (name != "Full model")
    shared = cards(page).nth(1).locator(".shared").inner_text()
    assert cards(page).nth(0).locator(".text").inner_text().startswith(shared)
    table = page.locator("#write-table")
    for text in ("Full", "1566", "H2O, budget 6", "distinct-3"):
        expect(table).to_contain_text(text)
    next_pair(page)
    for width in (1440, 1024, 390):
        page.set_viewport_size({"width": width, "height": 844})
        page.wait_for_timeout(300)
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), width


def test_what_a_model_or_a_user_writes_stays_text(open_tab: Callable[..., Page], store: VoteStore) -> None:
    strange = " ".join((*HOSTILE[:4], "${document.title='owned'}", "{{value}}", "{{{value}}}"))
    store.add([pair_of("p", prompt=strange, full=strange, story=strange + ".")])
    page = open_tab()
    title = page.title()
    next_pair(page)
    expect(page.locator("#judge-pair .prompt")).to_have_text(strange.replace("\n", " "))
    assert cards(page, "#judge-pair").first.locator(".text").inner_text().rstrip(".") == strange
    page.locator("#new-tokens input[type=number]").fill("1")  # else the seed is not on the page
    page.locator("#new-tokens input[type=number]").press("Enter")
    for seed in ("1", "2", "3"):
        page.locator("#seed input").fill(seed)
        write_to_the_end(page, "w1 w2 w3", length=100, temperature="1.5")
        if "{{value}}" in (text := page.locator("#write-stories").inner_text()):
            break
    assert "{{value}}" in text and "onerror" in text, "the model has written nothing odd: this tests nothing"
    assert page.title() == title
    assert page.locator("img[src=x]").count() == 0


def test_the_writing_can_be_seen_and_stopped(open_tab: Callable[..., Page], store: VoteStore) -> None:
    page = open_tab()
    write(page, "\n".join(["w1 w2 w3"] * 100), length=60, temperature="0")
    expect(told(page)).to_contain_text(re.compile(r"Prompt ([3-9]|\d\d) of 100"))
    page.locator("#write-stop").click()
    expect(page.locator("#write-stopped")).to_contain_text("Stopped")
    page.wait_for_timeout(1000)
    stored = len(store.without_verdict_of("gpt"))
    assert 6 <= stored < 300 and stored % 3 == 0
    page.wait_for_timeout(1000)
    assert len(store.without_verdict_of("gpt")) == stored
    write_to_the_end(page, "w1 w2 w3")  # the model is free again
    expect(page.locator("#write-stopped")).to_be_empty()


def test_what_cannot_be_written_is_explained(open_tab: Callable[..., Page]) -> None:
    page = open_tab()
    for prompts, reason in (
        (" \n ", "Write a story prompt first"),
        ("w1\n" * 101, "a batch takes 100"),
        ("w" * 5000, "shorten it to 4,000"),
    ):
        write(page, prompts)
        expect(told(page)).to_contain_text(reason)
        expect(told(page)).to_have_attribute("role", "alert")


def test_two_browsers_judge_blind(open_tab: Callable[..., Page], store: VoteStore, tmp_path: Path) -> None:
    ann, bob = open_tab(), open_tab()
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


def exported(page: Page, folder: Path) -> list[dict[str, str]]:
    page.locator("#judge-export").click()
    with page.expect_download() as download:
        page.locator("#judge-files a[download]").first.click()
    download.value.save_as(folder / "votes.csv")
    with (folder / "votes.csv").open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def test_a_vote_is_for_the_story_that_was_preferred(open_tab: Callable[..., Page], store: VoteStore) -> None:
    store.add([pair_of(f"pair {i}") for i in range(4)])
    page = open_tab()
    for better in ("Its story.", "Its story.", "The full story.", None):
        next_pair(page)
        first = cards(page, "#judge-pair").first.locator(".text").inner_text()
        vote(page, "tie" if better is None else "a" if first == better else "b")
    (tally,) = store.tallies()
    assert (tally.wins, tally.ties, tally.losses, tally.pairs) == (2, 1, 1, 4)


def test_a_browser_is_known_again_after_a_restart(open_page: Callable[..., Page], model: str, store: VoteStore) -> None:
    store.add([pair_of("p")])
    page, port = None, None
    for round_ in (1, 2):
        app = blocks(model, store)
        _, address, _ = app.launch(prevent_thread_lock=True, quiet=True, server_port=port)
        port = int(address.rstrip("/").rsplit(":", 1)[1])
        if page is None:
            page = open_page(address)
        else:
            page.goto(address)
        page.get_by_role("tab", name="Write").click()
        expect(page.locator("#judge-plot")).to_contain_text("The paper")
        page.locator("#judge-next").click()
        if round_ == 1:
            expect(page.locator("#judge-a")).to_be_enabled()
            vote(page, "tie")
            page.goto("about:blank")
        else:
            expect(page.locator("#judge-pair")).to_contain_text("There is no pair")
        app.close(verbose=False)
    page.goto("about:blank")


@pytest.fixture
def judge(monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    endpoint = Endpoint()
    monkeypatch.setenv("JUDGE_BASE_URL", endpoint.url)
    monkeypatch.setenv("JUDGE_MODEL", "wise-1")
    yield endpoint
    endpoint.close()


def test_a_language_model_judges_all_pairs(judge: Endpoint, open_tab: Callable[..., Page], store: VoteStore) -> None:
    store.add([pair_of("p"), pair_of("q"), pair_of("r", story="<b>I refuse</b>")])

    def answer(request: dict) -> str:
        stories = stories_in(request)
        if "<b>I refuse</b>" in stories.values():
            return "<b>No.</b>"
        return "A" if stories["STORY A"] == "Its story." else "B"

    judge.answer = answer
    page = open_tab()
    page.get_by_role("button", name="Ask the judge (wise-1)").click()
    expect(page.locator("#judge-progress")).to_contain_text("Done: 2 pairs judged. 1 without a verdict")
    expect(page.locator("#judge-progress")).to_contain_text("<b>No.</b>")
    expect(page.locator("#judge-plot")).to_contain_text("wise-1: 2 votes on 2 pairs")
    (tally,) = store.tallies()
    assert (tally.judge, tally.wins, tally.pairs) == ("wise-1", 2, 2)
    judge.requests.clear()
    judge.answer = lambda request: (401, {}, b"")
    page.locator("#judge-ask").click()
    expect(page.locator("#judge-progress").get_by_role("alert")).to_contain_text("HTTP 401")
    assert len(judge.requests) == 1  # only what has no verdict is asked about


def test_a_file_that_cannot_hold_votes_stops_the_app(model: str, tmp_path: Path) -> None:
    with pytest.raises(VotesUnavailable):
        lens_page(model, "Write", write_lens, tmp_path)
