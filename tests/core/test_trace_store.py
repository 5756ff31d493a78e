"""The store gives back what was put in, within its limit, whatever becomes of its files and of who uses it."""

import io
import multiprocessing
import os
import pickle
import signal
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

import core
from core import store as trace_store
from core.errors import BadInput, StoreUnavailable
from core.measures.costs import costs
from core.policies import settings_of
from core.store import Stored, TraceStore, key_of
from core.trace import Tokens, Trace
from tests.conftest import text
from tests.pages import values_of, watch_page
from tests.writers import writer_model
from viz.page import models
from viz.page.asked import Asked, Chosen
from viz.page.models import ResidentModels
from viz.page.runs import a_run

FORK = multiprocessing.get_context("fork")
KEY = "a5" * 32


@pytest.fixture(scope="module")
def lm(tiny) -> core.LanguageModel:
    return tiny("llama-gqa").lm


@pytest.fixture(scope="module")
def trace(lm: core.LanguageModel) -> Trace:
    return core.replay(lm, text("llama-gqa"), core.make_policy("h2o", budget=6))


@pytest.fixture
def store(tmp_path: Path) -> TraceStore:
    return TraceStore(tmp_path / "runs", 1)


def nth(i: int) -> str:
    return f"{i:064x}"


def same(one: Trace, other: Trace) -> bool:
    files = io.BytesIO(), io.BytesIO()
    for trace, file in zip((one, other), files, strict=True):
        trace.save(file)
    return files[0].getvalue() == files[1].getvalue()


def taken(store: TraceStore) -> int:
    return sum(file.stat().st_size for file in store.directory.rglob("*") if file.is_file())


def rows(store: TraceStore) -> int:
    with sqlite3.connect(store.directory / "cache.db") as database:
        return database.execute("SELECT COUNT(*) FROM Cache").fetchone()[0]


def overwrite(store: TraceStore, **columns: object) -> None:
    with sqlite3.connect(store.directory / "cache.db") as database:
        for column, value in columns.items():
            database.execute(f"UPDATE Cache SET {column} = ?", (value,))


def test_what_is_stored_is_what_was_computed_also_after_a_restart(store: TraceStore, trace: Trace) -> None:
    assert store.get(KEY) is None
    assert store.put(KEY, Stored((trace,), {"full_perplexity": np.array(12.5)}))
    for opened in (store, TraceStore(store.directory)):
        found = opened.get(KEY)
        assert same(found.traces[0], trace)
        assert len(found.traces) == 1
        assert float(found.arrays["full_perplexity"]) == 12.5


def test_a_comparison_comes_back_with_all_its_numbers(store: TraceStore, lm: core.LanguageModel) -> None:
    ids = lm.as_tokens(text("llama-gqa"))
    comparison = core.compare(lm, ids, [core.make_policy("tova", budget=6), core.foresee(lm, ids, 6)])
    store.put(KEY, Stored.of(comparison))
    found = store.get(KEY).comparison
    assert costs(found) == costs(comparison)
    assert found.row_bytes == comparison.row_bytes
    np.testing.assert_array_equal(found.kl, comparison.kl)
    np.testing.assert_array_equal(found.agrees, comparison.agrees)
    for one, other in zip((found.full, *found.traces), (comparison.full, *comparison.traces), strict=True):
        assert same(one, other)


def test_whatever_changes_the_result_changes_the_key(tiny, lm: core.LanguageModel) -> None:
    tokens = lm.as_tokens(text("llama-gqa"))
    pieces = ("other", *tokens.pieces[1:])

    def key(lm=lm, tokens=tokens, policy=("random", 6, {"seed": 0}), **more) -> str:
        name, budget, own = policy
        return key_of(lm, tokens, [settings_of(core.make_policy(name, budget, **own))], **more)

    changed = tiny("llama-gqa").load()
    changed.model.get_output_embeddings().weight.data += 0.001
    others = [
        key(lm=tiny("qwen2").lm),
        key(lm=changed),
        key(lm=core.load_model(lm.model_id, dtype="float64", device="cpu")),
        key(tokens=tokens[:-1]),
        key(tokens=Tokens(tokens.ids, pieces, tokens.offsets, tokens.special, tokens.continued)),
        key(policy=("random", 7, {"seed": 0})),
        key(policy=("random", 6, {"seed": 1})),
        key(policy=("window", 6, {})),
        *(key(**how) for how in ({"prefill": "one-shot"}, {"positions": "in-cache"}, {"every": 2})),
        *(key(budgets="pyramid", beta=beta) for beta in (20, 10)),
        *(key(generation=how) for how in ((1, 0.0, 1.0, 0), (0, 1.0, 1.0, 0), (0, 0.0, 0.5, 0), (0, 0.0, 1.0, 1))),
        key(beside_full=True),
    ]
    assert key() == key(chunk=7, beta=10), "what does not change the result"
    assert key() == key(lm=tiny("llama-gqa").load()), "the same model, loaded again"
    assert len({key(), *others}) == 1 + len(others)


def test_the_limit_holds_and_what_is_used_stays(store: TraceStore, trace: Trace) -> None:
    stored = Stored((trace,), {"much": np.zeros(5_000)})
    for i in range(60):
        assert store.put(nth(i), stored)
        assert taken(store) <= 1_000_000
        assert store.get(nth(0)) is not None
    kept = [i for i in range(60) if store.get(nth(i)) is not None]
    assert 8 < len(kept) < 25
    assert kept == [0, *range(60 - len(kept) + 1, 60)]


def test_one_entry_may_not_drive_out_the_others(store: TraceStore, trace: Trace) -> None:
    store.put(KEY, Stored((trace,)))
    assert not store.put(nth(0), Stored((trace,), {"noise": np.random.default_rng(0).random(10_000)}))
    assert store.get(nth(0)) is None
    assert store.get(KEY) is not None


@pytest.mark.parametrize("damage", ["a byte", "cut short", "empty"])
def test_a_damaged_entry_is_not_there_and_goes(store: TraceStore, trace: Trace, damage: str) -> None:
    store.put(KEY, Stored((trace,)))
    with sqlite3.connect(store.directory / "cache.db") as database:
        value = database.execute("SELECT value FROM Cache").fetchone()[0]
    flipped = value[:3000] + bytes([value[3000] ^ 1]) + value[3001:]
    overwrite(store, value={"a byte": flipped, "cut short": value[:-1], "empty": b""}[damage])
    assert store.get(KEY) is None
    assert rows(store) == 0
    assert store.put(KEY, Stored((trace,)))
    assert same(store.get(KEY).traces[0], trace)


class Bomb:
    def __reduce__(self) -> tuple:
        return (os.mkdir, ("exploded",))


def test_nothing_is_unpickled(store: TraceStore, trace: Trace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    bomb = pickle.dumps(Bomb())
    (store.directory / "bomb.val").write_bytes(bomb)
    for columns in ({"mode": 4, "value": bomb}, {"mode": 4, "value": None, "filename": "bomb.val"}, {"raw": 0}):
        store.put(KEY, Stored((trace,)))
        overwrite(store, **columns)
        assert store.get(KEY) is None
    with pytest.raises(TypeError):
        store._cache.set(KEY, {"any": "object"})
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("key", ["", "../../etc/passwd", "A5" * 32, "a5" * 31, "a5" * 32 + "\n", "é" * 64])
def test_a_key_from_a_stranger_is_a_digest_or_nothing(store: TraceStore, trace: Trace, key: str) -> None:
    store.put(key, Stored((trace,)))
    assert store.get(key) is None


def test_a_database_that_is_none_is_put_aside(store: TraceStore, trace: Trace) -> None:
    (store.directory / "cache.db").write_bytes(b"no database" * 1000)
    anew = TraceStore(store.directory)
    assert anew.put(KEY, Stored((trace,)))
    assert same(anew.get(KEY).traces[0], trace)


def test_a_store_that_fails_costs_no_run(store: TraceStore, trace: Trace) -> None:
    store.put(KEY, Stored((trace,)))
    with sqlite3.connect(store.directory / "cache.db") as database:
        database.execute("DROP TABLE Cache")
    assert store.get(KEY) is None
    assert not store.put(KEY, Stored((trace,)))


def test_where_no_store_can_be_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreUnavailable, match="--store"):
        TraceStore(tmp_path / "file" / "runs")
    with pytest.raises(BadInput, match="from 1 to"):
        TraceStore(tmp_path / "runs", 0)


def test_a_writer_that_is_killed_leaves_a_store_that_is_whole(tmp_path: Path, trace: Trace) -> None:
    directory = tmp_path / "runs"
    stored = Stored((trace,), {"much": np.random.default_rng(0).random(50_000)})  # most of the time is for writing

    def write() -> None:
        own = TraceStore(directory, 10)
        for i in range(100_000):
            own.put(nth(i), stored)

    for seconds in (0.03, 0.05, 0.07):
        writer = FORK.Process(target=write)
        writer.start()
        while not (directory / "cache.db").exists() or (directory / "cache.db").stat().st_size < 1_000_000:
            time.sleep(0.005)
        time.sleep(seconds)
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
        store = TraceStore(directory, 10)
        with sqlite3.connect(directory / "cache.db") as database:
            assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            keys = [key for (key,) in database.execute("SELECT key FROM Cache")]
        assert all(same(store.get(key).traces[0], trace) for key in keys)
    assert keys
    assert store.put(KEY, stored)


def compute_once(directory: Path, trace: Trace, computed: Path) -> None:
    store = TraceStore(directory)
    with store.turn(KEY) as comes:
        while not comes():
            pass
        if store.get(KEY) is None:
            with computed.open("a") as file:
                file.write("once\n")
            time.sleep(0.3)
            store.put(KEY, Stored((trace,)))
    assert same(store.get(KEY).traces[0], trace)


@pytest.mark.parametrize("start", [FORK.Process, threading.Thread])
def test_equal_requests_are_computed_once(tmp_path: Path, trace: Trace, start: Callable) -> None:
    asking = [start(target=compute_once, args=(tmp_path / "runs", trace, tmp_path / "computed")) for _ in range(4)]
    for each in asking:
        each.start()
    for each in asking:
        each.join()
        assert getattr(each, "exitcode", 0) == 0
    assert (tmp_path / "computed").read_text() == "once\n"


def test_it_opens_while_another_process_writes(store: TraceStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of the statements of diskcache's opening does not wait for the writer; here its time is just then."""
    real, tries = trace_store.diskcache.Cache, []

    def locked_at_first(*arguments: object, **settings: object) -> object:
        tries.append(1)
        if len(tries) == 1:
            raise sqlite3.OperationalError("database is locked")
        return real(*arguments, **settings)

    monkeypatch.setattr(trace_store.diskcache, "Cache", locked_at_first)
    assert TraceStore(store.directory).get(KEY) is None and len(tries) == 2


def test_whoever_waits_for_one_that_is_killed_has_the_turn(tmp_path: Path) -> None:
    def hold() -> None:
        with TraceStore(tmp_path / "runs").turn(KEY) as comes:
            comes()
            (tmp_path / "held").touch()
            time.sleep(60)

    store = TraceStore(tmp_path / "runs")
    holder = FORK.Process(target=hold)
    holder.start()
    while not (tmp_path / "held").exists():
        time.sleep(0.01)
    assert store.is_computing(KEY)
    assert not store.is_computing(nth(0))
    os.kill(holder.pid, signal.SIGKILL)
    holder.join()
    assert not store.is_computing(KEY)
    with store.turn(KEY) as comes:
        assert comes(0)


def test_a_run_that_is_stopped_is_not_stored_and_the_next_computes(
    tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = writer_model(tiny("llama-gqa").directory, tmp_path / "model")
    monkeypatch.setattr("core.engine.generate.REPORT_EVERY", 0)  # a report after every token
    monkeypatch.setattr(models, "resident", ResidentModels((model,)))
    store = TraceStore(tmp_path / "runs")
    asked = Asked(model, "w1 w2 w3 w4 w5 w6", (Chosen("tova", 4),), new_tokens=20)
    watch = watch_page(store)
    line, picture, shown = watch.sidebar.status, watch.map, watch.run.stored

    def started():
        return a_run("watch", line, watch.read)(*values_of(asked))

    first = started()
    assert "Loading" in next(first)[line]
    assert "tokens" in next(first)[line]
    second = started()
    next(second)
    assert "going on already" in next(second)[line]
    first.close()
    assert rows(store) == 0
    *_, last = second
    assert "Done" in last[line] and "store" not in last[line]
    *_, again = started()
    assert "comes from the store" in again[line]
    assert same(again[shown].traces[0], last[shown].traces[0])
    assert again[picture]["policies"][0]["note"] == last[picture]["policies"][0]["note"] != ""
    assert again[picture]["key"] == last[picture]["key"]
    assert same(store.get(last[picture]["key"]).traces[0], last[shown].traces[0])


def test_a_store_waits_while_another_process_opens_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace_store, "PATIENCE", 0.1)
    with ThreadPoolExecutor() as replica:
        with FileLock(tmp_path / "opening"):
            opened = replica.submit(TraceStore, tmp_path)
            with pytest.raises(TimeoutError):
                opened.result(timeout=0.5)
        assert opened.result(timeout=10).get("0" * 64) is None
    monkeypatch.setattr(trace_store, "OPENING", 0.1)
    with FileLock(tmp_path / "opening"), pytest.raises(StoreUnavailable, match="--store"):
        TraceStore(tmp_path)
