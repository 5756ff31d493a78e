"""Browser windows for one test after the other."""

from typing import Any

from playwright.sync_api import Browser, Page

MOST = 2  # that wait for a test; each takes 200 MB


class Windows:
    """Browser windows that one test leaves to the next, as good as new.

    In a window that has shown Gradio's page before, it opens with two thirds of the work.
    """

    def __init__(self, browser: Browser) -> None:
        self.browser = browser
        self._free: dict[str, Page] = {}

    def take(self, settings: dict[str, Any]) -> Page:
        """A window with these settings of Playwright's `new_context`."""
        free = self._free.pop(str(settings), None)
        return free or self.browser.new_context(**settings).new_page()

    def leave(self, page: Page, settings: dict[str, Any]) -> None:
        """Empty a window and keep it; of those that are kept, the oldest makes room."""
        if page.is_closed() or str(settings) in self._free:
            page.context.close()
            return
        if page.url.startswith("http"):
            page.evaluate("localStorage.clear(); sessionStorage.clear()")
        page.goto("about:blank")
        page.context.clear_cookies()
        page.set_viewport_size(settings["viewport"])
        page.set_default_timeout(30_000)
        self._free[str(settings)] = page
        if len(self._free) > MOST:
            self._free.pop(next(iter(self._free))).context.close()
