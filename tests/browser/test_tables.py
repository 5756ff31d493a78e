"""A table that a Chinese page shows is exported in English, with all digits, as the points of the curves beside it."""

import csv
from collections.abc import Callable
from pathlib import Path

import gradio as gr
import pytest
from playwright.sync_api import Page as Window
from playwright.sync_api import expect

from core.experiments.records import POINT_COLUMNS
from tests.writers import writer_model
from viz.page import models
from viz.page.models import ResidentModels
from viz.page.page import Page
from viz.tabs.budget import budget_tab
from viz.words.labels import translate

TEXT = "The keeper lit the lamp, and the lamp lit the sea, and the sea kept what it was told. " * 2


def test_a_sweep_in_chinese_is_exported_in_english(
    tiny: Callable,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    serve: Callable[..., str],
    open_page: Callable[..., Window],
) -> None:
    directory = writer_model(tiny("llama-gqa").directory, tmp_path / "model")
    monkeypatch.setattr(models, "resident", ResidentModels((directory,)))
    with Page(analytics_enabled=False) as blocks:
        budget_tab(gr.Dropdown([directory], value=directory), gr.Textbox(TEXT))
    translate(blocks)
    page = open_page(serve(blocks), locale="zh-CN")
    table = page.locator("#sweep-table")
    expect(table).to_contain_text("困惑度")

    page.locator("#sweep-export").click()
    expect(page.locator("#sweep-files a")).to_have_count(0)  # there is nothing yet
    page.locator("#sweep-budgets textarea, #sweep-budgets input").fill("8, 16")
    page.locator("#sweep-run").click()
    expect(page.locator("#sweep-status")).to_contain_text("完成")
    expect(table).to_contain_text("短上下文")

    page.locator("#sweep-export").click()
    with page.expect_download() as download:
        page.locator("#sweep-files a").first.click()
    download.value.save_as(tmp_path / "sweep.csv")
    with (tmp_path / "sweep.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert download.value.suggested_filename == "sweep.csv" and tuple(rows[0]) == POINT_COLUMNS
    assert [row["policy"] for row in rows][:2] == ["Full", "Short context"] and len(rows) == 11
    perplexities = [row["perplexity"] for row in rows]
    assert all(len(number.split(".")[1]) > 6 for number in perplexities)
    for number in perplexities:
        expect(table).to_contain_text(f"{round(float(number), 3)}")
