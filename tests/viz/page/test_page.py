"""The server of a page, asked over HTTP."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import gradio as gr
import httpx
import pytest
from gradio import networking
from gradio.route_utils import API_PREFIX
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send

import app
from core.store import TraceStore
from viz.page import limits
from viz.page.models import ALONE
from viz.page.page import MIDDLEWARE, Page

SOON = 30  # seconds in which a server does what it has to, on a busy machine


class Arrivals:
    """Counts the requests to cancel that have come to the server."""

    def __init__(self) -> None:
        self.n = 0

    def middleware(self, app: ASGIApp) -> ASGIApp:
        async def count(scope: Scope, receive: Receive, send: Send) -> None:
            self.n += scope["type"] == "http" and scope["path"].endswith("/cancel")
            await app(scope, receive, send)

        return count


def wait_until(what: Callable[[], bool]) -> None:
    end = time.monotonic() + SOON
    while not what():
        assert time.monotonic() < end, "it does not happen"
        time.sleep(0.01)


class Chunks:
    """What two runs compute, one after the other, each until it is let go.

    Attributes:
        reading: one for each run, set as soon as it computes.
        over: one for each run; it computes until this is set.
        ended: the runs that have come to their end.
    """

    def __init__(self) -> None:
        self.begun = 0
        self.reading = [threading.Event() for _ in range(2)]
        self.over = [threading.Event() for _ in range(2)]
        self.ended: list[int] = []

    def run(self) -> Iterator[str]:
        own, self.begun = self.begun, self.begun + 1
        yield "a first report"
        self.reading[own].set()
        self.over[own].wait(SOON)
        yield "a second report"
        self.ended.append(own)


@pytest.fixture
def chunks() -> Iterator[Chunks]:
    chunks = Chunks()
    yield chunks
    for over in chunks.over:
        over.set()


def test_a_page_that_comes_late_is_served_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(networking, "url_ok", lambda _: False)  # what Gradio finds after three seconds
    with Page(analytics_enabled=False) as page:
        gr.Markdown("It is there.")
    _, address, _ = page.launch(prevent_thread_lock=True, quiet=True)
    assert "It is there." in httpx.get(address, timeout=SOON).text
    page.close(verbose=False)


def test_a_run_that_is_stopped_twice_ends_without_an_error_and_the_next_one_goes_on(chunks: Chunks) -> None:
    arrivals = Arrivals()
    with Page(analytics_enabled=False) as page:
        gr.Button().click(chunks.run, None, gr.Textbox(), concurrency_limit=1)
    middleware = [Middleware(arrivals.middleware), *MIDDLEWARE]
    server, address, _ = page.launch(prevent_thread_lock=True, quiet=True, app_kwargs={"middleware": middleware})
    api = address.rstrip("/") + API_PREFIX
    asked = {"session_hash": "somebody", "fn_index": 0}

    def post(path: str, **others: object) -> httpx.Response:
        return httpx.post(api + path, json=asked | others, timeout=SOON)

    event = post("/queue/join", data=[]).json()["event_id"]
    assert chunks.reading[0].wait(SOON)
    with ThreadPoolExecutor(2) as people:
        first = people.submit(post, "/cancel", event_id=event)
        wait_until(server.lock.locked)  # the run is being ended, as soon as it has read its chunk
        second = people.submit(post, "/cancel", event_id=event)
        wait_until(lambda: arrivals.n == 2)
        other = post("/cancel", session_hash="somebody else", event_id="another")  # need not wait for the chunk
        assert other.status_code == 200
        post("/queue/join", data=[])
        chunks.over[0].set()
        assert chunks.reading[1].wait(SOON)
        answers = [first.result(), second.result()]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert event not in server.iterators
    chunks.over[1].set()
    wait_until(lambda: chunks.ended == [1])
    page.close(verbose=False)


def test_clicks_that_wait_for_the_model_leave_room_for_a_run(chunks: Chunks) -> None:
    def run(_text: str) -> Iterator[str]:
        yield from chunks.run()

    def clicked(text: str, _event: gr.EventData) -> str:
        return text

    with Page(analytics_enabled=False) as page:
        text = gr.Textbox()
        gr.Button().click(run, text, text, **ALONE)
        text.select(clicked, text, text, **ALONE)
    _, address, _ = page.launch(prevent_thread_lock=True, quiet=True)

    def asked(fn: int) -> int:
        what = {"session_hash": "somebody", "fn_index": fn, "data": ["x"], "event_data": {}}
        return httpx.post(f"{address.rstrip('/')}{API_PREFIX}/queue/join", json=what, timeout=SOON).status_code

    assert asked(0) == 200
    assert chunks.reading[0].wait(SOON)
    most = limits.current.max_waiting
    assert [asked(1) for _ in range(most + 1)] == [200] * most + [422]
    assert [asked(0) for _ in range(most + 1)] == [200] * most + [422]
    page.close(verbose=False)


def test_what_a_handler_yields_reaches_the_browser_whole() -> None:
    """Else a value that the browser has not shown yet is changed by the next."""
    values = [{"a": 1, "b": [1, 2]}, {"a": 1, "b": [1, 2, 3]}, {"c": 0}]

    def yields() -> Iterator[object]:
        for value in values:
            yield gr.update(value=value)

    with Page(analytics_enabled=False) as page:
        gr.Button().click(yields, None, gr.JSON())
    _, address, _ = page.launch(prevent_thread_lock=True, quiet=True)
    queue = address.rstrip("/") + API_PREFIX + "/queue"
    asked = {"session_hash": "somebody", "fn_index": 0, "data": []}
    httpx.post(f"{queue}/join", json=asked, timeout=SOON)
    lines = httpx.get(f"{queue}/data", params={"session_hash": "somebody"}, timeout=SOON).text.splitlines()
    messages = [json.loads(line.removeprefix("data: ")) for line in lines if line]
    first, *others, last = [message["output"]["data"][0] for message in messages if message.get("output")]
    assert [first["value"], last["value"]] == [values[0], values[-1]]
    assert [(change, path, what["value"]) for ((change, path, what),) in others] == [
        ("replace", [], value) for value in values[1:]
    ]
    page.close(verbose=False)


def test_events_drop_no_click_and_make_the_browser_update_few_components(tmp_path: Path) -> None:
    """At every message about an event the browser updates its inputs, and where it shows progress, one by one."""
    page = gr.Blocks.get_config_file(app.build(TraceStore(tmp_path / "runs", 10), votes=tmp_path / "votes.db"))
    endpoints = {each["id"] for each in page["components"] if each["type"] == "api"}
    events = [each for each in page["dependencies"] if not endpoints & {*each["inputs"], *each["outputs"]}]
    assert len(events) > 50
    for event in events:
        progress = event["outputs"] if event["show_progress_on"] is None else event["show_progress_on"]
        assert len(progress) <= 1, event["api_name"]
        assert not event["backend_fn"] or len(event["inputs"]) <= 6, event["api_name"]
        # what a click is about reaches the handler in no other mode, see `one_by_one`
        assert not event["collects_event_data"] or event["trigger_mode"] == "multiple", event["api_name"]
