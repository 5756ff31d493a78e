"""Small pages for the tests: the sidebar with Watch, and the values of a sidebar that asks for something."""

from typing import Any

from core.model.registry import DEFAULT_MODEL
from core.store import TraceStore
from viz.page.asked import Asked
from viz.page.lens import SharedRun
from viz.page.page import Page
from viz.page.policy_cards import shown_on_cards
from viz.page.sidebar import Sidebar
from viz.tabs.watch import Watch


def watch_page(store: TraceStore) -> Watch:
    """Watch on a page with nothing else."""
    with Page() as page:
        sidebar = Sidebar(page, DEFAULT_MODEL)
        return Watch(page, sidebar, SharedRun(), store)


def values_of(asked: Asked) -> list[Any]:
    """The values of `Sidebar.values` where it asks for this."""
    said = [asked.model, asked.text, asked.message, asked.new_tokens, asked.temperature, asked.seed]
    return [*said, asked.positions, asked.prefill, asked.budgets, asked.every, shown_on_cards(asked.policies)]
