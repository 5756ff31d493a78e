"""Runs that are shared, in real Chromium with the whole page: by a link, and by asking for the same again."""

import json
import logging
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from app import build
from core.store import TraceStore
from tests.browser.maps import pixels
from tests.writers import writer_model
from viz.page import models
from viz.page.models import ResidentModels

TEXT = " ".join(f"w{i}" for i in range(12, 20)) * 4


@pytest.fixture
def address(
    serve: Callable[..., str], tiny, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> str:
    own: Path = tmp_path_factory.mktemp("share")
    model = writer_model(tiny("llama-gqa").directory, own / "model")
    monkeypatch.setattr(models, "resident", ResidentModels((model,)))
    return serve(build(TraceStore(own / "runs"), model, votes=own / "votes.db"))


def run(page: Page, budget: str, says: str) -> None:
    page.locator("#text textarea").fill(TEXT)
    page.locator("#budget-1").fill(budget)
    page.locator("#run").click()
    expect(page.locator("#status")).to_contain_text(re.compile(f"Done: .*{says}"))


def computed(caplog: pytest.LogCaptureFixture) -> list[bool]:
    lines = (json.loads(record.message) for record in caplog.records if record.name == "multi_state")
    return [not line["from_store"] for line in lines]


def at(page: Page, step: str) -> None:
    expect(page.locator(".rm-number:visible")).to_have_text(step)


def test_a_run_is_opened_by_its_link_and_computed_once_and_a_lost_one_is_explained(
    open_page: Callable[..., Page], address: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "multi_state")
    page = open_page(address, permissions=["clipboard-read", "clipboard-write"])
    expect(page.locator("#status")).to_contain_text("A stored run")
    run(page, "5", r"in \d")
    last = page.locator(".rm-number:visible").inner_text().split(" / ")[1]
    page.locator(".rm-slider:visible input").focus()
    for _ in range(3):
        page.keyboard.press("ArrowLeft")
    there = f"{int(last) - 3} / {last}"
    at(page, there)
    page.locator("#copy-link").click()
    expect(page.locator("#link")).to_contain_text("Copied")
    link = page.evaluate("navigator.clipboard.readText()")
    assert re.fullmatch(re.escape(address) + rf"\?trace=[0-9a-f]{{64}}&step={int(last) - 3}", link)

    linked = open_page(link)
    at(linked, there)
    for part in (".rm-name", ".rm-note", ".rm-alternative"):
        expect(linked.locator(part).first).to_have_text(page.locator(part).first.inner_text(), use_inner_text=True)
    assert pixels(linked) == pixels(page)
    expect(linked.locator("#text textarea")).to_have_value(TEXT)
    expect(linked.locator("#budget-3")).to_have_value("5")
    assert computed(caplog) == [True]

    linked.goto(f"{address}?trace=../../etc/passwd&step=150")
    at(linked, "150 / 325")
    expect(linked.get_by_role("alert")).to_contain_text("not in the store of this app")
    linked.locator(".rm-slider:visible input").focus()
    linked.keyboard.press("ArrowLeft")
    linked.wait_for_url(re.compile(r"\?step=149$"))

    run(linked, "5", "comes from the store")
    assert computed(caplog) == [True, False]
    expect(linked.get_by_role("alert")).to_have_count(0)
