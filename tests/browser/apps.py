"""The app in a process of its own, as its owner starts it."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class App:
    """One that answers.

    Attributes:
        address: of its page.
        log: the file of what it has said.
    """

    address: str
    log: Path

    def runs(self) -> list[dict[str, Any]]:
        """What it has logged of its runs."""
        return [json.loads(line) for line in self.log.read_text().splitlines() if '"event"' in line]


def free_ports(n: int) -> list[int]:
    """Some that nobody listens at."""
    sockets = [socket.socket() for _ in range(n)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@contextmanager
def running(folder: Path, *arguments: str, health: str = "gradio_api/health", **environment: str) -> Iterator[App]:
    """`python app.py` with these arguments and this environment; its votes, runs and log are in the folder."""
    (port,) = free_ports(1)
    files = ["--votes", str(folder / "votes.db"), "--store", str(folder / "runs")]
    command = [sys.executable, "app.py", "--port", str(port), *files, *arguments]
    app = App(f"http://127.0.0.1:{port}/", folder / "app.log")
    with app.log.open("a") as log:
        process = subprocess.Popen(command, env=os.environ | environment, cwd=ROOT, stdout=log, stderr=log)
    try:
        wait_for(app.address + health, process)
        yield app
    finally:
        process.terminate()
        process.wait()


def wait_for(health: str, process: subprocess.Popen[bytes]) -> None:
    """Until the app answers at this address."""
    give_up = time.monotonic() + 120
    while True:
        try:
            if httpx.get(health, timeout=20).is_success:
                return
        except httpx.TransportError:
            pass
        assert process.poll() is None, "it has stopped"
        assert time.monotonic() < give_up, f"{health} does not answer"
        time.sleep(0.25)
