"""`core.experiments.budget_sweep` on a Ray cluster: every reading is one task, every worker loads the model once.

Ray is optional: only `iter_cluster_sweep` imports it. Workers get this package from the process that starts the sweep;
the packages of requirements.txt must be installed on every machine.
"""

import logging
import os
import socket
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

import torch

from core.engine.options import ReadOptions
from core.errors import ClusterError, OutOfMemory, UserError
from core.experiments.budget_sweep import (
    SharingKeywords,
    SweepProgress,
    Text,
    iter_reading,
    options_of,
    plan_sweep,
)
from core.experiments.records import LABELS, Reading, Record
from core.loading.load import load_model
from core.model.language_model import LanguageModel
from core.trace import Tokens

ATTEMPTS = 3  # how often a reading, or loading the model, is tried if the worker dies
BESIDE_THE_WEIGHTS = 2**30  # bytes that a worker needs in addition, for libraries and intermediate results


def iter_cluster_sweep(
    lm: LanguageModel,
    documents: Text | Mapping[str, Text],
    policies: Sequence[str],
    budgets: Sequence[int],
    *,
    address: str,
    window: int | None = None,
    records: Sequence[Record] = (),
    **sharing: Unpack[SharingKeywords],
) -> Iterator[SweepProgress]:
    """`iter_sweep` on a Ray cluster: the same records in the same order, a report after every reading.

    `address` is ``"auto"`` or host:port for the cluster that this machine is part of, or ``"local"`` for one that is
    started on this machine and ends with the sweep.

    There is one worker per GPU; without GPUs, as many as processors and memory allow. Each loads the model by
    `lm.model_id` in the dtype of `lm`, so if this is a directory, it must exist on every machine. `lm` itself is not
    run. Different processors, or numbers of processors per worker, may change the last digits by rounding. A reading
    whose worker dies is given to another. Records are reported in the order of the plan, so the record of a reading
    that ends early waits for those before it; if the sweep is stopped meanwhile, that reading must be repeated.

    Raises:
        BadInput: as `iter_sweep`, before the cluster is used.
        ClusterError: Ray is not installed, the cluster cannot be used, or workers die repeatedly.
        OutOfMemory: no machine of the cluster has enough memory for the model.
        UserError: any error that a worker raised.
    """
    how = options_of(sharing)
    plan = plan_sweep(lm, documents, policies, budgets, window=window, records=records, options=how)
    found, early = list(records), dict[int, Record]()
    if len(found) == len(plan.readings):
        return
    done = sum(record.tokens for record in found)
    with _connected(address) as ray:
        for i, record in _Crew(ray, lm, plan.readings, len(found), how).records():
            done += record.tokens
            early[i] = record
            while len(found) in early:
                found.append(early.pop(len(found)))
            yield SweepProgress(done, plan.total, found.copy(), plan.left_out)


class Worker:
    """A process of the cluster with the model in its memory."""

    def load(self, model: str, dtype: str, threads: int) -> None:
        """Load the model. This is not done in `__init__`, since Ray does not report exceptions raised there."""
        torch.set_num_threads(threads)
        self.lm = load_model(model, dtype=dtype)

    def read(self, reading: Reading, tokens: Tokens, options: ReadOptions) -> Record:
        """Read one window under one policy with one budget."""
        for record in iter_reading(self.lm, reading, tokens, options):
            last = record
        return last


@dataclass(frozen=True)
class _Task:
    """A task for a worker: the reading with this index in the plan, or loading the model (None); attempts from 1."""

    reading: int | None
    attempt: int = 1


class _Crew:
    """The workers of a sweep, which read as `options` say. A worker gets readings only after it has loaded the model.

    So no reading is given to a worker that Ray cannot start yet because no machine is free.
    """

    def __init__(
        self,
        ray: Any,
        lm: LanguageModel,
        readings: Sequence[tuple[Reading, Tokens]],
        first: int,
        options: ReadOptions,
    ) -> None:
        self.ray = ray
        self.readings = readings
        self._options = options
        self._waiting = deque(_Task(i) for i in range(first, len(readings)))
        self._left = len(self._waiting)
        self._idle: list[Any] = []
        self._running: dict[Any, tuple[Any, _Task]] = {}  # by Ray's reference to the task's result
        self._shipped: dict[tuple[str, int], Any] = {}  # the tokens of each window
        size, resources = _shares(ray, lm)
        self._new_worker = ray.remote(Worker).options(**resources).remote
        model = lm.model_id if lm.spec or not Path(lm.model_id).is_dir() else str(Path(lm.model_id).resolve())
        self._how_to_load = model, str(lm.model.dtype).removeprefix("torch."), resources["num_cpus"]
        for _ in range(min(size, self._left)):
            self._load(_Task(None))

    def records(self) -> Iterator[tuple[int, Record]]:
        """The indices of the readings in the plan and their records, as soon as they are done."""
        while self._left:
            (reference,), _ = self.ray.wait(list(self._running))
            worker, task = self._running.pop(reference)
            try:
                record = self.ray.get(reference)
            except self.ray.exceptions.RayTaskError as e:
                raise e.cause if isinstance(e.cause, UserError) else e from None
            except self.ray.exceptions.RayError as e:
                self._replace(task, e)
                record = None
            else:
                self._idle.append(worker)
            while self._idle and self._waiting:
                self._read(self._idle.pop(), self._waiting.popleft())
            if task.reading is not None and record is not None:
                self._left -= 1
                yield task.reading, record

    def _load(self, task: _Task) -> None:
        worker = self._new_worker()
        self._running[worker.load.remote(*self._how_to_load)] = worker, task

    def _read(self, worker: Any, task: _Task) -> None:
        assert task.reading is not None
        reading, tokens = self.readings[task.reading]
        window = reading.document, reading.window
        if window not in self._shipped:
            self._shipped[window] = self.ray.put(tokens)
        self._running[worker.read.remote(reading, self._shipped[window], self._options)] = worker, task

    def _replace(self, task: _Task, error: Exception) -> None:
        """Start a new worker in place of one that has died, and repeat its task."""
        if task.attempt == ATTEMPTS:
            raise _given_up(None if task.reading is None else self.readings[task.reading][0], error) from error
        again = _Task(task.reading, task.attempt + 1)
        if task.reading is None:
            self._load(again)
        else:
            self._waiting.appendleft(again)
            self._load(_Task(None))


def _given_up(reading: Reading | None, error: Exception) -> ClusterError:
    at = "loading the model"
    if reading is not None:
        budget = "" if reading.budget is None else f" with budget {reading.budget:,}"
        at = f"reading {reading.document}, window {reading.window}, under {LABELS[reading.policy]}{budget}"
    reason = str(error).strip().partition("\n")[0]
    return ClusterError(
        "{attempts} workers died one after another when {at} ({reason}). Most often the memory is too small: choose "
        "a smaller model or a shorter window.",
        attempts=ATTEMPTS,
        at=at,
        reason=reason,
    )


def _shares(ray: Any, lm: LanguageModel) -> tuple[int, dict[str, int]]:
    """How many workers the cluster has room for, and the resources that each requests from Ray."""
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if gpus := int(sum(machine.get("GPU", 0) for machine in machines)):
        return gpus, {"num_cpus": 1, "num_gpus": 1}
    weights = sum(parameter.numel() * parameter.element_size() for parameter in lm.model.parameters())
    memory = weights + BESIDE_THE_WEIGHTS
    rooms = [(int(machine.get("CPU", 0)), int(machine.get("memory", 0) // memory)) for machine in machines]
    rooms = [(cpus, models) for cpus, models in rooms if cpus and models]
    if not rooms:
        raise OutOfMemory(
            "A worker needs one processor and {memory:.1f} GiB of memory for {model}, and no machine of the cluster "
            "has both. Choose a smaller model, or add a larger machine.",
            memory=memory / 2**30,
            model=lm.model_id,
        )
    # if memory holds fewer models than there are processors, each worker gets several processors
    cpus_each = max(-(-cpus // models) for cpus, models in rooms)
    return sum(cpus // cpus_each for cpus, _ in rooms), {"num_cpus": cpus_each, "memory": memory}


def import_ray() -> Any:
    """Import Ray, without its usage statistics and without its messages about lost workers on stdout.

    Raises:
        ClusterError: Ray is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", "^")
    try:
        import ray  # noqa: PLC0415 (optional, and it reads the environment)
    except ImportError as e:
        raise ClusterError("A sweep on a cluster needs Ray, which is not installed: pip install ray") from e
    return ray


@contextmanager
def _connected(address: str) -> Iterator[Any]:
    """Ray, connected to the cluster."""
    ray = import_ray()
    if ray.is_initialized():
        raise ClusterError("This process is connected to a Ray cluster already: call ray.shutdown() first.")
    try:
        _check_answers(address)
        ray.init(
            address,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            runtime_env={"py_modules": [str(Path(__file__).parents[1])], "excludes": ["__pycache__"]},
        )
    except (OSError, ValueError, RuntimeError) as e:
        raise ClusterError(
            "The Ray cluster {address} cannot be used: {why} Give auto or host:port on a machine of a cluster that "
            "runs (ray start), or local to start one on this machine.",
            address=address,
            why=str(e),
        ) from e
    try:
        yield ray
    finally:
        ray.shutdown()


def _check_answers(address: str) -> None:
    """Raise OSError unless host and port answer within 10 seconds; Ray itself would try for two minutes."""
    host, _, port = address.rpartition(":")
    if host and port.isdigit() and "/" not in host:
        socket.create_connection((host, int(port)), timeout=10).close()
