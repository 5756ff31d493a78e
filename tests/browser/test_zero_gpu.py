"""The app on a ZeroGPU Space, with a stand-in for the package that lends the GPU: what a person and a program see."""

import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError
from playwright.sync_api import Locator, Page, expect

from tests.browser.apps import ROOT, App, running
from tests.browser.lenses import choose
from tests.browser.runs import begin, says
from tests.talkers import make_talker

TEXT = "Maud lit the lamp. The ship's bell rang, and Maud lit the lamp again, and the light went out over the water."
LONG = TEXT * 60
STOPPED = 30  # seconds in which a run that nobody waits for ends, on a busy machine


@dataclass(frozen=True)
class Space:
    """The app, what it is asked for, and what the stand-in does."""

    app: App
    model: str
    notes: Path
    refusal: Path

    def lent(self) -> list[int]:
        """Which processes have had the GPU, one entry for each time."""
        return [int(line) for line in self.notes.read_text().split()] if self.notes.exists() else []

    def ended(self, n: int) -> list[dict]:
        """All runs, when there are n."""
        end = time.monotonic() + STOPPED
        while len(runs := self.app.runs()) < n:
            assert time.monotonic() < end, f"{len(runs)} of {n} runs are logged"
            time.sleep(0.1)
        return runs


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Space]:
    folder = tmp_path_factory.mktemp("space")
    model = make_talker(tmp_path_factory.mktemp("talker"), chats=True)
    environment = {
        "SPACES_ZERO_GPU": "true",
        "PYTHONPATH": str(ROOT / "tests" / "stand_in"),
        "STAND_IN_NOTES": str(folder / "notes"),
        "STAND_IN_REFUSAL": str(folder / "refusal"),
    }
    with running(folder, "--model", model, **environment) as app:
        yield Space(app, model, folder / "notes", folder / "refusal")


@pytest.fixture
def open_space(open_page: Callable[..., Page], space: Space) -> Callable[..., Page]:
    def open_(**context) -> Page:
        page = open_page(space.app.address, **context)
        expect(page.locator("#status .done")).to_be_visible()  # "Model ready": Gradio has let all first events in
        expect(page.locator(".rm-number").first).to_have_text("325 / 325")
        return page

    return open_


@contextmanager
def borrowing(space: Space) -> Iterator[None]:
    """Whatever is done here with a model, the GPU is borrowed for."""
    before = len(space.lent())
    yield
    assert len(space.lent()) > before
    assert httpx.get(space.app.address + "health").json()["models"] == {"loaded": [], "loading": None}


def run_in(page: Page, tab: str) -> Locator:
    """Press the Run of that tab; gives what its status says from then on."""
    own = "" if tab == "watch" else f"{tab}-"
    status = page.locator(f"#{own}status")
    begin(page.locator(f"#{own}run"), status)
    return says(status)


def show(page: Page, tab: str) -> None:
    page.get_by_role("tab", name=tab, exact=True).click()


def number(page: Page, control: str, value: int) -> None:
    page.locator(f"#{control} input[type=number]").fill(str(value))
    page.locator(f"#{control} input[type=number]").press("Enter")


def write(page: Page, text: str) -> None:
    page.locator("#text textarea").fill(text)


def read(page: Page, budget: int) -> Locator:
    write(page, TEXT)
    page.locator("#budget-1").fill(str(budget))
    expect(page.locator("#budget-3")).to_have_value(str(budget))
    return run_in(page, "watch")


def test_whatever_is_done_with_a_model_borrows_the_gpu(open_space: Callable[..., Page], space: Space) -> None:
    page = open_space()
    with borrowing(space):
        choose(page, 3, "Oracle")
        expect(read(page, 8)).to_contain_text(re.compile(r"Done: \d+ tokens in"))
        page.locator("#watch canvas").first.click(position={"x": 250, "y": 60})
        expect(page.locator("#row")).to_contain_text("the life of layer")
        before = len(space.lent())
        page.get_by_label("colour by attention").check()
        expect(page.locator("#row")).to_contain_text("10⁻³")
        assert len(space.lent()) == before + 1
        expect(run_in(page, "watch")).to_contain_text("comes from the store")
        (*_, computed, told) = space.ended(2)
        assert [run["from_store"] for run in (computed, told)] == [False, True]
        assert computed["tab"] == "watch" and computed["outcome"] == "done"
        assert computed["tokens"] == told["tokens"] == len(TEXT) and computed["policies"] == ["tova", "h2o", "oracle"]
        assert len(set(space.lent())) == 1  # the process is kept, and the model in it
        show(page, "Cost")
        expect(page.locator("#cost-table")).to_contain_text("Oracle, budget 8")
        before = len(space.lent())
        page.locator("#cost-losses [data-testid=cell-0-0]").click()
        expect(page.locator("#cost-missed")).to_contain_text("of the full model's attention falls on tokens")
        assert len(space.lent()) == before + 1
    with borrowing(space):
        choose(page, 3, "Window+i")
        show(page, "Budget")
        page.get_by_label("Budgets, with commas between").fill("8, 32")
        expect(run_in(page, "sweep")).to_contain_text("Done")
        expect(page.locator("#sweep-table")).to_contain_text("Window+i")
        expect(page.locator("#sweep-table")).to_contain_text("Short context")
    with borrowing(space):
        show(page, "Ask")
        number(page, "ask-length", 512)
        page.locator("#ask-needle").click()
        expect(page.locator("#ask-document textarea")).to_have_value(re.compile("clockmaker is 7394"))
        expect(run_in(page, "ask")).to_contain_text("Done")
        expect(page.locator("#ask-answers article").first).to_contain_text("evidence kept at the question: 100%")
        page.locator("#ask-question textarea").fill(" ")
        expect(run_in(page, "ask")).to_contain_text("There is no question")  # as the other process says
        for length in ("128", "256"):
            page.locator("#matrix-lengths").get_by_label(length, exact=True).uncheck()
        page.locator("#matrix-lengths").get_by_label("512", exact=True).check()
    with borrowing(space):
        expect(run_in(page, "matrix")).to_contain_text("Done")
        expect(page.locator("#matrix-plot")).to_contain_text("TOVA")
    with borrowing(space):
        show(page, "Write")
        page.locator("#write-prompts textarea").fill("A lamp.\nA bell.")
        number(page, "write-length", 16)
        expect(run_in(page, "write")).to_contain_text("They can be judged blind, below.")
        page.locator("#judge-next").click()
        page.locator("#judge-a").click()
        expect(page.locator("#judge-status")).to_contain_text("Your vote is stored")


def test_programs_borrow_it_too(space: Space) -> None:
    client, before, former = Client(space.app.address, verbose=False), len(space.lent()), len(space.app.runs())
    trace = client.predict(TEXT, budget=12, model=space.model, file=True, api_name="/trace")
    assert len(trace["pieces"]) == len(TEXT) and Path(trace["file"]).stat().st_size > 0
    compared = client.predict(TEXT, ["tova", "oracle"], [8], model=space.model, api_name="/compare")
    assert [cost["policy"]["key"] for cost in compared["costs"]] == ["full", "tova", "oracle"]
    swept = client.predict(TEXT, ["tova"], [8], model=space.model, api_name="/sweep")
    assert swept["model"] == space.model and len(swept["points"]) == 3
    assert len(space.lent()) == before + 3
    with pytest.raises(AppError, match="The text is empty"):
        client.predict(" ", model=space.model, api_name="/trace")
    with pytest.raises(AppError, match="--any-model"):
        client.predict(TEXT, model="someone/else", api_name="/trace")
    space.refusal.write_text("You have exceeded your quota.")
    try:
        with pytest.raises(AppError, match=r"The GPU of this Space .*exceeded your quota.*try again later"):
            client.predict(TEXT, ["tova"], [8], model=space.model, api_name="/sweep")
    finally:
        space.refusal.unlink()
    assert [run["outcome"] for run in space.ended(former + 6)[former:]] == ["done"] * 3 + ["refused"] * 2 + ["failed"]


def begin_a_long_one(page: Page) -> None:
    write(page, LONG)
    page.get_by_role("tab").nth(3).click()
    expect(run_in(page, "sweep")).to_contain_text(re.compile("tokens; about|个词元；约"))


def test_who_stops_or_leaves_gives_the_gpu_back_and_after_one_that_fails_the_next_run_goes(
    open_space: Callable[..., Page], space: Space
) -> None:
    before = len(space.app.runs())
    page = open_space()
    space.refusal.write_text("You have exceeded your <b>quota</b>.")
    try:
        expect(read(page, 10)).to_contain_text(
            "The GPU of this Space is not to be had (You have exceeded your <b>quota"
        )
    finally:
        space.refusal.unlink()
    begin_a_long_one(page)
    page.locator("#sweep-stop").click()
    expect(page.locator("#sweep-stopped")).to_contain_text("Stopped.")
    assert [run["outcome"] for run in space.ended(before + 2)[before:]] == ["failed", "stopped"]

    chinese = open_space(locale="zh-CN")  # to the other process, which has spoken English alone
    write(chinese, TEXT)
    chinese.get_by_role("tab").nth(3).click()
    chinese.locator("#sweep-budgets textarea, #sweep-budgets input").fill("8")
    with borrowing(space):
        expect(run_in(chinese, "sweep").and_(chinese.locator(".done"))).to_be_visible()
    expect(chinese.locator("#sweep-table")).to_contain_text("短上下文")
    begin_a_long_one(chinese)
    chinese.close()
    assert [run["outcome"] for run in space.ended(before + 4)[before + 2 :]] == ["done", "stopped"]

    begin_a_long_one(page)
    os.kill(space.lent()[-1], signal.SIGKILL)
    expect(page.locator("#sweep-status")).to_contain_text("GPU task aborted")
    show(page, "Watch")
    with borrowing(space):
        expect(read(page, 10)).to_contain_text("Done")
