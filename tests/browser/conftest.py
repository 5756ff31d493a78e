"""Real Chromium and a real gradio server for the tests of what people see."""

from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr
import pytest
from playwright.sync_api import ConsoleMessage, Error, Page, Request, expect, sync_playwright

import app
from core.store import TraceStore
from tests.browser.maps import HOST, show
from tests.browser.windows import Windows
from viz.maps.payload import Payload
from viz.maps.standalone import SCRIPT
from viz.page.page import MIDDLEWARE
from viz.templates import static
from viz.words.labels import PageWords

CHROMIUM = "/usr/bin/chromium-headless-shell"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

expect.set_options(timeout=60_000)  # a busy machine may take a while to answer


@pytest.fixture(scope="session")
def windows() -> Iterator[Windows]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield Windows(browser)
        browser.close()


@pytest.fixture(scope="module")
def serve() -> Iterator[Callable[..., str]]:
    """`serve(blocks)` starts a server that speaks the languages of browsers, and gives its address."""
    started = []
    speaking = {"app_kwargs": {"middleware": MIDDLEWARE}, "i18n": PageWords()}

    def start(blocks: gr.Blocks, **launch: Any) -> str:
        started.append(blocks)
        return blocks.launch(prevent_thread_lock=True, quiet=True, **speaking, **launch)[1]

    yield start
    for blocks in started:
        blocks.close(verbose=False)


@pytest.fixture(scope="module")
def whole_page(serve: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of all that there is, in this process, without any model."""
    folder = tmp_path_factory.mktemp("page")
    page = app.build(TraceStore(folder / "runs", 10), votes=folder / "votes.db")
    return serve(page, theme=app.THEME, css=static("page.css"))


@pytest.fixture
def open_page(windows: Windows) -> Iterator[Callable[..., Page]]:
    """`open_page(address, **context)` opens a browser window on it, e.g. ``viewport``, ``color_scheme``.

    Afterwards no script may have failed, and no request may have left for another host.
    """
    pages: list[tuple[Page, dict[str, Any]]] = []
    errors: list[str] = []
    requests: list[str] = []

    def failed(error: Error) -> None:
        if error.name != "AbortError" and "AbortError" not in error.message:  # gradio's requests, when a page is left
            errors.append(str(error))

    def complained(message: ConsoleMessage) -> None:
        url = message.location["url"]
        ours = not url.endswith("/favicon.ico")  # that is asked of a proxy's root, not of us
        if message.type == "error" and ours and not message.text.startswith("AbortError"):
            errors.append(f"{message.text} ({url})")

    def requested(request: Request) -> None:
        requests.append(request.url)

    heard = {"pageerror": failed, "console": complained, "request": requested}

    def open_(address: str, **context: Any) -> Page:
        settings = {"viewport": {"width": 1280, "height": 900}} | context
        page = windows.take(settings)
        for event, handler in heard.items():
            page.on(event, handler)
        page.goto(address)
        pages.append((page, settings))
        return page

    yield open_
    for page, settings in pages:
        for event, handler in heard.items():
            page.remove_listener(event, handler)
        windows.leave(page, settings)
    assert errors == []
    local = ("http://127.0.0.1:", "http://localhost:", "data:", "blob:", "file:", "about:")
    assert [url for url in requests if not url.startswith(local)] == []


@pytest.fixture(scope="session")
def host(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of the page `HOST`."""
    file = tmp_path_factory.mktemp("host") / "map.html"
    file.write_text(HOST, encoding="utf-8")
    return file.as_uri()


@pytest.fixture
def map_page(open_page: Callable[..., Page], host: str) -> Callable[..., Page]:
    """`map_page(payload, theme="dark", **context)` opens a page with nothing but a map."""

    def open_(sent: Payload, theme: str = "light", **context: Any) -> Page:
        page = open_page(host, **context)
        page.evaluate("theme => document.body.classList.toggle('dark', theme === 'dark')", theme)
        show(page, sent)
        return page

    return open_


@pytest.fixture
def functions(open_page: Callable[..., Page]) -> Page:
    """A blank page in which the scripts of the map are defined."""
    page = open_page("about:blank")
    page.add_script_tag(content=SCRIPT)
    return page
