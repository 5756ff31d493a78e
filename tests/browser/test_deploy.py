"""The app as several processes behind a reverse proxy."""

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.browser.replicas import NGINX, Replicas, behind_nginx
from tests.browser.runs import begin, says
from tests.talkers import make_talker


@pytest.fixture(scope="module")
def replicas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replicas]:
    if NGINX is None:
        pytest.skip("nginx is not installed (apt-get install nginx)")
    model = make_talker(tmp_path_factory.mktemp("talker"), chats=False, context=8192)
    with behind_nginx(tmp_path_factory.mktemp("nginx"), model) as started:
        yield started


def logged(folder: Path) -> list[dict[str, Any]]:
    """What the replicas have logged of their runs."""
    return [json.loads(line) for line in (folder / "app.log").read_text().splitlines() if '"event"' in line]


def test_strangers_are_spread_over_the_replicas_and_what_one_has_computed_the_other_knows(replicas: Replicas) -> None:
    health = httpx.get(replicas.address + "health").json()
    assert health["status"] == "ok"
    inputs = ["One lamp, two keepers.", "tova", 5, 0, None, "original", health["models"]["loaded"][0], False]
    before, url = len(logged(replicas.folder)), f"{replicas.address}gradio_api/call/trace"
    for cookie in "abcdefgh":
        with httpx.Client(base_url=url, cookies={"msrnn": cookie}, timeout=60) as client:
            event = client.post("", json={"data": inputs}).json()["event_id"]
            assert "event: complete" in client.get(f"/{event}").text
    asked = replicas.asked()
    assert all(len(asked[cookie]) == 1 for cookie in "abcdefgh")
    assert len(set.union(*(asked[cookie] for cookie in "abcdefgh"))) == 2
    assert [line["from_store"] for line in logged(replicas.folder)[before:]] == [False] + 7 * [True]


def test_reports_come_through_one_by_one(replicas: Replicas) -> None:
    name = httpx.get(replicas.address + "health").json()["models"]["loaded"][0]
    url = f"{replicas.address}gradio_api/call/sweep"
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


def test_people_below_a_path_stay_with_their_replica_and_if_it_is_killed_their_next_click_asks_the_other(
    open_page: Callable[[str], Page], replicas: Replicas
) -> None:
    """What was stored stays."""
    former = set(replicas.asked())
    page = open_page(replicas.address)
    expect(page.locator("#status")).to_contain_text("Model ready")
    expect(page.locator("#watch .rm-number")).to_have_text("325 / 325")
    page.locator("#text textarea").fill("Maud lit the lamp.")
    begin(page.locator("#run"), page.locator("#status"))
    expect(says(page.locator("#status"))).to_contain_text("Done")
    expect(page.locator("#watch .rm-number")).to_have_text("17 / 17")
    page.wait_for_url(re.compile("trace="))
    link, asked = page.url, replicas.asked()
    (cookie,) = (each["value"] for each in page.context.cookies() if each["name"] == "msrnn")
    assert set(asked) - former == {cookie} and len(asked[cookie]) == 1

    tab = page.context.new_page()  # whose scripts may fail: requests in vain are among what they tell
    page.close()
    tab.goto(replicas.address)
    status, text = tab.locator("#status"), tab.locator("#text textarea")
    expect(status).to_contain_text("Model ready")
    text.fill("Maud lit the lamp, and the lamp lit the sea. " * 150)
    begin(tab.locator("#run"), status)
    expect(says(status)).to_contain_text("Reading: ")
    (address,) = replicas.asked()[cookie]
    replicas.processes[address].kill()
    replicas.processes[address].wait()

    expect(status).to_contain_text("Model ready")  # the page has found the other
    expect(text).to_have_value("Maud lit the lamp, and the lamp lit the sea. " * 150)
    text.fill("Maud lit the lamp again.")  # the long text would take a slow machine longer than an expectation waits
    begin(tab.locator("#run"), status)
    expect(says(status)).to_contain_text("Done")
    tab.goto(link)
    expect(text).to_have_value("Maud lit the lamp.")
    assert replicas.asked()[cookie] == set(replicas.processes)
