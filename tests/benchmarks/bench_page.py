"""A run on the page beside the same work of `core` alone: from Run pressed to the finished picture, in Chromium."""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from playwright.sync_api import Page, sync_playwright

import core
from tests.benchmarks.timing import table
from tests.browser.apps import running
from tests.browser.conftest import CHROMIUM, FLAGS
from tests.browser.runs import begin
from viz.examples.example_texts import EXAMPLES
from viz.page.asked import Chosen
from viz.page.policy_cards import FIRST

ROUNDS = 3
LENGTHS = (326, 938)
TEXT = "\n\n".join(example.text for example in EXAMPLES)


@contextmanager
def opened(address: str) -> Iterator[Page]:
    with sync_playwright() as playwright:
        page = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS).new_page()
        page.goto(address)
        page.get_by_text("Model ready").wait_for(timeout=120_000)
        yield page


def on_page(page: Page, text: str, tokens: int, *, stored: bool = False) -> tuple[float, float]:
    """Seconds from Run pressed to the first growth of the picture, and to the finished picture.

    A stored run does not grow: its picture is there at once.
    """
    page.locator("#text textarea").fill(text)
    page.wait_for_timeout(500)
    before = page.locator("#watch .rm-number").text_content()
    status = page.locator("#status")
    began = time.perf_counter()
    begin(page.locator("#run"), status)
    if not stored:
        page.wait_for_function(
            "before => document.querySelector('#watch .rm-number').textContent !== before",
            arg=before,
            polling=20,
            timeout=120_000,
        )
    grown = time.perf_counter() - began
    done = """last => {
        const line = document.querySelector("#status .status:not([data-former])");
        return line !== null && /^Done/.test(line.textContent.trim())
            && document.querySelector("#watch .rm-number").textContent === last + " / " + last;
    }"""
    page.wait_for_function(done, arg=str(tokens - 1), polling=20, timeout=120_000)
    return grown, time.perf_counter() - began


def text_of(lm: core.LanguageModel, n: int) -> str:
    """Exactly n tokens of the example texts."""
    text = "".join(lm.encode(TEXT * 3).pieces[:n])
    assert len(lm.encode(text)) == n
    return text


def alone(lm: core.LanguageModel, text: str) -> float:
    """Seconds of the replays of the policies that are chosen on arrival, and of the full model's."""
    tokens = lm.encode(text)
    began = time.perf_counter()
    for chosen in (*FIRST, Chosen("full")):
        core.replay(lm, tokens, chosen.policy(lm, tokens))
    return time.perf_counter() - began


if __name__ == "__main__":
    lm = core.load_model()
    with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as app, opened(app.address) as page:
        for n in LENGTHS:
            text, grown, page_took, core_took, stored_took = text_of(lm, n), [], [], [], []
            for i in range(ROUNDS + 1):
                own = f"{i}{text[1:]}"  # one that the store does not have
                tokens = len(lm.encode(own))
                core_took.append(alone(lm, own))
                first, whole = on_page(page, own, tokens)
                grown.append(first)
                page_took.append(whole)
            for i in range(ROUNDS + 1):
                own = f"{i}{text[1:]}"
                stored_took.append(on_page(page, own, len(lm.encode(own)), stored=True)[1])
            core_, whole, first = (median(took[1:]) for took in (core_took, page_took, grown))
            table(
                f"a run of {n} tokens on the page, TOVA, H2O and Window with 64 rows (medians of {ROUNDS})",
                {
                    "core alone: the three policies and the full model": f"{core_:.2f} s",
                    "the page, Run pressed to the finished picture": f"{whole:.2f} s",
                    "page / core (at most 1.25)": f"{whole / core_:.2f}",
                    "first growth of the picture (at most 1 s)": f"{first:.2f} s",
                    "the same from the store (at most 0.5 s)": f"{median(stored_took[1:]):.2f} s",
                },
            )
