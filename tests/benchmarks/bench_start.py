"""From the command to the first answer of the server, and to the first picture in Chromium."""

import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import httpx
from playwright.sync_api import sync_playwright

from tests.benchmarks.timing import smollm2, table
from tests.browser.conftest import CHROMIUM, FLAGS

APP = Path(__file__).parents[2] / "app.py"
ROUNDS = 3


def start(folder: str) -> tuple[float, float]:
    """Seconds until the server answers, and until Chromium has drawn the example."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, str(APP), "--port", str(port), "--votes", f"{folder}/votes.db", "--store", folder]
    with sync_playwright() as playwright:
        page = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS).new_page()
        began = time.perf_counter()
        app = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            address = f"http://127.0.0.1:{port}"
            while not answers(f"{address}/health"):
                time.sleep(0.02)
            answered = time.perf_counter() - began
            page.goto(address)
            page.locator(".rm-body").first.wait_for()
            return answered, time.perf_counter() - began
        finally:
            app.terminate()
            app.wait()


def answers(address: str) -> bool:
    try:
        return httpx.get(address).is_success
    except httpx.TransportError:
        return False


if __name__ == "__main__":
    smollm2()  # the weights are converted
    with tempfile.TemporaryDirectory() as folder:
        answered, drawn = zip(*(start(folder) for _ in range(ROUNDS)), strict=True)
    table(
        f"start of the app, files in the system's cache (medians of {ROUNDS})",
        {
            "to the first answer (at most 4 s)": f"{median(answered):.1f} s",
            "to the first picture": f"{median(drawn):.1f} s",
        },
    )
