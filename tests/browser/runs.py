"""How a run is started and waited for in a browser, whatever was run before it."""

from contextlib import suppress

from playwright.sync_api import Locator, expect


def begin(button: Locator, status: Locator) -> None:
    """Press a button that starts a run which reports to this status.

    Gradio drops such a click without a word while the former run of the same button is not quite over, even if the
    status says "Done" already; its tracker knows. But after Stop, a late report may leave the tracker on for good.
    """
    with suppress(AssertionError):
        expect(status.get_by_test_id("status-tracker")).to_contain_class("hide", timeout=10_000)
    status.locator(".status").evaluate_all("lines => lines.forEach(line => line.dataset.former = 'yes')")
    button.click()


def says(status: Locator) -> Locator:
    """The line that was written into the status since the last `begin`."""
    return status.locator(".status:not([data-former])")
