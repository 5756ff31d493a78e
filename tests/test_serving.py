"""Many people, one machine: models in memory, the line before them, and who frees them."""

import gc
import json
import shutil
import sys
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import gradio as gr
import httpx
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError, ValidationError
from starlette.routing import Route

from app import HEALTH, health
from core.errors import UnknownModel, UserError
from core.store import TraceStore
from tests.writers import writer_model
from viz.api import api
from viz.page import limits, models
from viz.page.models import ResidentModels
from viz.page.page import Page

LONG = " ".join(f"w{i % 90}" for i in range(3000))
SHORT = "w1 w2 w3 w4 w5 w6 w7 w8"
BUDGETS = [16, 24, 32, 48, 64, 96, 128, 256]


def test_the_least_recently_used_model_is_freed_unless_a_run_uses_it(tiny, monkeypatch):
    monkeypatch.setattr(limits, "current", replace(limits.current, max_models=2))
    a, b, c = (str(tiny(name).directory) for name in ("llama-gqa", "qwen2", "gpt2"))
    resident = ResidentModels((a, b, c))
    used, other = resident.get(a), weakref.ref(resident.get(b).model)
    resident.get(a)
    resident.get(c)
    assert other() is None
    assert resident.state() == {"loaded": [a, c], "loading": None}
    first = weakref.ref(used.model)
    resident.get(b)
    assert first() is not None and used.model.config is not None  # freed here, but a run still has it
    del used
    gc.collect()
    assert first() is None


def test_a_model_that_two_want_is_loaded_once(tiny):
    name = str(tiny("llama-gqa").directory)
    resident = ResidentModels((name,))
    with ThreadPoolExecutor(4) as pool:
        first, *others = pool.map(resident.get, [name] * 4)
    assert all(other is first for other in others)


def test_a_load_that_fails_fails_alone_and_can_be_tried_again(tiny, tmp_path):
    good, bad = str(tiny("llama-gqa").directory), tmp_path / "model"
    shutil.copytree(good, bad)
    config = (bad / "config.json").read_text()
    (bad / "config.json").write_text("{")
    resident = ResidentModels((good, str(bad)))
    with pytest.raises(UserError):
        resident.get(str(bad))
    assert resident.get(good)
    (bad / "config.json").write_text(config)
    assert resident.get(str(bad))


touched: list[str] | None = None
sys.addaudithook(lambda event, _: touched.append(event) if touched is not None else None)


def test_a_model_that_is_not_offered_touches_neither_disk_nor_network(tiny):
    global touched
    there = str(tiny("llama-gqa").directory)
    for crafted in (there, "../" * 9 + "etc", "HuggingFaceTB/SmolLM2-135M", "http://127.0.0.1:1/x", "", "x" * 9999):
        touched = []
        try:
            with pytest.raises(UnknownModel, match="--any-model") as refused:
                ResidentModels().get(crafted)
            seen = {event.split(".")[0] for event in touched}
        finally:
            touched = None
        assert not seen & {"open", "os", "socket", "subprocess", "shutil", "glob", "pathlib"}
        assert len(str(refused.value)) < 400
    assert ResidentModels(any_model=True).get(there)


@pytest.fixture(scope="module")
def model(tiny, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A tiny model for long texts, and the only one that this server offers."""
    directory = tmp_path_factory.mktemp("serving") / "model"
    name = writer_model(tiny("llama-gqa").directory, directory)
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 4096}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "resident", ResidentModels((name,)))
        models.language_model(name)
        yield name


@pytest.fixture(scope="module")
def address(model: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    def broken() -> str:
        raise ZeroDivisionError("a secret")

    with Page(analytics_enabled=False) as page:
        api(TraceStore(tmp_path_factory.mktemp("runs")))
        gr.api(broken)
    routes = [Route(path, health) for path in HEALTH]
    _, url, _ = page.launch(prevent_thread_lock=True, quiet=True, app_kwargs={"routes": routes})
    yield url
    page.close(verbose=False)


@pytest.fixture
def client(address: str) -> Callable[[], Client]:
    return lambda: Client(address, verbose=False)


def seconds_of(client: Client, model: str) -> float:
    started = time.monotonic()
    assert client.predict(SHORT, model=model, budget=4, api_name="/trace")["model"] == model
    return time.monotonic() - started


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def test_health_tells_the_version_and_the_models(address, model):
    for path in HEALTH:
        answer = httpx.get(address.rstrip("/") + path)
        assert answer.status_code == 200
        found = answer.json()
        assert found["status"] == "ok" and found["version"] and found["models"] == {"loaded": [model], "loading": None}


def test_whoever_stops_or_leaves_frees_the_model_within_a_second(client, address, model):
    waiting = client()
    alone = seconds_of(waiting, model)

    def after(leave: Callable[[], None]) -> float:
        leave()
        return seconds_of(waiting, model)

    job = client().submit(LONG, ["tova", "h2o"], BUDGETS, model=model, api_name="/sweep")
    until(lambda: len(job.outputs()) > 0)
    assert after(job.cancel) < 1 + alone
    with httpx.Client(base_url=address + "gradio_api/") as browser:
        names = [each["api_name"] for each in browser.get(address + "config").json()["dependencies"]]
        sweep = names.index("sweep")
        data = {"data": [LONG, ["tova", "h2o"], BUDGETS, model], "fn_index": sweep, "session_hash": "leaving"}
        assert browser.post("queue/join", json=data).status_code == 200
        with browser.stream("GET", "queue/data", params={"session_hash": "leaving"}, timeout=20) as stream:
            for line in stream.iter_lines():
                if "process_generating" in line:
                    break
    assert after(lambda: None) < 1 + alone


def test_one_person_cannot_fill_the_line(client, model, monkeypatch):
    monkeypatch.setattr(limits, "current", replace(limits.current, max_waiting=2))
    person, other = client(), client()
    runs = [person.submit(LONG, ["tova", "h2o"], BUDGETS, model=model, api_name="/sweep")]
    until(lambda: len(runs[0].outputs()) > 0)
    for _ in range(2):
        runs.append(person.submit(SHORT, ["tova"], [4], model=model, api_name="/sweep"))
    until(lambda: all(run.status().rank is not None for run in runs[1:]))
    assert sorted(run.status().rank for run in runs[1:]) == [0, 1]
    with pytest.raises(ValidationError, match="2 of your runs are waiting"):
        person.submit(SHORT, ["tova"], [4], model=model, api_name="/sweep").result(timeout=10)
    patient = other.submit(SHORT, ["tova"], [4], model=model, api_name="/sweep")
    runs[0].cancel()
    for run in (*runs[1:], patient):
        assert run.result(timeout=20)["points"]


def test_errors_are_told_ours_by_a_number_and_a_users_in_words(client, tiny, caplog):
    with pytest.raises(AppError, match=r"Reference [0-9A-F]{6}") as ours:
        client().predict(api_name="/broken")
    assert "secret" not in str(ours.value)
    reference = str(ours.value).split("Reference ")[1][:6]
    assert f"Reference {reference}" in caplog.text and "ZeroDivisionError: a secret" in caplog.text
    with pytest.raises(AppError, match="--any-model"):
        client().predict(SHORT, model=str(tiny("gpt2").directory), api_name="/trace")
