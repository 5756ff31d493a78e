"""Runs from files, opened in real Chromium with the whole page: a recorded one, and a long one of the README."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from playwright.sync_api import Page, expect

import core
from core import NEVER, Tokens, Trace
from tests.conftest import text
from tests.core.recording.caches import ScriptedCache, at_random
from viz.examples.example_texts import first_run
from viz.maps.payload import window_at
from viz.page import limits

NAME = "<b>mine</b>"
N = 300_000


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


def repeated(trace: Trace, n: int) -> Trace:
    """The trace of n tokens, as if its text were read over and over and everything forgotten within one reading."""
    old = len(trace)
    times = -(-n // old)
    rng = np.random.default_rng(0)

    def tiled(array: np.ndarray) -> np.ndarray:
        return np.tile(array, times)[..., :n]

    evicted_at = tiled(trace.evicted_at)
    evicted_at = np.where(evicted_at == NEVER, old + np.arange(n) % 64, evicted_at) + np.arange(n) // old * old
    evicted_at = np.where(evicted_at < n, evicted_at, NEVER).astype(np.int32)

    def measured(kept: float) -> np.ndarray:
        numbers = rng.random(evicted_at.shape, np.float32)
        return np.where(evicted_at == NEVER, np.float32(kept), numbers)

    pieces = (trace.tokens.pieces * times)[:n]
    ends = np.cumsum([len(piece) for piece in pieces], dtype=np.int32)
    starts = np.concatenate([[0], ends[:-1]]).astype(np.int32)
    tokens = Tokens(
        ids=tiled(trace.tokens.ids),
        pieces=pieces,
        offsets=np.stack([starts, ends], axis=1),
        special=tiled(trace.tokens.special),
        continued=tiled(trace.tokens.continued),
    )
    return replace(
        trace,
        tokens=tokens,
        prompt_length=n,
        evicted_at=evicted_at,
        nll=np.concatenate([trace.nll[:1], rng.random(n - 1, np.float32)]),
        importance_at_eviction=measured(np.nan),
        runner_up_importance=measured(np.nan),
        attention_received=measured(0.5),
    )


def open_run(page: Page, file: Path) -> None:
    with page.expect_file_chooser() as chooser:
        page.locator("#open").click()
    chooser.value.set_files(file)


def test_a_long_run_opens_by_windows_where_the_owner_allows_it(
    open_page: Callable[..., Page], whole_page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace, file = repeated(first_run().traces[1], N), tmp_path / "long.npz"
    monkeypatch.setattr(np, "savez_compressed", np.savez)  # random numbers stay as large, after twelve seconds
    trace.save(file)
    page = open_page(whole_page)
    status, shown, step = (page.locator(f"{place}:visible") for place in ("#status", ".rm-window p", ".rm-number"))
    open_run(page, file)
    expect(status).to_contain_text("at most 20 are allowed here")
    expect(status).to_contain_text("--max-upload-mb")

    monkeypatch.setattr(limits, "current", replace(limits.current, max_upload_mb=200))
    open_run(page, file)
    expect(status).to_contain_text("Opened: long.npz, 300,000 tokens")
    last = window_at(N, N - 1)
    expect(shown).to_have_text(f"tokens {last.start:,}–{last.stop - 1:,} of 300,000")
    expect(step).to_have_text(f"{N - 1} / {N - 1}")
    alternative = page.locator(".rm-alternative").first
    expect(alternative).to_contain_text(f"{trace.kept(N - 1).sum():,} rows kept of {30 * N:,} read")
    page.get_by_role("button", name="earlier").click()
    expect(shown).to_have_text(f"tokens {last.start - 4096:,}–{last.start - 1:,} of 300,000")
