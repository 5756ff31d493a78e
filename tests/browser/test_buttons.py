"""What is clicked while an earlier click is still being answered, in Chromium."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import Any

import gradio as gr
from playwright.sync_api import Page, expect

from core.store import Stored
from tests.traces import random_trace
from viz.maps.payload import payload
from viz.maps.retention_map import RetentionMap
from viz.page.buttons import RUN, starting
from viz.page.lens import SharedRun
from viz.page.models import ALONE, one_by_one
from viz.page.page import Page as OurPage
from viz.tabs.panel import Panel

SOON = 30  # seconds until a test gives up waiting


def test_every_click_is_answered_and_the_last_answer_stays(serve: Callable[..., str], open_page: Callable[..., Page]):
    asked, let_go = [], threading.Event()

    def answer(name: str) -> str:
        asked.append(name)
        so_far = " ".join(asked)
        if name == "slow":
            let_go.wait(SOON)
        return so_far

    with gr.Blocks(analytics_enabled=False) as blocks:
        said = gr.Textbox(elem_id="said")
        for name in ("slow", "fast"):
            gr.Button(name).click(partial(answer, name), None, said, **one_by_one("answers"))
    page = open_page(serve(blocks))
    for name in ("slow", "fast", "fast"):
        page.get_by_role("button", name=name).click()
    page.wait_for_timeout(500)  # in which the quick answers would come, if they did not wait
    let_go.set()
    expect(page.locator("#said textarea")).to_have_value("slow fast fast")


def test_a_row_that_is_clicked_is_shown_while_the_model_is_busy(
    serve: Callable[..., str], open_page: Callable[..., Page]
) -> None:
    free, trace = threading.Event(), random_trace(seed=3, layers=5, n=60, budget=10)
    with OurPage(analytics_enabled=False) as blocks:  # a plain one may lose the first of two answers
        run, retention_map, said = SharedRun(), RetentionMap(), gr.Textbox(elem_id="said")
        run.stored = gr.State(Stored((trace,)))
        Panel(run, retention_map)
        blocks.load(lambda: payload([trace]), outputs=retention_map)
        gr.Button("compute").click(lambda: f"free: {free.wait(4 * SOON)}", outputs=said, **ALONE)
    page = open_page(serve(blocks))
    expect(page.locator(".rm-number")).to_have_text("59 / 59")
    page.get_by_role("button", name="compute").click()
    page.locator(".rm-list canvas").click(position={"x": 20, "y": 50})
    expect(page.locator("#row")).to_contain_text("the life of layer")
    expect(page.locator("#said textarea")).to_have_value("")
    free.set()
    expect(page.locator("#said textarea")).to_have_value("free: True")


def test_run_starts_what_is_asked_now_while_the_same_as_somebody_elses_is_awaited(
    serve: Callable[..., str], open_page: Callable[..., Page]
) -> None:
    ran, over = [], threading.Event()

    async def look(text: str) -> AsyncIterator[Any]:
        while text == "theirs" and not over.is_set():
            yield {line: "waiting"}
            await asyncio.sleep(0.1)
        yield RUN

    def run(text: str) -> Iterator[Any]:
        ran.append(text)
        yield {line: f"read: {text}"}

    with gr.Blocks(analytics_enabled=False) as blocks:
        text, line = gr.Textbox(elem_id="text"), gr.HTML(elem_id="line")
        starting(gr.Button("Run"), run, [text], [line], line, look)
    page = open_page(serve(blocks))
    for asked, shown in (("theirs", "waiting"), ("own", "read: own")):
        page.locator("#text textarea").fill(asked)
        page.get_by_role("button", name="Run").click()
        expect(page.locator("#line")).to_have_text(shown)
    over.set()
    page.get_by_role("button", name="Run").click()  # so that the first look has had its time
    expect(page.locator("#line")).to_have_text("read: own")
    assert set(ran) == {"own"}
