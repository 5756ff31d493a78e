"""What is clicked while an earlier click is still being answered, in Chromium."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import Any

import gradio as gr
from playwright.sync_api import Page, expect

from viz.page.buttons import RUN, starting
from viz.page.models import one_by_one

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
