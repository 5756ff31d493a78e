"""A run of 300,000 tokens, as the README tells of, opened in real Chromium with the whole page."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from app import build
from core import NEVER, Tokens, Trace
from core.store import TraceStore
from viz.examples.example_texts import first_run
from viz.maps.payload import window_at
from viz.page import limits

N = 300_000


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
    serve: Callable[..., str], open_page: Callable[..., Page], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace, file = repeated(first_run().traces[1], N), tmp_path / "long.npz"
    trace.save(file)
    page = open_page(serve(build(TraceStore(tmp_path / "runs"), votes=tmp_path / "votes.db")))
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
