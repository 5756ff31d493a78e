"""Frames per second while scrubbing the retention map in headless Chromium, and the cost of a new payload."""

from statistics import median

import numpy as np
from playwright.sync_api import Browser, Page, sync_playwright

from core.trace import NEVER, Trace
from tests.browser.conftest import CHROMIUM, FLAGS
from tests.traces import trace_of
from viz.maps.payload import View, payload
from viz.maps.standalone import standalone_html

SIZES = ((1, 30, 3, 1024), (1, 32, 32, 2048), (1, 30, 1, 4096), (6, 30, 3, 1024))  # policies, layers, groups, tokens
FRAMES = 240

# One step a frame, as the slider does it; the work of a frame is done when the next one begins.
SCRUB = """frames => new Promise(done => {
    const slider = document.querySelector(".rm-slider input");
    const length = Number(slider.max) + 1;
    const times = [];
    let step = Math.floor(length / 2);
    const tick = now => {
        times.push(now);
        if (times.length > frames) return done(times);
        slider.value = ++step % length;
        slider.dispatchEvent(new Event("input"));
        requestAnimationFrame(tick);
    };
    requestAnimationFrame(tick);
})"""

# From a longer payload of the same run to the picture of it.
GROW = """payloads => {
    const main = document.querySelector("main");
    const instrument = RetentionMap.mount(main);
    return payloads.map(payload => {
        const start = performance.now();
        instrument.setPayload(payload);
        instrument.draw();
        return performance.now() - start;
    });
}"""


def trace(layers: int, groups: int, n: int, budget: int = 256) -> Trace:
    """Evictions that spread over the text as those of a real run do, without a loop over a million steps."""
    rng = np.random.default_rng(0)
    lives = budget * rng.exponential(1, (layers, groups, n))
    evicted_at = np.arange(n) + lives.astype(np.int64)
    return trace_of(np.where(evicted_at < n, evicted_at, NEVER), (" token",) * n, "tova-head", budget)


def page_of(browser: Browser, of: list[Trace]) -> Page:
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    page.set_content(standalone_html(of))
    page.wait_for_selector(".rm canvas")
    return page


def frames_per_second(browser: Browser, policies: int, *size: int) -> tuple[float, float]:
    """The mean, and that of the slowest frame but one in twenty."""
    page = page_of(browser, [trace(*size)] * policies)
    page.evaluate(SCRUB, 30)
    frames = np.diff(page.evaluate(SCRUB, FRAMES))
    return 1000 / frames.mean(), 1000 / float(np.quantile(frames, 0.95))


def milliseconds_to_grow(browser: Browser) -> float:
    whole = trace(30, 1, 1024)
    page = page_of(browser, [whole])
    parts = []
    for n in range(824, 1024, 10):
        evicted_at = np.where(whole.evicted_at < n, whole.evicted_at, NEVER)[:, :, :n]
        grown = trace_of(evicted_at, whole.tokens.pieces[:n], budget=256)
        parts.append(payload([grown], View("growing", total=1024)))
    return median(page.evaluate(GROW, parts))


def main() -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        print(f"{'maps x rows x tokens':>20} {'frames/s':>10} {'slow 5 %':>10}")
        for policies, layers, groups, n in SIZES:
            mean, slow = frames_per_second(browser, policies, layers, groups, n)
            print(f"{f'{policies} x {layers * groups} x {n}':>20} {mean:>10.1f} {slow:>10.1f}")
        print(f"a longer payload, 30 x 1,024, on the screen: {milliseconds_to_grow(browser):.1f} ms")
        browser.close()


if __name__ == "__main__":
    main()
