"""Two of the app behind nginx, as the README sets it up."""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.browser.apps import ROOT, free_ports

README = (ROOT / "README.md").read_text(encoding="utf-8")
NGINX = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")


@dataclass(frozen=True)
class Replicas:
    """Two that answer.

    Attributes:
        address: of nginx in front of them.
        folder: has their store, their votes, their log `app.log` and the logs of nginx.
        processes: by the address at which nginx finds each.
    """

    address: str
    folder: Path
    processes: dict[str, subprocess.Popen[bytes]]

    def asked(self) -> dict[str, set[str]]:
        """For every cookie that was sent, the addresses of the replicas that were asked."""
        found: dict[str, set[str]] = {}
        for line in (self.folder / "access.log").read_text().splitlines():
            cookie, addresses = line.split(" ", 1)
            found.setdefault(cookie, set()).update(addresses.split(", "))  # several, if one did not answer
        found.pop("-", None)
        return found


@contextmanager
def behind_nginx(folder: Path, model: str) -> Iterator[Replicas]:
    """Two of the app with this model; the folder is empty."""
    *ports, port = free_ports(3)
    (snippet,) = re.findall(r"```nginx\n(.*?)```", README, flags=re.DOTALL)
    for usual, ours in (("7860", ports[0]), ("7861", ports[1]), ("listen 80;", f"listen 127.0.0.1:{port};")):
        assert usual in snippet
        snippet = snippet.replace(usual, str(ours))
    (folder / "nginx.conf").write_text(
        f"pid {folder}/pid; error_log {folder}/error.log; daemon off; worker_processes 1; user root;\n"
        "events {}\nhttp {\nlog_format replicas '$cookie_msrnn $upstream_addr';\n"
        f"access_log {folder}/access.log replicas;\n"
        f"client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;\n"
        f"{snippet}\n}}\n"
    )
    assert NGINX is not None
    proxy = subprocess.Popen([NGINX, "-c", str(folder / "nginx.conf"), "-p", str(folder)])
    processes = {}
    for each in ports:
        environment = os.environ | {"GRADIO_SERVER_PORT": str(each), "GRADIO_ROOT_PATH": "/msrnn"}
        data = ["--votes", str(folder / "votes.db"), "--store", str(folder / "runs")]
        with (folder / "app.log").open("a") as log:
            processes[f"127.0.0.1:{each}"] = subprocess.Popen(
                [sys.executable, "app.py", "--model", model, *data], env=environment, cwd=ROOT, stdout=log, stderr=log
            )
    try:
        for address, process in processes.items():
            wait_for(f"http://{address}/", process)
        yield Replicas(f"http://127.0.0.1:{port}/msrnn/", folder, processes)
    finally:
        for process in (proxy, *processes.values()):
            process.terminate()
            process.wait()


def wait_for(address: str, process: subprocess.Popen[bytes]) -> None:
    """Until the app at this address has its model."""
    for _ in range(480):
        try:
            if httpx.get(f"{address}health").json()["models"]["loaded"]:
                return
        except httpx.TransportError:
            assert process.poll() is None, "it has stopped"
        time.sleep(0.25)
    raise AssertionError(f"{address} does not answer")
