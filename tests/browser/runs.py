"""How a run is started and waited for in a browser, whatever was run before it."""

from playwright.sync_api import Locator


def begin(button: Locator, status: Locator) -> None:
    """Press a button that starts a run which reports to this status."""
    status.locator(".status").evaluate_all("lines => lines.forEach(line => line.dataset.former = 'yes')")
    button.click()


def says(status: Locator) -> Locator:
    """The line that was written into the status since the last `begin`."""
    return status.locator(".status:not([data-former])")
