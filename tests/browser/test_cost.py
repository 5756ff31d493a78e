"""The lens Cost in Chromium, on runs of a tiny model: what it tells, a token that is selected, and the file."""

import csv
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import gradio as gr
import pytest
from playwright.sync_api import Page, expect

import core
from core.measures.costs import Comparison, costs, greatest_losses
from core.policies import make_policy
from core.store import Stored
from tests.writers import writer_model
from viz.page import models
from viz.page.lens import SharedRun
from viz.page.models import ResidentModels
from viz.page.page import Page as OurPage
from viz.tabs.cost import cost_lens

TEXT = " ".join(f"w{i % 7 + i % 3}" for i in range(40))
POLICIES = [make_policy("tova", 4), make_policy("window", 4)]


@pytest.fixture(scope="module")
def lm(tiny: Callable, tmp_path_factory: pytest.TempPathFactory) -> Iterator[core.LanguageModel]:
    directory = writer_model(tiny("llama-gqa").directory, tmp_path_factory.mktemp("cost") / "model")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "resident", ResidentModels((directory,)))
        yield models.resident.get(directory)


@pytest.fixture(scope="module")
def compared(lm: core.LanguageModel) -> Comparison:
    return core.compare(lm, lm.encode(TEXT), POLICIES)


@pytest.fixture(scope="module")
def address(serve: Callable[..., str], lm: core.LanguageModel, compared: Comparison) -> str:
    """A page with the lens on a stored run; a button stands for another run, in which each policy writes on."""
    written = Stored(tuple(core.generate(lm, lm.encode(TEXT), POLICIES, max_new_tokens=3)))
    with OurPage(analytics_enabled=False) as page:
        run = SharedRun()
        run.stored = gr.State(Stored.of(compared))
        gr.Button("write").click(lambda: (written, "another"), outputs=[run.stored, run.ended])
        with gr.Tabs():
            gr.Tab("Watch")
            with gr.Tab("Cost") as tab:
                cost_lens(tab, run)
    return serve(page)


def cells(page: Page, table: str, row: int) -> list[str]:
    return page.locator(f"#{table} [data-testid^=cell-{row}-]").all_inner_texts()


def test_a_run_tells_what_forgetting_cost_it_also_on_a_phone_or_why_that_cannot_be_told(
    open_page: Callable[..., Page], address: str, compared: Comparison
) -> None:
    page = open_page(address)
    page.set_viewport_size({"width": 390, "height": 844})
    page.get_by_role("tab", name="Cost").click()
    sentences, missed = page.locator("#cost-sentences"), page.locator("#cost-missed")
    expect(sentences).to_contain_text("What forgetting costs, in nats a token: TOVA ")
    expect(page.locator("#cost-figure .main-svg").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")

    page.set_viewport_size({"width": 1280, "height": 900})
    found, worst = costs(compared), greatest_losses(compared)[1]
    expect(page.locator("#cost-table [data-testid=cell-2-0]")).to_have_text("Window, budget 4")
    assert [cells(page, "cost-table", row)[1] for row in range(3)] == [f"{cost.perplexity:,.2f}" for cost in found]
    expect(page.locator("#cost-figure")).to_contain_text("Window, budget 4")
    with page.expect_download() as download:
        page.locator("#cost-csv").click()
    with Path(download.value.path()).open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert download.value.suggested_filename == "costs.csv"
    assert [float(row["perplexity"]) for row in rows] == [cost.perplexity for cost in found]

    expect(page.locator("#cost-losses [data-testid=cell-1-3]")).to_have_text(str(worst.position))
    expect(missed).to_contain_text("Select one of the costliest tokens")
    page.locator("#cost-losses [data-testid=cell-1-1]").click()
    policy = compared.traces[worst.policy].policy
    expect(missed).to_contain_text(
        re.compile(rf"{policy}, predicting “.*” \(token {worst.position}\): \d+% of the full model's attention")
    )

    expect(page.locator("#cost-table")).to_be_visible()
    page.get_by_role("button", name="write").click()
    expect(sentences).to_contain_text("Each policy has written its own text")
    expect(page.locator("#cost-table")).to_be_hidden()
    expect(page.locator("#cost-figure")).to_be_hidden()
