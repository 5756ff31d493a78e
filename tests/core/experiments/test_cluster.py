"""A sweep on a real Ray cluster of two workers finds what it finds without, though workers are killed and err."""

import itertools
import os
import sys
import threading
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace

import psutil
import pytest

from core import load_model
from core.__main__ import main
from core.errors import BadInput, ClusterError
from core.experiments.budget_sweep import plan_sweep
from core.experiments.cluster import ATTEMPTS, import_ray, iter_cluster_sweep
from core.experiments.growing_csv import GrowingCsv
from core.experiments.records import Record
from tests.conftest import VOCABULARY, N, text
from tests.words import with_words

NOWHERE = "127.0.0.1:1"


@pytest.fixture(scope="module")
def directory(tiny, tmp_path_factory):
    return with_words(tiny("llama-gqa").directory, tmp_path_factory.mktemp("with-tokenizer") / "model")


@pytest.fixture(scope="module")
def address():
    """The address of a cluster of this machine, in which there is room for two workers."""
    # Ray makes its workers give way to all else that runs: beside other tests one of these took minutes to start.
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 (Ray's name)
    import_ray()
    from ray.cluster_utils import Cluster  # noqa: PLC0415 (only after import_ray)

    head = {"num_cpus": 2, "memory": 8 * 2**30, "object_store_memory": 80 * 2**20, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    yield cluster.address
    cluster.shutdown()


def reading(process):
    """It is in the middle of a reading: Ray gives processes a title for what they do."""
    return process.cmdline()[:1] == ["ray::Worker.read"]


def starting(process):
    """It is about to become a worker: it loads our libraries."""
    return any("libtorch" in file.path for file in process.memory_maps())


def workers():
    """The processes of our cluster that are workers, or are to become some."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if process.name().startswith("ray::"):
                found.append(process)
    return found


@contextmanager
def killing(doing, most):
    """Meanwhile workers that do this are killed, at most so many; gives the list of those."""
    killed, over = [], threading.Event()

    def kill_if_doing(process):
        with suppress(psutil.NoSuchProcess):
            if len(killed) < most and process.pid not in killed and doing(process):
                process.suspend()
                if doing(process):  # now that it cannot go on to something else
                    process.kill()
                    killed.append(process.pid)
                process.resume()

    def kill():
        # What a worker does changes in milliseconds, but it takes seconds to start one: to look for new ones at every
        # turn would keep a core busy, for which the workers wait.
        for turn in itertools.count():
            if len(killed) == most or over.wait(0.02):
                break
            if turn % 25 == 0:
                known = workers()
            for process in known:
                kill_if_doing(process)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield killed
    finally:
        over.set()
        thread.join()


def outcomes(path):
    """What the file says, without what no two runs have in common, and with the last digits rounded away."""
    file = GrowingCsv(path, Record)
    file.close()
    return [
        replace(record, seconds=0.0, nll_sum=pytest.approx(record.nll_sum), perplexity=pytest.approx(record.perplexity))
        for record in file.records
    ]


def test_the_command_writes_the_same_file_though_a_worker_is_killed(directory, address, tmp_path, capsys):
    book, alone, out = tmp_path / "book.txt", tmp_path / "alone.csv", tmp_path / "cluster.csv"
    book.write_text(" ".join(f"w{i}" for i in text("llama-gqa", 380)))
    command = ["sweep", "--model", str(directory), "--text", str(book), "--policies", "tova,window+i"]
    command += ["--budgets", "4,2,9", "--out"]
    assert main([*command, str(alone)]) == 0
    expected = capsys.readouterr()
    header, first, second, *others = alone.read_bytes().splitlines(keepends=True)
    assert len(others) == 3 * 8 - 2
    out.write_bytes(header + first + second[:20])  # a sweep that was stopped, and goes on
    with killing(reading, most=1) as killed:
        assert main([*command, str(out), "--ray", address]) == 0
    assert len(killed) == 1
    printed = capsys.readouterr()
    assert printed.out == expected.out
    assert len(printed.err.splitlines()) == len(expected.err.splitlines()) - 1
    assert out.read_bytes().startswith(header + first)
    assert outcomes(out) == outcomes(alone)
    assert main([*command, str(out), "--ray", NOWHERE]) == 0, "nothing is left to be done"
    assert capsys.readouterr() == (expected.out, "")


def all_but_the_last(lm, documents):
    """Records as if a sweep of these texts with budget 4 had been stopped: a single worker will go on."""
    plan = plan_sweep(lm, documents, [], [4])
    found = {"tokens": N - 1, "nll_sum": 1.0, "perplexity": 1.0, "seconds": 1.0}
    return [Record(**asdict(reading), **found) for reading, _ in plan.readings[:-1]]


def test_what_a_worker_raises_arrives(directory, address):
    lm = load_model(str(directory), dtype="float32")
    good = lm.as_tokens(text("llama-gqa"))
    documents = {"strange": replace(good, ids=good.ids + VOCABULARY)}
    records = all_but_the_last(lm, documents)
    with pytest.raises(BadInput, match="Token ids must be from 0 to 96") as raised:
        next(iter_cluster_sweep(lm, documents, [], [4], address=address, records=records))
    assert type(raised.value) is BadInput


def test_workers_that_always_die_are_given_up(directory, address):
    lm = load_model(str(directory))
    tokens = text("llama-gqa")
    records = all_but_the_last(lm, tokens)
    with (
        killing(starting, most=1000) as killed,
        pytest.raises(ClusterError, match=f"{ATTEMPTS} workers died .* loading the model"),
    ):
        next(iter_cluster_sweep(lm, tokens, [], [4], address=address, records=records))
    assert len(killed) >= ATTEMPTS


@pytest.mark.parametrize(
    ("policies", "budgets", "how"),
    [(["lru"], [4], {}), (["tova"], [0], {}), (["window+i"], [4], {}), (["tova"], [4], {"window": 129})],
)
def test_bad_input_is_found_before_the_cluster_is_asked(tiny, policies, budgets, how):
    with pytest.raises(BadInput):
        next(iter_cluster_sweep(tiny("llama-gqa").lm, text("llama-gqa"), policies, budgets, address=NOWHERE, **how))


@pytest.mark.parametrize("address", [NOWHERE, "nowhere", "no-such-host.invalid:6379"])
def test_a_cluster_that_is_not_there(tiny, address):
    with pytest.raises(ClusterError, match=f"{address} cannot be used"):
        next(iter_cluster_sweep(tiny("llama-gqa").lm, text("llama-gqa"), [], [4], address=address))


def test_without_ray_it_says_how_to_install_it(tiny, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ClusterError, match="pip install ray"):
        next(iter_cluster_sweep(tiny("llama-gqa").lm, text("llama-gqa"), [], [4], address="local"))
