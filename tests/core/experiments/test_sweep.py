"""Sweeps against full logits of transformers, their numbers by hand, their files after a kill, and the command line."""

import csv
import math
import os
import signal
import subprocess
import sys
import time
from codecs import BOM_UTF8
from dataclasses import astuple, replace
from functools import partial
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch

from core import Trace, generate, iter_sweep, load_model, make_policy, replay, sweep
from core.__main__ import main
from core.errors import BadInput
from core.experiments.growing_csv import GrowingCsv
from core.experiments.records import Point, Record, budget_sentences, points, smallest_budget
from tests.conftest import VOCABULARY, text
from tests.words import with_words

ROOT = Path(__file__).parents[3]
POLICIES, BUDGETS = ["tova", "h2o"], [4, 9]


def outcomes(records):
    """The records without what no two runs have in common."""
    return [replace(record, seconds=0.0) for record in records]


# ---- what is read


@pytest.fixture(scope="module")
def documents():
    return {"first": text("llama-gqa", 50), "second": text("gpt2", 21)}


@pytest.fixture(scope="module")
def records(tiny, documents):
    return sweep(tiny("llama-gqa").lm, documents, POLICIES, BUDGETS, window=20)


def test_every_window_is_read_under_everything(records):
    keys = [(record.document, record.window, record.policy, record.budget) for record in records]
    curves = [("full", None)] + [(key, budget) for budget in BUDGETS for key in ("baseline", *POLICIES)]
    # 50 tokens are windows of 20, 20 and 10; of 21 a single token is left over
    windows = [("first", 0), ("first", 1), ("first", 2), ("second", 0)]
    assert keys == [(*window, *curve) for window in windows for curve in curves]
    assert {(record.document, record.window, record.tokens) for record in records} == {
        ("first", 0, 19),
        ("first", 1, 19),
        ("first", 2, 9),
        ("second", 0, 19),
    }
    assert len({record.text_hash for record in records}) == 4
    for record in records:
        assert record.perplexity == pytest.approx(math.exp(record.nll_sum / record.tokens))
        assert record.seconds > 0
        assert record.dtype == "float32"


def test_the_full_model_and_the_baseline_are_transformers_own(tiny, documents, records):
    model = tiny("llama-gqa").reference("eager")

    def nats(context, token):
        with torch.inference_mode():
            logits = model(torch.tensor([context]), use_cache=False).logits[0, -1]
        return -float(logits.log_softmax(-1)[token])

    checked = 0
    for record in records:
        if record.policy in ("full", "baseline"):
            ids = documents[record.document][record.window * 20 :][:20]
            budget = record.budget or len(ids)
            # a token's context begins at the last multiple of the budget before it
            expected = sum(nats(ids[(t - 1) // budget * budget : t], ids[t]) for t in range(1, len(ids)))
            assert record.nll_sum == pytest.approx(expected, abs=1e-4)
            checked += 1
    assert checked == 4 * 3


def test_policies_read_as_replay_does(tiny, documents, records):
    for record in records:
        if record.policy in POLICIES:
            ids = documents[record.document][record.window * 20 :][:20]
            trace = replay(tiny("llama-gqa").lm, ids, make_policy(record.policy, record.budget))
            assert record.nll_sum == pytest.approx(float(trace.nll[1:].sum()), abs=1e-4)


def test_a_budget_of_the_whole_window_is_the_full_model(tiny):
    full, *others = sweep(tiny("llama-gqa").lm, text("llama-gqa"), POLICIES, [22, 1000])
    assert [other.nll_sum for other in others] == pytest.approx([full.nll_sum] * 6, abs=1e-4)


def test_a_text_is_cut_at_the_models_context_unless_told(tiny):
    records = sweep(tiny("llama-gqa").lm, text("llama-gqa", 300), [], [64])
    assert [(record.window, record.tokens) for record in records if record.policy == "full"] == [
        (0, 127),
        (1, 127),
        (2, 43),
    ]
    assert {record.document for record in records} == {"text"}


def test_names_given_twice_or_always_there_are_read_once(tiny):
    records = sweep(tiny("gpt2").lm, text("gpt2"), ["tova", "full", "tova", "baseline"], [4, 4])
    assert [(record.policy, record.budget) for record in records] == [("full", None), ("baseline", 4), ("tova", 4)]


def test_a_budget_that_one_policy_cannot_have_is_left_out_for_that_policy_alone(tiny):
    *_, last = iter_sweep(tiny("llama-gqa").lm, text("llama-gqa"), ["window+i", "tova"], [4, 3, 5])
    curves = [(key, budget) for budget in (4, 3, 5) for key in ("baseline", "window+i", "tova")]
    curves = [("full", None), *(curve for curve in curves if curve not in [("window+i", 4), ("window+i", 3)])]
    assert [(record.policy, record.budget) for record in last.records] == curves
    assert last.done == last.total == 21 * len(curves)
    assert [sentence.partition(":")[0] for sentence in last.left_out] == [
        "Window+i is left out with budget 4",
        "Window+i is left out with budget 3",
    ]
    assert all("4 sink tokens" in sentence for sentence in last.left_out)
    assert len(points(last.records)) == len(curves)


@pytest.mark.parametrize(
    ("documents", "policies", "budgets", "how"),
    [
        ([], ["tova"], [4], {}),
        ([1], ["tova"], [4], {}),
        ({}, ["tova"], [4], {}),
        ({"good": [1, 2, 3], "short": [1]}, ["tova"], [4], {}),
        ([1, 2, 3], ["tova"], [], {}),
        ([1, 2, 3], ["tova"], [4, 0], {}),
        ([1, 2, 3], [], [0], {}),
        ([1, 2, 3], [], [2.5], {}),
        ([1, 2, 3], ["lru"], [4], {}),
        ([1, 2, 3], ["tova", "window+i"], [4, 3], {}),
        ([1, 2, VOCABULARY], ["tova"], [4], {}),
        ([1, 2, 3], ["tova"], [4], {"window": 1}),
        ([1, 2, 3], ["tova"], [4], {"window": 0}),
        ([1, 2, 3], ["tova"], [4], {"window": 129}),
    ],
)
def test_sweeps_that_cannot_be_made_are_refused_before_anything_is_read(tiny, documents, policies, budgets, how):
    with pytest.raises(BadInput):
        next(iter_sweep(tiny("gpt2").lm, documents, policies, budgets, **how))


# ---- progress, stopping and going on


def test_progress_grows_record_by_record_and_within(tiny, documents, records, monkeypatch):
    monkeypatch.setattr(import_module("core.experiments.budget_sweep"), "REPORT_EVERY", -1.0)
    monkeypatch.setattr(import_module("core.experiments.budget_sweep"), "LONGEST_CHUNK", 5)
    monkeypatch.setattr("core.engine.replay.REPORT_EVERY", -1.0)
    reports = list(iter_sweep(tiny("llama-gqa").lm, documents, POLICIES, BUDGETS, window=20))
    done = [report.done for report in reports]
    assert done == sorted(done)
    assert {report.total for report in reports} == {done[-1]} == {sum(record.tokens for record in records)}
    assert len(set(done)) > 2 * len(records)
    for report in reports:
        assert sum(record.tokens for record in report.records) <= report.done
        assert len(points(report.records)) == min(len(report.records), 7)


def test_a_stopped_sweep_goes_on_where_it_was(tiny, documents, records):
    lm = tiny("llama-gqa").lm
    for n in (0, 1, 8, len(records) - 1):
        *_, last = iter_sweep(lm, documents, POLICIES, BUDGETS, window=20, records=records[:n])
        assert outcomes(last.records) == outcomes(records)
        assert last.records[:n] == records[:n]
        assert last.done == last.total
    assert list(iter_sweep(lm, documents, POLICIES, BUDGETS, window=20, records=records)) == []


@pytest.mark.parametrize(
    ("setting", "changed"),
    [
        ("model", {"model": "gpt2"}),
        ("policy", {"policies": ["h2o", "tova"]}),
        ("budget", {"budgets": [5, 9]}),
        ("text_hash", {"documents": {"first": text("llama-gqa", 49), "second": text("gpt2", 21)}}),
        ("document", {"documents": {"another": text("llama-gqa", 50)}}),
        ("text_hash", {"window": 19}),
        ("more records", {"documents": {"first": text("llama-gqa", 20)}}),
    ],
)
def test_a_sweep_never_goes_on_with_anothers_records(tiny, documents, records, setting, changed):
    how = {"model": "llama-gqa", "documents": documents, "policies": POLICIES, "budgets": BUDGETS, "window": 20}
    how |= changed
    lm = tiny(how.pop("model")).lm
    with pytest.raises(BadInput, match=setting):
        next(iter_sweep(lm, records=records[:15], **how))


# ---- curves


def record(policy, budget, nll_sum, tokens=10, window=0, seconds=2.0):
    perplexity = math.exp(nll_sum / tokens)
    return Record("m", "float32", "d", window, "0", policy, budget, tokens, nll_sum, perplexity, seconds)


def test_points_pool_the_windows_that_all_have():
    some = [record("full", None, 10.0), record("tova", 4, 20.0)]
    assert points([]) == []
    assert points(some) == [Point("full", None, 10, math.e, 5.0), Point("tova", 4, 10, math.exp(2), 5.0)]
    more = [*some, record("full", None, 99.0, tokens=20, window=1)]
    assert points(more) == points(some), "a window that only one has would tilt the comparison"
    whole = [*more, record("tova", 4, 40.0, tokens=30, window=1, seconds=6.0)]
    full, tova = points(whole)
    assert full == Point("full", None, 30, math.exp(109 / 30), 7.5)
    assert tova == Point("tova", 4, 40, math.exp(60 / 40), 5.0)


def test_the_smallest_budget_within_five_percent():
    log = math.log
    records = [
        record("full", None, 10 * log(10.0)),
        record("baseline", 32, 10 * log(20.0)),
        record("tova", 32, 10 * log(10.51)),
        record("h2o", 32, 10 * log(10.49)),
        record("baseline", 64, 10 * log(15.0)),
        record("tova", 64, 10 * log(10.49)),
        record("h2o", 64, 10 * log(10.6)),
        record("tova", 16, 10 * log(10.2)),
    ]
    assert smallest_budget(records) == {"baseline": None, "tova": 16, "h2o": 32}
    assert smallest_budget(records, within=0.03) == {"baseline": None, "tova": 16, "h2o": None}
    assert smallest_budget([]) == smallest_budget(records[1:]) == {}
    assert budget_sentences(records) == [
        "Short context: none of the budgets tried comes within 5 % of the full model's perplexity.",
        "TOVA: 16 is the smallest budget tried that comes within 5 % of the full model's perplexity.",
        "H2O: 32 is the smallest budget tried that comes within 5 % of the full model's perplexity.",
    ]


# ---- the file

ODD = [
    record("full", None, 1 / 3),
    replace(record("tova", 64, 123.456), document='Les "Misérables", tome 1.txt', model="/a/b, c"),
    record("h2o", 64, 1e-9, window=12),
]


def write(path, records):
    file = GrowingCsv(path, Record)
    for one in records:
        file.append(one)
    file.close()


def read(path):
    file = GrowingCsv(path, Record)
    file.close()
    return file.records


def test_records_survive_the_file_to_the_last_digit(tmp_path):
    path = tmp_path / "sweep.csv"
    write(path, ODD[:2])
    write(path, ODD[2:])
    assert read(path) == ODD
    with path.open(newline="", encoding="utf-8-sig") as file:
        header, *rows = csv.reader(file)
    assert path.read_bytes().startswith(BOM_UTF8)
    assert header[0] == "model"
    assert header[-6:] == ["policy", "budget", "tokens", "nll_sum", "perplexity", "seconds"]
    assert [row[5:7] for row in rows] == [["full", ""], ["tova", "64"], ["h2o", "64"]]


@pytest.mark.parametrize("mark", [BOM_UTF8, b""], ids=["marked", "as before"])
def test_a_file_cut_anywhere_loses_at_most_its_half_line(tmp_path, mark):
    path = tmp_path / "sweep.csv"
    write(path, ODD)
    whole = mark + path.read_bytes().removeprefix(BOM_UTF8)
    for n in range(len(whole)):
        path.write_bytes(whole[:n])
        kept = max(whole[:n].count(b"\n") - 1, 0)
        assert read(path) == ODD[:kept]
        write(path, ODD[kept:])
        began = b"\n" in whole[:n]  # else the file is begun anew, with a mark
        assert path.read_bytes() == (whole if began else BOM_UTF8 + whole.removeprefix(BOM_UTF8))


@pytest.mark.parametrize(
    "content",
    [
        b"a diary without end",
        b"model\n",
        b"model,dtype,budget\n1,2,3\n",
        b"\x93NUMPY\x01\n\xff\xfe\n",
        "header" + "x,float32,d,0,0,tova,64,10,1.0,2.0\n",
        "header" + "x,float32,d,zero,0,tova,64,10,1.0,2.0,3.0\n",
        b"header" + b"\xff,float32,d,0,0,tova,64,10,1.0,2.0,3.0\n",
    ],
)
def test_a_file_that_is_no_sweep_is_refused_and_left_alone(tmp_path, content):
    path = tmp_path / "sweep.csv"
    write(path, [])
    content = content.encode() if isinstance(content, str) else content
    content = content.replace(b"header", path.read_bytes())
    path.write_bytes(content)
    with pytest.raises(BadInput, match=r"sweep\.csv"):
        GrowingCsv(path, Record)
    assert path.read_bytes() == content


def test_a_file_that_cannot_be_opened(tmp_path):
    for path in (tmp_path, tmp_path / "no" / "sweep.csv"):
        with pytest.raises(BadInput, match="cannot be written"):
            GrowingCsv(path, Record)


# ---- the command line


@pytest.fixture(scope="module")
def directory(tiny, tmp_path_factory):
    return with_words(tiny("llama-gqa").directory, tmp_path_factory.mktemp("with-tokenizer") / "model")


def written(path, ids):
    path.write_text(" ".join(f"w{i}" for i in ids))
    return str(path)


def test_trace_reads_a_file_and_saves_the_trace(directory, tmp_path, capsys):
    ids = text("llama-gqa", 40)
    file, out = written(tmp_path / "a.txt", ids), tmp_path / "run"
    command = ["trace", "--model", str(directory), "--text", file, "--policy", "h2o", "--budget", "6"]
    lm = load_model(str(directory))
    assert main([*command, "--out", str(out)]) == 0
    trace, expected = Trace.load(out), replay(lm, ids, make_policy("h2o", 6))
    np.testing.assert_array_equal(trace.evicted_at, expected.evicted_at)
    assert (trace.prompt_length, "".join(trace.tokens.pieces)) == (40, Path(file).read_text())
    assert "H2O, budget 6: 40 tokens, perplexity" in capsys.readouterr().out
    assert main([*command, "--new-tokens", "5", "--out", str(out)]) == 0
    trace = Trace.load(out)
    expected = generate(lm, ids, make_policy("h2o", 6), max_new_tokens=5)
    assert trace.tokens.ids.tolist() == expected.tokens.ids.tolist()
    assert (len(trace), trace.prompt_length) == (45, 40)


def test_the_commands_share_budgets_out_as_they_are_told(directory, tmp_path, capsys):
    ids, lm = text("llama-gqa", 40), load_model(str(directory))
    how = ["--model", str(directory), "--text", written(tmp_path / "a.txt", ids), "--every", "3", "--beta", "4"]
    out, file = tmp_path / "run", tmp_path / "sweep.csv"
    assert main(["trace", *how, "--policy", "knorm", "--budget", "6", "--budgets", "pyramid", "--out", str(out)]) == 0
    expected = replay(lm, ids, make_policy("knorm", 6), budgets="pyramid", beta=4, every=3)
    np.testing.assert_array_equal(Trace.load(out).evicted_at, expected.evicted_at)
    sweep = ["sweep", *how, "--policies", "knorm", "--budgets", "6", "--out", str(file)]
    assert main([*sweep, "--sharing", "pyramid"]) == 0
    assert read(file)[-1].nll_sum == pytest.approx(float(expected.nll[1:].sum()), rel=1e-5)
    assert main([*sweep, "--sharing", "adaptive"]) == 2
    assert "another" in capsys.readouterr().err


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_is_not_read(directory, tmp_path, encoding):
    words = " ".join(f"w{i}" for i in text("llama-gqa", 30))
    files = [tmp_path / "plain" / "a.txt", tmp_path / "marked" / "a.txt"]
    for file, its in zip(files, ("utf-8", encoding), strict=True):
        file.parent.mkdir()
        file.write_bytes(words.encode(its))
        command = ["--model", str(directory), "--text", str(file), "--out", str(file.with_suffix(".out"))]
        assert main(["trace", *command, "--budget", "6"]) == 0
        assert Trace.load(file.with_suffix(".out")).tokens.pieces[0] == words.split()[0]
        assert main(["sweep", *command[:-1], str(file.with_suffix(".csv")), "--budgets", "6"]) == 0
    plain, marked = (read(file.with_suffix(".csv")) for file in files)
    assert [one.text_hash for one in plain] == [one.text_hash for one in marked]


def test_sweep_prints_the_curve_and_the_budget(directory, tmp_path, capsys):
    files = [written(tmp_path / f"{n}.txt", text("llama-gqa", n)) for n in (30, 40)]
    out = tmp_path / "s.csv"
    command = ["sweep", "--model", str(directory), "--budgets", "4,50", "--policies", "tova", "--out", str(out)]
    assert main([*command, "--text", *files]) == 0
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert lines[-2:] == budget_sentences(read(out))
    assert lines[:-2] == [
        f"{label}: perplexity {point.perplexity:.2f}"
        for label, point in zip(
            ["Full", "Short context, budget 4", "TOVA, budget 4", "Short context, budget 50", "TOVA, budget 50"],
            points(read(out)),
            strict=True,
        )
    ]
    assert len(printed.err.splitlines()) == len(read(out)) == 10
    assert {one.document for one in read(out)} == {"30.txt", "40.txt"}
    before = out.read_bytes()
    assert main([*command, "--text", *files]) == 0
    again = capsys.readouterr()
    assert (again.out, again.err, out.read_bytes()) == (printed.out, "", before)
    assert main([*command, "--text", files[1]]) == 2
    assert out.read_bytes() == before


def test_what_the_user_can_mend_is_one_line_and_exit_code_2(directory, tmp_path, capsys):
    good = written(tmp_path / "a.txt", text("llama-gqa"))
    (tmp_path / "latin.txt").write_bytes("Misérables".encode("latin-1"))
    (tmp_path / "empty.txt").write_text(" \n")
    (tmp_path / "other").mkdir()
    twin = written(tmp_path / "other" / "a.txt", [1, 2, 3])
    model, out = ["--model", str(directory)], ["--out", str(tmp_path / "out")]
    nowhere = ["--out", str(tmp_path / "no" / "out")]
    trace, sweep = ["trace", "--text", good, *model], ["sweep", "--text", good, *model]
    for command in [
        [*trace, *out],
        [*trace, *out, "--policy", "lru", "--budget", "4"],
        [*trace, *out, "--policy", "full", "--budget", "4"],
        [*trace, *out, "--budget", "4", "--new-tokens", "-1"],
        [*trace, *out, "--budget", "4", "--new-tokens", "1000"],
        [*trace, *nowhere, "--budget", "4"],
        ["trace", "--text", str(tmp_path / "none.txt"), *model, *out, "--budget", "4"],
        ["trace", "--text", str(tmp_path / "latin.txt"), *model, *out, "--budget", "4"],
        ["trace", "--text", str(tmp_path / "empty.txt"), *model, *out, "--budget", "4"],
        ["trace", "--text", good, "--model", "no-such-model", *out, "--budget", "4"],
        [*sweep, *out, "--budgets", "4,many"],
        [*sweep, *out, "--budgets", ""],
        [*sweep, *out, "--budgets", "4", "--policies", "tova,lru"],
        [*sweep, *out, "--budgets", "4", "--window", "1"],
        [*sweep, *nowhere, "--budgets", "4"],
        ["sweep", "--text", good, twin, *model, *out, "--budgets", "4"],
        ["sweep", "--text", good, *model, "--out", good, "--budgets", "4"],
    ]:
        assert main(command) == 2, command
        printed = capsys.readouterr()
        assert len(printed.err.splitlines()) == 1, command
        assert printed.out == ""


def test_a_sweep_that_is_killed_and_interrupted_goes_on_to_the_same_file(directory, tmp_path, capsys):
    file, out = written(tmp_path / "book.txt", text("llama-gqa", 800)), tmp_path / "sweep.csv"
    command = ["sweep", "--model", str(directory), "--text", file, "--window", "100"]
    command += ["--budgets", "4,9", "--policies", "tova,h2o,window", "--out", str(out)]

    def started():
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        arguments = [sys.executable, "-m", "core", *command]
        heeds = partial(signal.signal, signal.SIGINT, signal.default_int_handler)  # tests may run where it is ignored
        return subprocess.Popen(arguments, cwd=ROOT, env=environment, stdout=-1, stderr=-1, text=True, preexec_fn=heeds)

    def stopped(run, how, after):
        """Send the signal when the file has that many records; returns how many it has then."""
        give_up = time.monotonic() + 120
        while not out.exists() or out.read_bytes().count(b"\n") < after + 1:
            assert run.poll() is None and time.monotonic() < give_up, run.communicate()[1]
            time.sleep(0.005)
        run.send_signal(how)
        _, errors = run.communicate(timeout=60)
        return out.read_bytes().count(b"\n") - 1, errors

    run = started()
    n_killed, _ = stopped(run, signal.SIGKILL, after=3)
    assert run.returncode == -signal.SIGKILL
    with out.open("ab") as half:
        half.write(b"half a li")
    run = started()
    n_interrupted, errors = stopped(run, signal.SIGINT, after=n_killed + 3)
    assert run.returncode == 130
    assert errors.splitlines()[-1] == "Stopped."
    assert "Traceback" not in errors
    assert main(command) == 0
    printed = capsys.readouterr().out
    ids = [int(word[1:]) for word in Path(file).read_text().split()]
    lm = load_model(str(directory))
    whole = sweep(lm, {"book.txt": ids}, ["tova", "h2o", "window"], [4, 9], window=100)
    assert n_killed < n_interrupted < len(whole) == 8 * 9
    found = read(out)
    assert [astuple(one)[:8] for one in found] == [astuple(one)[:8] for one in whole]
    np.testing.assert_allclose([one.nll_sum for one in found], [one.nll_sum for one in whole], rtol=1e-6)
    for sentence in budget_sentences(found):
        assert sentence in printed.splitlines()
