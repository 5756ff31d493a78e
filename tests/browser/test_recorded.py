"""A recorded run is opened on the page like any other, under its own name, and what is not known is said."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from playwright.sync_api import Page, expect

import core
from tests.conftest import text
from tests.core.recording.caches import ScriptedCache, at_random

NAME = "<b>mine</b>"


@pytest.fixture
def saved(tiny, tmp_path: Path) -> Path:
    """What a cache of one's own keeps of a tiny model's text."""
    model = tiny("llama-gqa").reference("sdpa", torch.float32)
    ids = torch.tensor([text("llama-gqa")])
    with core.record(model) as recording:
        model.generate(ids, past_key_values=ScriptedCache(3, at_random(8)), max_new_tokens=20, do_sample=False)
    recording.trace(name=NAME).save(tmp_path / "run.npz")
    return tmp_path / "run.npz"


def test_a_recorded_run_on_the_page(open_page: Callable[..., Page], whole_page: str, saved: Path) -> None:
    page = open_page(whole_page)
    expect(page.locator("#status")).to_contain_text("A stored run")
    page.locator("input[type=file][accept='.npz']").first.set_input_files(saved)
    expect(page.locator("#status")).to_contain_text("Opened: run.npz, 41 tokens")
    expect(page.locator(".rm-name:visible").first).to_have_text(NAME)
    expect(page.locator(".rm-note:visible").first).to_have_text(
        re.compile(r"8 rows in each of 6 KV heads · \d+% of them not recent · first token (in|forgotten)")
    )
    expect(page.locator(".rm-alternative").first).to_contain_text("48 rows kept of 246 read")
    page.locator(".rm-t").nth(12).click()
    expect(page.locator("#fates")).to_contain_text(NAME)
    page.locator("#watch canvas").first.click(position={"x": 300, "y": 60})
    expect(page.locator("#fates")).to_contain_text("a recording does not tell why")
    page.get_by_role("tab", name="Cost").click()
    expect(page.get_by_text("so what its cache cost is not known")).to_be_visible()
    page.get_by_role("tab", name="Tokens").click()
    expect(page.locator("#tokens-sentences")).to_contain_text(f"{NAME}: first token kept to the end in ")
    expect(page.locator("#tokens-ages")).to_contain_text("its budget is not known")
    expect(page.locator("#tokens-recency")).to_contain_text(NAME)
