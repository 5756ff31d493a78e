"""The app where others run it: with and without a hub, and as several processes behind a reverse proxy."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.browser.apps import ROOT, free_ports
from tests.hub import hub
from tests.talkers import make_talker

README = (ROOT / "README.md").read_text(encoding="utf-8")
NGINX = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")

BEFORE_AND_AFTER = """
import contextlib, os, time, httpx
from core import load_model, make_policy, replay
from core.errors import HubUnreachable, UnknownModel

def found():
    lm = load_model("someone/tiny", dtype="float32", device="cpu")
    trace = replay(lm, lm.encode("hello there"), make_policy("tova", 4))
    print(lm.model_id, "".join(trace.tokens.pieces), trace.kept(10).sum())

def refused(name):
    try:
        load_model(name)
    except (HubUnreachable, UnknownModel) as e:
        print(type(e).__name__, e)

found()
refused("someone/else")
with contextlib.suppress(httpx.TransportError):
    while httpx.get(os.environ["HF_ENDPOINT"] + "/stop"):
        time.sleep(0.1)
found()
refused("someone/else")
"""


def test_a_model_comes_from_the_hub_and_then_from_the_disk(tmp_path: Path) -> None:
    (tmp_path / "tiny").mkdir()
    make_talker(tmp_path / "tiny", chats=False)
    with hub("someone/tiny", tmp_path / "tiny") as address:
        environment = os.environ | {
            "HF_ENDPOINT": address,
            "HF_HOME": str(tmp_path / "home"),
            "HF_HUB_DISABLE_XET": "1",
        }
        child = subprocess.run(
            [sys.executable, "-c", BEFORE_AND_AFTER],
            env=environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=120,
        )
    assert child.returncode == 0, child.stderr
    reachable, unknown, kept, unreachable = child.stdout.splitlines()
    assert reachable == kept == "someone/tiny hello there 12"  # 3 layers with 4 rows each
    assert unknown.startswith("UnknownModel The hub has no model 'someone/else'")
    assert unreachable.startswith("HubUnreachable The weights of someone/else are not on this machine")


def wait_for(address: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(480):
        try:
            if httpx.get(f"{address}health").json()["models"]["loaded"]:
                return
        except httpx.TransportError:
            assert process.poll() is None, "it has stopped"
        time.sleep(0.25)
    raise AssertionError(f"{address} does not answer")


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """Two of the app behind nginx as the README sets it up; the address, and a log of who was asked by whom."""
    if NGINX is None:
        pytest.skip("nginx is not installed (apt-get install nginx)")
    folder = tmp_path_factory.mktemp("nginx")
    model = make_talker(tmp_path_factory.mktemp("talker"), chats=False, context=8192)
    *ports, port = free_ports(3)
    (snippet,) = re.findall(r"```nginx\n(.*?)```", README, flags=re.DOTALL)
    for usual, ours in (("7860", ports[0]), ("7861", ports[1]), ("listen 80;", f"listen 127.0.0.1:{port};")):
        assert usual in snippet
        snippet = snippet.replace(usual, str(ours))
    (folder / "nginx.conf").write_text(
        f"pid {folder}/pid; error_log {folder}/error.log; daemon off; worker_processes 1; user root;\n"
        "events {}\nhttp {\nlog_format replicas '$cookie_msrnn $upstream_addr $status $request_uri';\n"
        f"access_log {folder}/access.log replicas;\n"
        f"client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;\n"
        f"{snippet}\n}}\n"
    )
    started = [subprocess.Popen([NGINX, "-c", str(folder / "nginx.conf"), "-p", str(folder)])]
    for each in ports:
        environment = os.environ | {"GRADIO_SERVER_PORT": str(each), "GRADIO_ROOT_PATH": "/msrnn"}
        data = ["--votes", str(folder / "votes.db"), "--store", str(folder / "runs")]
        command = [sys.executable, "app.py", "--model", model, *data]
        with (folder / "app.log").open("a") as log:
            started.append(subprocess.Popen(command, env=environment, cwd=ROOT, stderr=log))
    try:
        for each, process in zip(ports, started[1:], strict=True):
            wait_for(f"http://127.0.0.1:{each}/", process)
        yield f"http://127.0.0.1:{port}/msrnn/", folder / "access.log"
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait()


def replicas(log: Path) -> dict[str, set[str]]:
    """For every cookie that was sent, the addresses of the replicas that were asked."""
    asked: dict[str, set[str]] = {}
    for line in log.read_text().splitlines():
        cookie, address, *_ = line.split(" ")
        asked.setdefault(cookie, set()).add(address)
    asked.pop("-", None)
    return asked


@pytest.fixture
def page(open_page: Callable[[str], Page], proxy: tuple[str, Path]) -> Page:
    return open_page(proxy[0])


def test_the_page_works_below_a_path_and_stays_with_its_replica(page: Page, proxy: tuple[str, Path]) -> None:
    expect(page.locator("#status")).to_contain_text("Model ready", timeout=60_000)
    expect(page.locator("#watch .rm-number")).to_have_text("325 / 325")
    page.locator("#text textarea").fill("Maud lit the lamp.")
    page.locator("#run").click()
    expect(page.locator("#status")).to_contain_text("Done", timeout=60_000)
    expect(page.locator("#watch .rm-number")).to_have_text("17 / 17")
    asked = replicas(proxy[1])
    assert len(asked) == 1 and [len(addresses) for addresses in asked.values()] == [1]


def test_strangers_are_spread_over_the_replicas(proxy: tuple[str, Path]) -> None:
    for cookie in "abcdefgh":
        for _ in range(2):
            assert httpx.get(proxy[0] + "health", cookies={"msrnn": cookie}).json()["status"] == "ok"
    asked = replicas(proxy[1])
    assert all(len(asked[cookie]) == 1 for cookie in "abcdefgh")
    assert len(set.union(*(asked[cookie] for cookie in "abcdefgh"))) == 2


def logged(folder: Path) -> list[dict[str, Any]]:
    """What the replicas have logged of their runs."""
    return [json.loads(line) for line in (folder / "app.log").read_text().splitlines() if '"event"' in line]


def test_what_one_replica_has_computed_the_other_knows(proxy: tuple[str, Path]) -> None:
    address, access = proxy
    name = httpx.get(f"{address}health").json()["models"]["loaded"][0]
    inputs = ["One lamp, two keepers.", "tova", 5, 0, None, "original", name, False]
    before = len(logged(access.parent))
    for cookie in "abcdefgh":
        with httpx.Client(base_url=f"{address}gradio_api/call/trace", cookies={"msrnn": cookie}, timeout=60) as client:
            event = client.post("", json={"data": inputs}).json()["event_id"]
            assert "event: complete" in client.get(f"/{event}").text
    asked = replicas(access)
    assert len(set.union(*(asked[cookie] for cookie in "abcdefgh"))) == 2
    assert [line["from_store"] for line in logged(access.parent)[before:]] == [False] + 7 * [True]


def test_reports_come_through_one_by_one(proxy: tuple[str, Path]) -> None:
    name = httpx.get(proxy[0] + "health").json()["models"]["loaded"][0]
    url = f"{proxy[0]}gradio_api/call/sweep"
    inputs = ["Maud lit the lamp, and the lamp lit the sea. " * 40, ["tova"], [16, 32], name]
    event = httpx.post(url, json={"data": inputs}).json()["event_id"]
    arrived: list[tuple[float, str]] = []
    with httpx.stream("GET", f"{url}/{event}", timeout=60) as stream:
        for line in stream.iter_lines():
            arrived.append((time.monotonic(), line))
    events = [(when, line) for when, line in arrived if line.startswith("event: ")]
    assert events[0][1] == "event: generating" and events[-1][1] == "event: complete"
    assert events[-1][0] - events[0][0] > 0.1  # had they been held back, all would have come at once
    answer = json.loads(arrived[[line for _, line in arrived].index("event: complete") + 1][1].removeprefix("data: "))
    assert len(answer[0]["points"]) == 5
