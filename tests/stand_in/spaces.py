"""A stand-in for the package `spaces` on a ZeroGPU Space, for the folder of this file on the path of a test's app.

It does with a generator function what that package's `GPU` does (version 0.51, zero/wrappers.py), where it matters to
us: the function runs in a forked process that is kept for later calls, runs ahead of its reader, and learns only at its
next yield that nobody reads on. Everything goes through `pickle` in both directions. Exceptions come back as the name
of their class. For the tests it notes each lending in the file named by ``STAND_IN_NOTES`` (the process that had the
GPU), and says no to all with what is in the file named by ``STAND_IN_REFUSAL``, if that is there.
"""

import inspect
import multiprocessing
import os
import pickle
import sys
from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from threading import Lock, Thread
from typing import Any

if (gradio := sys.modules.get("gradio")) is not None and not hasattr(gradio, "Blocks"):
    raise ImportError  # as there: gradio looks for the package while it is itself being imported

import gradio as gr

FORK = multiprocessing.get_context("fork")
DONE, GONE = ("done", None), ("gone", None)


class Worker:
    """The process that has the GPU."""

    def __init__(self, task: Callable[..., Iterator[Any]]) -> None:
        self.given, self.told, self.stop = FORK.SimpleQueue(), FORK.SimpleQueue(), FORK.Event()
        self.process = FORK.Process(target=self._work, args=(task,), daemon=True)
        self.process.start()
        Thread(target=self._mourn, daemon=True).start()

    def _mourn(self) -> None:
        self.process.join()
        self.told.put(pickle.dumps(GONE))

    def _work(self, task: Callable[..., Iterator[Any]]) -> None:
        close_sockets()
        parent = os.getppid()
        while True:
            while not self.given._reader.poll(1):
                if os.getppid() != parent:  # the app has been killed
                    return
            values = pickle.loads(self.given.get())
            self.stop.clear()
            try:
                steps = task(*values)
                for step in steps:
                    if self.stop.is_set():
                        steps.close()
                        break
                    self.told.put(pickle.dumps(("step", step)))
                self.told.put(pickle.dumps(DONE))
            except Exception as e:
                self.told.put(pickle.dumps(("error", type(e).__name__)))


def close_sockets() -> None:
    """As there: a browser would not learn that the server has closed a connection while this process has it, too."""
    for entry in Path("/proc/self/fd").iterdir():
        try:
            if os.readlink(entry).startswith("socket:"):
                os.close(int(entry.name))
        except OSError:  # it was the folder's own
            continue


def GPU(task: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:  # noqa: N802 (the package's name)
    """The function, at work where the GPU is."""
    assert inspect.isgeneratorfunction(task), "the stand-in knows generators only"
    kept: list[Worker] = []
    lent = Lock()

    @wraps(task)
    def borrowing(*values: Any) -> Iterator[Any]:
        refusal = Path(os.environ.get("STAND_IN_REFUSAL", ""))
        if refusal.is_file():
            raise gr.Error(refusal.read_text(), title="ZeroGPU quota exceeded", print_exception=False)
        assert lent.acquire(timeout=60), "two borrow at a time"
        try:
            worker = kept.pop() if kept else Worker(task)
            note(worker.process.pid)
            worker.given.put(pickle.dumps(values))
            yield from steps_of(worker, kept)
        finally:
            lent.release()

    return borrowing


def steps_of(worker: Worker, kept: list[Worker]) -> Iterator[Any]:
    """What the process tells; it is kept unless it has failed."""
    kind, step = "step", None
    try:
        while (told := pickle.loads(worker.told.get()))[0] == "step":
            kind, step = told
            yield step
        kind, step = told
    except GeneratorExit:
        worker.stop.set()
        while kind == "step":
            kind, step = pickle.loads(worker.told.get())
        raise
    finally:
        if kind == "done":
            kept.append(worker)
    if kind != "done":
        raise gr.Error(step or "GPU task aborted", title="ZeroGPU worker error", print_exception=False)


def note(pid: int | None) -> None:
    """Write down who has the GPU."""
    if notes := os.environ.get("STAND_IN_NOTES"):
        with open(notes, "a") as file:
            file.write(f"{pid}\n")
