"""Thirty people at once: python -m tests.benchmarks.bench_load. On this machine only, with a tiny model.

Half of them send the same text, half their own; some of those stop a run, some send garbage beside. Every answer must
be the one that a person alone gets (evictions exactly, nats but for rounding), nothing may fail but what should, and
the server's memory is bounded. Another app, with a store of its own, has computed the answers for a person alone, so
the first time the store is empty; how long it takes without one is seen where no two share a text.
"""

import json
import math
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import numpy as np
import torch
from gradio_client import Client
from gradio_client.exceptions import AppError
from gradio_client.utils import Status
from transformers import AutoModelForCausalLM

from tests.benchmarks.timing import table
from tests.browser.replicas import behind_nginx
from tests.conftest import TINY
from tests.writers import writer_model

PEOPLE = 30
MOST_MEGABYTES = 300  # that thirty people may add to the server's memory
GARBAGE = [
    {"model": "../../etc/passwd"},
    {"model": "http://127.0.0.1:1/x"},
    {"policy": "<script>alert(1)</script>"},
    {"budget": -3},
    {"budget": 10**9},
    {"new_tokens": 10**9},
    {"settings": {"n_sink": "many"}},
    {"text": ""},
    {"text": 7},
]


def shared(person: int) -> str:
    """The even ones have the same text."""
    return own(person if person % 2 else -1)


def own(person: int) -> str:
    """A text that nobody else has."""
    return " ".join(f"w{(i * (person + 3) + i // 90) % 90}" for i in range(400))


def alone(url: str, model: str) -> dict[str, dict]:
    """The answers that a person alone gets, by text."""
    texts = {text_of(person) for person in range(PEOPLE) for text_of in (shared, own)}
    with browser(url, 0) as one:
        return {text: ask(one, model, text) for text in texts}


def browser(url: str, person: int) -> httpx.Client:
    """What sends a person's requests over connections that stay open, as a browser does.

    The client of Gradio makes a new one for each request, which takes longer than the answer of a stored run.
    """
    return httpx.Client(base_url=url, cookies={"msrnn": f"person{person}"}, timeout=300)


def ask(browser: httpx.Client, model: str, text: str) -> dict:
    inputs = [text, "tova", 32, 0, None, "original", model, False]
    call = "gradio_api/call/trace"
    event = browser.post(call, json={"data": inputs}).json()["event_id"]
    *_, kind, data = filter(None, browser.get(f"{call}/{event}").text.splitlines())
    assert kind == "event: complete", data
    return json.loads(data.removeprefix("data: "))[0]


def attend(client: Client, own: httpx.Client, model: str, person: int, text: str) -> tuple[str, dict, float]:
    """What one person does: garbage, a run that is stopped, and one whose answer and seconds count."""
    if person % 5 == 1:
        for wrong in GARBAGE:
            try:
                client.predict(**{"text": "w1 w2", "model": model} | wrong, api_name="/trace")
            except AppError as refused:
                assert "Reference" not in str(refused), f"{wrong}: {refused}"
            else:
                raise AssertionError(f"{wrong} was accepted")
    if person % 5 == 3:
        job = client.submit(text, ["tova", "h2o"], list(range(2, 30)), model=model, api_name="/sweep")
        while job.status().code in (Status.STARTING, Status.JOINING_QUEUE):  # the server could not be told of it
            time.sleep(0.1)
        job.cancel()
        with suppress(CancelledError, AppError, IndexError, KeyError):  # the client has no word of its own for it
            job.result(timeout=300)
    started = time.monotonic()
    return text, ask(own, model, text), time.monotonic() - started


def crowd(
    url: str, model: str, pids: Sequence[int], text_of: Callable[[int], str], expected: dict[str, dict]
) -> tuple[list[float], float]:
    """All of them at once: their seconds, in order, and by how many MB the server, or all replicas, have grown."""
    before = megabytes(pids)
    clients = [Client(url, headers={"cookie": f"msrnn=person{i}"}, verbose=False) for i in range(PEOPLE)]
    browsers = [browser(url, i) for i in range(PEOPLE)]
    with ThreadPoolExecutor(PEOPLE) as people:
        answers = list(people.map(lambda i: attend(clients[i], browsers[i], model, i, text_of(i)), range(PEOPLE)))
    wrong = [text for text, answer, _ in answers if not same(answer, expected[text])]
    assert not wrong, f"{len(wrong)} answers differ from those that a person alone gets"
    grown = megabytes(pids) - before
    assert grown < MOST_MEGABYTES, f"the server has grown by {grown:.0f} MB"
    return sorted(seconds for *_, seconds in answers), grown


def same(answer: dict, expected: dict) -> bool:
    """Whether two answers are one but for rounding: a busy machine reads in shorter chunks, perhaps in bfloat16."""
    exactly = answer.keys() - {"nll", "perplexity"}
    return (
        answer.keys() == expected.keys()
        and all(answer[key] == expected[key] for key in exactly)
        and np.allclose(answer["nll"][1:], expected["nll"][1:], rtol=0, atol=0.1)
        and math.isclose(answer["perplexity"], expected["perplexity"], rel_tol=0.001)
    )


def megabytes(pids: Sequence[int]) -> float:
    """Of memory that the processes hold."""
    lines = [line for pid in pids for line in Path(f"/proc/{pid}/status").read_text().splitlines()]
    return sum(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


@contextmanager
def server(model: str, folder: Path) -> Iterator[tuple[str, int]]:
    """The app in a process of its own."""
    folder.mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "app.py", "--model", model, "--port", str(port), "--votes", str(folder / "votes.db")]
    command += ["--store", str(folder / "store")]
    with (folder / "log.txt").open("w") as log:
        app = subprocess.Popen(command, env=os.environ, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}/"
    try:
        end = time.monotonic() + 120
        while not ready(url, model):
            assert app.poll() is None and time.monotonic() < end, (folder / "log.txt").read_text()
            time.sleep(0.25)
        yield url, app.pid
    finally:
        app.terminate()
        app.wait()


def ready(url: str, model: str) -> bool:
    try:
        return model in httpx.get(url + "health").json()["models"]["loaded"]
    except httpx.TransportError:
        return False


def tiny_model(folder: Path) -> str:
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(TINY["llama-gqa"]).save_pretrained(folder / "source")
    model = writer_model(folder / "source", folder / "model")
    config = folder / "model" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"max_position_embeddings": 4096}))
    return model


ROUNDS = {
    "no two have the same text: as without a store": own,
    "half have the same text": shared,
    "the same again: all from the store": shared,
}


def rounds(url: str, model: str, pids: Sequence[int], expected: dict[str, dict]) -> dict[str, str]:
    """How each of the rounds goes."""
    rows = {}
    for name, text_of in ROUNDS.items():
        seconds, grown = crowd(url, model, pids, text_of, expected)
        p50, p95 = statistics.median(seconds), seconds[int(0.95 * len(seconds))]
        rows[name] = f"p50 {p50:.1f} s, p95 {p95:.1f} s, {grown:+.0f} MB"
    return rows


def main() -> None:
    heading = f"{PEOPLE} people at once; all answers equal those of a person alone"
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        model = tiny_model(folder)
        with server(model, folder / "alone") as (url, _):
            expected = alone(url, model)
        with server(model, folder / "crowd") as (url, pid):
            table(heading, rounds(url, model, [pid], expected))
        (folder / "two").mkdir()
        with behind_nginx(folder / "two", model) as replicas:
            pids = [process.pid for process in replicas.processes.values()]
            table(f"{heading}; two replicas behind nginx", rounds(replicas.address, model, pids, expected))


if __name__ == "__main__":
    main()
