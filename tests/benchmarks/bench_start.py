"""From the command to the first answer of the server, and to the first picture in Chromium."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import httpx
from playwright.sync_api import Browser, sync_playwright

from tests.benchmarks.timing import smollm2, table
from tests.browser.apps import free_ports
from tests.browser.conftest import CHROMIUM, FLAGS

APP = Path(__file__).parents[2] / "app.py"
EMPTY = """
import sys
import gradio as gr

with gr.Blocks(analytics_enabled=False) as page:
    gr.Markdown("nothing")
page.launch(server_port=int(sys.argv[1]), mcp_server=True)
"""
ROUNDS = 5


@contextmanager
def started(port: int, *command: str) -> Iterator[None]:
    """A server in a process of its own, from the command to its first answer."""
    server = subprocess.Popen([sys.executable, *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not answers(f"http://127.0.0.1:{port}/gradio_api/startup-events"):
            time.sleep(0.02)
        yield
    finally:
        server.terminate()
        server.wait()


def empty() -> float:
    """Seconds until an app of Gradio without anything answers."""
    (port,) = free_ports(1)
    began = time.perf_counter()
    with started(port, "-c", EMPTY, str(port)):
        return time.perf_counter() - began


def ours(browser: Browser, folder: str) -> tuple[float, float]:
    """Seconds until the app answers, and until Chromium has drawn the example."""
    (port,) = free_ports(1)
    page = browser.new_page()
    began = time.perf_counter()
    with started(port, str(APP), "--port", str(port), "--votes", f"{folder}/votes.db", "--store", folder):
        answered = time.perf_counter() - began
        page.goto(f"http://127.0.0.1:{port}")
        page.locator(".rm-body").first.wait_for()
        return answered, time.perf_counter() - began


def answers(address: str) -> bool:
    try:
        return httpx.get(address).is_success
    except httpx.TransportError:
        return False


if __name__ == "__main__":
    smollm2()  # the weights are converted
    nothing, answered, drawn = [], [], []
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        for _ in range(ROUNDS):
            nothing.append(empty())
            first, picture = ours(browser, folder)
            answered.append(first)
            drawn.append(picture)
    table(
        f"from the command to the first answer, files in the system's cache (medians of {ROUNDS})",
        {
            "an empty app of Gradio": f"{median(nothing):.1f} s",
            "this app": f"{median(answered):.1f} s",
            "this app / the empty one (at most 1.15)": f"{median(answered) / median(nothing):.2f}",
            "this app, to the first picture": f"{median(drawn):.1f} s",
        },
    )
