"""A small page of the sidebar and one lens, for the tests of that lens."""

from collections.abc import Callable
from typing import Any

import gradio as gr
from playwright.sync_api import Page as Window
from playwright.sync_api import expect

from viz.page import models
from viz.page.models import ResidentModels
from viz.page.page import Page
from viz.page.sidebar import Sidebar


def lens_page(model: str, name: str, lens: Callable[..., object], *values: Any) -> gr.Blocks:
    """A page whose second tab is the lens."""
    models.resident = ResidentModels((model,))
    with Page(analytics_enabled=False, fill_width=True) as page:
        sidebar = Sidebar(page, model)
        with gr.Tabs():
            with gr.Tab("Nothing"):
                gr.Markdown("Something else.")
            with gr.Tab(name) as tab:
                lens(tab, sidebar, *values)
    return page


def choose(page: Window, card: int, policy: str) -> None:
    """Choose a policy on a card of the sidebar."""
    page.locator(f"#policy-{card}").select_option(label=policy)


def set_budget(page: Window, budget: int) -> None:
    """One budget for all policies."""
    page.locator("#budget-1").fill(str(budget))
    expect(page.locator("#budget-3")).to_have_value(str(budget))
