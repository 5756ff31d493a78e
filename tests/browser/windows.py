"""Browser windows for one test after the other."""

from typing import Any

from playwright.sync_api import Browser, Page

MOST = 4  # that wait for a test; each takes 200 MB


class Windows:
    """Browser windows that one test leaves to the next, as good as new.

    In a window that has shown Gradio's page before, it opens with two thirds of the work. Size and colour scheme of a
    window can be changed; what else a test asks for, such as another language, wants a window of its own.
    """

    def __init__(self, browser: Browser) -> None:
        self.browser = browser
        self._free: list[tuple[str, Page]] = []  # the one that was left last comes last

    def take(self, settings: dict[str, Any]) -> Page:
        """A window with these settings of Playwright's `new_context`."""
        kind = _kind(settings)
        found = next((one for one in reversed(self._free) if one[0] == kind), None)
        if found is None:
            return self.browser.new_context(**settings).new_page()
        self._free.remove(found)
        page = found[1]
        page.set_viewport_size(settings["viewport"])
        page.emulate_media(color_scheme=settings.get("color_scheme", "light"))
        return page

    def leave(self, page: Page, settings: dict[str, Any]) -> None:
        """Empty a window and keep it; of those that are kept, the one that has waited longest makes room."""
        if page.is_closed():
            page.context.close()
            return
        if page.url.startswith("http"):
            page.evaluate("localStorage.clear(); sessionStorage.clear()")
        page.mouse.move(0, 0)
        page.goto("about:blank")
        page.context.clear_cookies()
        page.set_default_timeout(30_000)
        self._free.append((_kind(settings), page))
        if len(self._free) > MOST:
            self._free.pop(0)[1].context.close()


def _kind(settings: dict[str, Any]) -> str:
    """What cannot be changed in a window that is open."""
    fixed = {name: value for name, value in settings.items() if name not in ("viewport", "color_scheme")}
    return str(sorted(fixed.items()))
