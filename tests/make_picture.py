"""Make the animated picture of the README from the real app: `make picture`."""

import io
import socket
import subprocess
import sys
import tempfile
import time

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from tests.benchmarks.bench_start import APP, answers
from tests.browser.conftest import CHROMIUM, FLAGS

PICTURE = APP.parent / "viz" / "pictures" / "watch.gif"
FRAMES, MILLISECONDS, LAST = 36, 180, 2500
COLOURS = 64


def frames(page: Page) -> list[Image.Image]:
    """The whole page at steps from the first to the last."""
    slider = page.locator(".rm-slider input").first
    last = int(slider.get_attribute("max") or 0)
    pictures = []
    for i in range(FRAMES):
        slider.evaluate(
            "(slider, step) => { slider.value = step; slider.dispatchEvent(new Event('input', {bubbles: true})); }",
            round(last * i / (FRAMES - 1)),
        )
        page.wait_for_timeout(60)
        pictures.append(Image.open(io.BytesIO(page.screenshot())).convert("RGB"))
    return pictures


def main() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        command = [sys.executable, str(APP), "--port", address.rpartition(":")[2]]
        app = subprocess.Popen([*command, "--votes", f"{folder}/votes.db", "--store", folder])
        try:
            while not answers(f"{address}/health"):
                time.sleep(0.1)
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
            page = browser.new_page(viewport={"width": 1366, "height": 768})
            page.goto(address)
            page.get_by_text("Model ready").wait_for(timeout=120_000)
            page.wait_for_timeout(1500)
            pictures = [picture.quantize(COLOURS) for picture in frames(page)]
        finally:
            app.terminate()
            app.wait()
    PICTURE.parent.mkdir(exist_ok=True)
    times = [MILLISECONDS] * (FRAMES - 1) + [LAST]
    pictures[0].save(PICTURE, save_all=True, append_images=pictures[1:], duration=times, loop=0, optimize=True)
    print(f"{PICTURE}: {PICTURE.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
