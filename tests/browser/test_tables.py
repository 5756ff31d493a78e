"""A table that a Chinese page shows is exported in English, with all digits, as the points of the curves beside it."""

import csv
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page as Window
from playwright.sync_api import expect

from core.experiments.records import POINT_COLUMNS, points
from tests.browser.lenses import lens_page
from tests.writers import writer_model
from viz.examples.sweep import example_sweep
from viz.tabs.budget import budget_lens
from viz.words.labels import translate

TEXT = "The keeper lit the lamp, and the lamp lit the sea, and the sea kept what it was told. " * 2


def test_a_sweep_in_chinese_is_exported_in_english(
    tiny: Callable,
    tmp_path: Path,
    serve: Callable[..., str],
    open_page: Callable[..., Window],
) -> None:
    model = writer_model(tiny("llama-gqa").directory, tmp_path / "model")
    blocks = lens_page(model, "Budget", budget_lens)
    translate(blocks)
    page = open_page(serve(blocks), locale="zh-CN")
    page.get_by_role("tab", name="Budget").click()
    table = page.locator("#sweep-table")
    expect(table).to_contain_text("困惑度")
    assert numbers_of(exported(page, tmp_path)) == [point.perplexity for point in points(example_sweep())]

    page.locator("#text textarea").fill(TEXT)
    page.locator("#sweep-budgets textarea, #sweep-budgets input").fill("8, 16")
    page.locator("#sweep-run").click()
    expect(page.locator("#sweep-status")).to_contain_text("完成")
    expect(table).to_contain_text("短上下文")
    rows = exported(page, tmp_path)
    assert [row["policy"] for row in rows][:2] == ["Full", "Short context"] and len(rows) == 9
    assert all(len(row["perplexity"].split(".")[1]) > 6 for row in rows)
    for number in numbers_of(rows):
        expect(table).to_contain_text(f"{round(number, 3)}")


def exported(page: Window, folder: Path) -> list[dict[str, str]]:
    """The rows of the exported table."""
    page.locator("#sweep-files a").evaluate_all("links => links.forEach(link => link.dataset.former = 'yes')")
    page.locator("#sweep-export").click()
    with page.expect_download() as download:
        page.locator("#sweep-files a:not([data-former])").first.click()
    download.value.save_as(folder / "sweep.csv")
    assert download.value.suggested_filename == "sweep.csv"
    with (folder / "sweep.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == POINT_COLUMNS
    return rows


def numbers_of(rows: list[dict[str, str]]) -> list[float]:
    return [float(row["perplexity"]) for row in rows]
