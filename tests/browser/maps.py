"""What the tests of the map share: how a page with a map is read."""

import json
from typing import Any

import gradio as gr
import numpy as np
from playwright.sync_api import Page, expect

from viz.maps.payload import Payload
from viz.maps.standalone import CSS, HTML, SCRIPT

HOST = f"""<!doctype html><meta charset="utf-8">
<style>body {{ margin: 0; padding: 12px 16px; }} main {{ {CSS} }}</style>
<input aria-label="heard"><main>{HTML}</main><script>{SCRIPT}
const shown = RetentionMap.mount(document.querySelector("main"), {{
  onEvent: (name, detail) => {{ document.querySelector("input").value = JSON.stringify(detail); }},
}});</script>"""
"""A page of a map alone, which writes down what the map tells Python. It opens ten times as fast as Gradio's page."""


def hear(event: gr.EventData) -> str:
    """What Python is told, as the page `HOST` writes it, for a text box named "heard"."""
    return json.dumps(event._data, separators=(",", ":"))


def heard(page: Page, expected: dict[str, Any]) -> None:
    expect(page.get_by_label("heard")).to_have_value(json.dumps(expected, separators=(",", ":")))


def show(page: Page, sent: Payload) -> None:
    """Give the map another payload, as an answer of Python does."""
    page.evaluate("sent => shown.setPayload(sent)", sent)


def at_step(page: Page, step: int, last: int) -> None:
    expect(page.locator(".rm-number")).to_have_text(f"{step} / {last}")


def pixels(page: Page) -> tuple[str, ...]:
    """What each canvas shows, once all have been drawn."""
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return tuple(page.locator(".rm canvas:visible").evaluate_all("all => all.map(canvas => canvas.toDataURL())"))


def assert_nothing_sticks_out(page: Page, width: int) -> None:
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    outside = page.locator(".rm *:visible").evaluate_all(
        """(elements, width) => elements
            .filter(element => !element.closest(".rm-text, .rm-hidden, svg"))
            .filter(element => element.getBoundingClientRect().right > width + 0.5)
            .map(element => element.className)""",
        width,
    )
    assert outside == []


def contrasts_of_tokens(page: Page, looks: list[str]) -> list[float]:
    """The contrast of a token's letters with what is behind them, for each of its looks."""
    return page.evaluate(
        """looks => {
            const { luminance } = Colours;
            const span = document.querySelector(".rm-t");
            const colour = text => text.match(/[0-9.]+/g).slice(0, 3).map(Number);
            const paper = getComputedStyle(document.querySelector(".rm-frame")).backgroundColor;
            return looks.map(look => {
                span.dataset.kept = look;
                const style = getComputedStyle(span);
                const behind = look === "unread" ? paper : style.backgroundColor;
                const [a, b] = [style.color, behind].map(text => luminance(colour(text)));
                return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
            });
        }""",
        looks,
    )


def colours_of(page: Page, names: list[str]) -> np.ndarray:
    """(names, 3), linear RGB in 0 … 1: the colours of the stylesheet with these names."""
    colours = page.locator(".rm").evaluate(
        """(root, names) => names.map(name => {
            const hex = getComputedStyle(root).getPropertyValue("--rm-" + name).trim();
            return [1, 3, 5].map(at => parseInt(hex.slice(at, at + 2), 16) / 255);
        })""",
        names,
    )
    srgb = np.array(colours)
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def luminances(page: Page, names: list[str]) -> np.ndarray:
    return colours_of(page, names) @ [0.2126, 0.7152, 0.0722]
