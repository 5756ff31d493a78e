"""The app with server-side rendering, as a Space has it: Node answers in front of Python and passes some paths on."""

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from gradio_client import Client
from playwright.sync_api import Page, expect

from core import Trace
from tests.browser.apps import App, running
from tests.browser.runs import begin, says
from tests.talkers import make_talker

TEXT = "Maud lit the lamp. The ship's bell rang, and Maud lit the lamp again."
LAST = len(TEXT) - 1


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_talker(tmp_path_factory.mktemp("talker"), chats=True)


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory, model: str) -> Iterator[App]:
    if shutil.which("node") is None:
        pytest.skip("node is not installed (apt-get install nodejs)")
    with running(tmp_path_factory.mktemp("ssr"), "--model", model, GRADIO_SSR_MODE="True") as app:
        page, by_node = httpx.get(app.address, timeout=60).text, "data-sveltekit-preload-data"
        assert by_node in page, f"Gradio has fallen back to Python: {app.log.read_text()}"
        yield app


@pytest.fixture
def open_app(open_page: Callable[..., Page], app: App) -> Callable[..., Page]:
    def open_(query: str = "", **context) -> Page:
        page = open_page(app.address + query, **context)
        expect(page.locator("#status .done")).to_be_attached()
        return page

    return open_


def at(page: Page, step: str) -> None:
    expect(page.locator(".rm-number").first).to_have_text(step)


def test_health_is_passed_on(app: App, model: str) -> None:
    answer = httpx.get(app.address + "gradio_api/health")
    assert answer.is_success and answer.json()["status"] == "ok" and answer.json()["models"]["loaded"] in ([], [model])


def test_a_run_is_shared_by_its_link_saved_and_opened(open_app: Callable[..., Page], tmp_path: Path) -> None:
    page = open_app(permissions=["clipboard-read", "clipboard-write"])
    page.locator("#text textarea").fill(TEXT)
    begin(page.locator("#run"), page.locator("#status"))
    expect(says(page.locator("#status"))).to_contain_text("Done")
    page.locator(".rm-slider:visible input").focus()
    page.keyboard.press("ArrowLeft")
    page.wait_for_url(re.compile(rf"\?trace=[0-9a-f]{{64}}&step={LAST - 1}$"))
    page.locator("#copy-link").click()
    expect(page.locator("#link")).to_contain_text("Copied")
    link = page.evaluate("navigator.clipboard.readText()")
    assert link == page.url
    page.locator("#export").click()
    with page.expect_download() as download:
        page.locator("#files a[href$='.npz']").first.click()
    saved = tmp_path / "run.npz"
    download.value.save_as(saved)
    assert "".join(Trace.load(saved).tokens.pieces) == TEXT

    linked = open_app(link[link.index("?") :])
    at(linked, f"{LAST - 1} / {LAST}")
    expect(linked.locator("#text textarea")).to_have_value(TEXT)
    other = open_app("?step=150")
    at(other, "150 / 325")
    other.locator("input[type=file][accept='.npz']").first.set_input_files(saved)
    expect(other.locator("#status")).to_contain_text("Opened: run.npz")
    at(other, f"{LAST} / {LAST}")


def test_the_address_chooses_projector_and_theme_and_the_browser_the_language(open_app: Callable[..., Page]) -> None:
    page = open_app("?projector&step=100")
    at(page, "100 / 325")
    expect(page.locator("body")).to_have_class(re.compile(r"\bprojector\b"))
    page.keyboard.press("Escape")
    expect(page.locator("body")).not_to_have_class(re.compile(r"\bprojector\b"))
    for query, scheme in (("?__theme=dark", "light"), ("", "dark"), ("?__theme=light", "dark")):
        page = open_app(query, color_scheme=scheme)
        classes = page.locator("body").get_attribute("class").split()
        assert ("dark" in classes) == (query != "?__theme=light")
    page = open_app(locale="zh-CN")
    at(page, "325 / 325")
    expect(page.locator("#run")).to_have_text("运行")
    expect(page.locator("#status")).to_contain_text("模型已就绪")
    expect(page.locator(".rm-note").first).to_contain_text("30 层各 64 行")
    expect(page.locator(".rm-name").first).to_contain_text("预算 64")


def test_programs_are_passed_on_too(app: App, model: str) -> None:
    client = Client(app.address, verbose=False)
    trace = client.predict(TEXT, budget=8, model=model, file=True, api_name="/trace")
    assert "".join(trace["pieces"]) == TEXT
    assert Trace.load(trace["file"]).evicted_at.tolist() == trace["evicted_at"]
