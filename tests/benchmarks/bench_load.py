"""Thirty people at once: python -m tests.benchmarks.bench_load. On this machine only, with a tiny model.

Half of them send the same text, half their own; some of those stop a run, some send garbage beside. Every answer must
be the one that a person alone gets, nothing may fail but what should, and the server's memory is bounded. The endpoint
they use computes every answer anew: what the store saves is not in these seconds.
"""

import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import torch
from gradio_client import Client
from gradio_client.exceptions import AppError
from transformers import AutoModelForCausalLM

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


def text_of(person: int) -> str:
    """The even ones have the same text."""
    return " ".join(f"w{(i * (1 + person % 2 * (person + 2))) % 90}" for i in range(400))


def alone(url: str, model: str) -> dict[str, dict]:
    """The answers that a person alone gets, by text."""
    client = Client(url, verbose=False)
    return {text: ask(client, model, text) for text in {text_of(person) for person in range(PEOPLE)}}


def ask(client: Client, model: str, text: str) -> dict:
    return client.predict(text, budget=32, model=model, api_name="/trace")


def attend(url: str, model: str, person: int) -> tuple[str, dict, float]:
    """What one person does: garbage, a run that is stopped, and one whose answer and seconds count."""
    client = Client(url, verbose=False)
    if person % 5 == 1:
        for wrong in GARBAGE:
            try:
                client.predict(**{"text": "w1 w2", "model": model} | wrong, api_name="/trace")
            except AppError as refused:
                assert "Reference" not in str(refused), f"{wrong}: {refused}"
            else:
                raise AssertionError(f"{wrong} was accepted")
    if person % 5 == 3:
        job = client.submit(text_of(person), ["tova", "h2o"], list(range(2, 30)), model=model, api_name="/sweep")
        time.sleep(0.5)
        job.cancel()
        with suppress(CancelledError, AppError, IndexError):
            job.result(timeout=300)
    started = time.monotonic()
    text = text_of(person)
    return text, ask(client, model, text), time.monotonic() - started


def crowd(url: str, model: str, pid: int, expected: dict[str, dict]) -> list[float]:
    """All of them at once; their seconds."""
    before = megabytes(pid)
    with ThreadPoolExecutor(PEOPLE) as people:
        answers = list(people.map(lambda person: attend(url, model, person), range(PEOPLE)))
    wrong = [text for text, answer, _ in answers if answer != expected[text]]
    assert not wrong, f"{len(wrong)} answers differ from those that a person alone gets"
    grown = megabytes(pid) - before
    assert grown < MOST_MEGABYTES, f"the server has grown by {grown:.0f} MB"
    print(f"  all {PEOPLE} answers equal those of one person alone; the server has grown by {grown:.0f} MB")
    return [seconds for *_, seconds in answers]


def megabytes(pid: int) -> float:
    """Of memory that the process holds."""
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in status if line.startswith("VmRSS")).split()[1]) / 1024


@contextmanager
def server(model: str, folder: Path) -> Iterator[tuple[str, int]]:
    """The app in a process of its own."""
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


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        model = tiny_model(folder)
        with server(model, folder) as (url, pid):
            expected = alone(url, model)
            seconds = sorted(crowd(url, model, pid, expected))
            p95 = seconds[int(0.95 * len(seconds))]
            print(f"  p50 {statistics.median(seconds):.2f} s, p95 {p95:.2f} s")


if __name__ == "__main__":
    main()
