"""The benchmark's records, its prompts, its scores by hand, and an evaluation that is stopped and goes on."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from core import generate, load_model, make_policy
from core.__main__ import main
from core.errors import BadInput, TextTooLong
from core.experiments.answers import Rouge, f1, rouge
from core.experiments.ask import answer_of
from core.experiments.evaluate import Evaluation, Score, evaluate, iter_evaluate, scores, table
from core.experiments.growing_csv import GrowingCsv
from core.experiments.zeroscrolls import NO_EXPLANATION, TASKS, Example, prompt_of, read_examples
from tests.talkers import END, make_talker

ROOT = Path(__file__).parents[3]
INSTRUCTION = "You are given a log and a question. Answer in a phrase.\n\n"
LOG = "Log:\nDay 1: fog. Day 2: the ferry was late. Day 3: Maud lit the lamp with coals.\n\n"
QUERY = "Question:\nWho lit the lamp?\n\n"
HEADER = "Answer:\n"
OMITTED = "... [The rest of the log is left out]\n\n"


def record_of(id_, output, log=LOG, **more):
    """A record in the benchmark's format."""
    before = INSTRUCTION + log
    return {
        "id": id_,
        "pid": f"{id_}_0",
        "input": before + QUERY + HEADER,
        "output": output,
        "document_start_index": len(INSTRUCTION),
        "document_end_index": len(before),
        "query_start_index": len(before),
        "query_end_index": len(before) + len(QUERY),
        "truncation_seperator": OMITTED,
    } | more


RECORDS = [
    record_of("a1", "Maud"),
    record_of("b2", "the ferry", log="Log:\nDay 4: the ferry sailed, at noon, in the snow.\n\n"),
    record_of("a1", "the keeper Maud"),
    {"id": "c3", "input": "Just a question?", "output": ["yes", "no"]},
]


def written(path, records):
    path.write_text("\n".join(json.dumps(record) for record in records) + "\n\n", encoding="utf-8")
    return str(path)


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return make_talker(tmp_path_factory.mktemp("talker"), chats=True, context=600)


@pytest.fixture(scope="module")
def lm(directory):
    return load_model(directory)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return load_model(make_talker(tmp_path_factory.mktemp("plain"), chats=False, context=600))


@pytest.fixture(scope="module")
def examples(tmp_path_factory):
    return read_examples(written(tmp_path_factory.mktemp("file") / "validation.jsonl", RECORDS))


# ---- records


def test_records_with_one_id_are_one_example(examples):
    assert [example.id for example in examples] == ["a1", "b2", "c3"]
    assert [example.references for example in examples] == [
        ("Maud", "the keeper Maud"),
        ("the ferry",),
        ("yes", "no"),
    ]
    first = examples[0]
    assert first.input[first.query_start : first.query_end] == QUERY
    assert first.separator == OMITTED
    assert (examples[2].query_start, examples[2].query_end, examples[2].separator) == (None, None, "")


@pytest.mark.parametrize(
    "line",
    [
        "not json",
        "[]",
        '"text"',
        "null",
        '{"id": "a", "input": "text"}',
        '{"id": 7, "input": "text", "output": "x"}',
        '{"id": "a\\nb", "input": "text", "output": "x"}',
        '{"id": "a", "input": null, "output": "x"}',
        '{"id": "a", "input": "text", "output": null}',
        '{"id": "a", "input": "text", "output": []}',
        '{"id": "a", "input": "text", "output": [1]}',
        '{"id": "a", "input": "text", "output": "x", "query_start_index": 2}',
        '{"id": "a", "input": "text", "output": "x", "query_start_index": 3, "query_end_index": 2}',
        '{"id": "a", "input": "text", "output": "x", "query_start_index": 2, "query_end_index": 5}',
        '{"id": "a", "input": "text", "output": "x", "query_start_index": -1, "query_end_index": 2}',
        '{"id": "a", "input": "text", "output": "x", "query_start_index": "0", "query_end_index": "2"}',
        "[" * 100_000,
    ],
)
def test_a_line_that_is_no_record_is_named(tmp_path, line):
    path = tmp_path / "v.jsonl"
    path.write_text(json.dumps(RECORDS[0]) + "\n" + line + "\n")
    with pytest.raises(BadInput, match=r"v\.jsonl, line 2 is not a record"):
        read_examples(path)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_in_front_of_the_records_is_taken_off(tmp_path, encoding):
    path = written(tmp_path / "v.jsonl", RECORDS)
    (tmp_path / "marked.jsonl").write_bytes((tmp_path / "v.jsonl").read_text(encoding="utf-8").encode(encoding))
    assert read_examples(tmp_path / "marked.jsonl") == read_examples(path)


def test_files_that_cannot_be_used_are_refused(tmp_path):
    (tmp_path / "latin.jsonl").write_bytes('{"id": "é"}'.encode("latin-1"))
    (tmp_path / "empty.jsonl").write_text("\n\n")
    written(tmp_path / "twins.jsonl", [RECORDS[0], RECORDS[1] | {"id": "a1"}])
    for name, reason in (("none", "cannot be read"), ("latin", "UTF-8"), ("empty", "is empty"), ("twins", "line 2")):
        with pytest.raises(BadInput, match=reason):
            read_examples(tmp_path / f"{name}.jsonl")


# ---- prompts


def text_of(prompt):
    return "".join(prompt.tokens.pieces)


def test_a_plain_model_reads_the_input_as_it_is(plain, examples):
    for example in examples:
        for task in TASKS.values():
            prompt = prompt_of(plain, example, task, 8)
            assert (text_of(prompt), prompt.omitted) == (example.input, 0)


def test_a_chat_model_gets_no_header_and_in_qasper_is_asked_not_to_explain(lm, examples):
    asked = INSTRUCTION.rstrip() + NO_EXPLANATION + "\n\n" + LOG + QUERY
    assert text_of(prompt_of(lm, examples[0], TASKS["qasper"], 8)).count(asked + END) == 1
    assert text_of(prompt_of(lm, examples[0], TASKS["squality"], 8)).count(INSTRUCTION + LOG + QUERY + END) == 1
    assert f"user\n{examples[2].input}{END}" in text_of(prompt_of(lm, examples[2], TASKS["qasper"], 8))


@pytest.mark.parametrize("length", [350, 400, 500, 2000])
def test_a_document_that_is_too_long_loses_its_end(lm, plain, length):
    log = "Log:\n" + "".join(f"Day {i}: 海 fog. " for i in range(length))[:length] + "\n\n"
    example = read_one(record_of("a", "x", log=log))
    for model, before, after in ((plain, "", QUERY + HEADER), (lm, NO_EXPLANATION, QUERY)):
        prompt = prompt_of(model, example, TASKS["qasper"], 100)
        text = text_of(prompt)
        whole = INSTRUCTION.rstrip() + before + "\n\n" + log
        assert len(prompt.tokens) <= 500
        if not prompt.omitted:
            assert whole + after in text
            continue
        assert len(prompt.tokens) > 500 - 8, "no more is left out than must be"
        assert whole[: len(whole) - prompt.omitted] + OMITTED + after in text


def read_one(record):
    return Example(
        record["id"],
        record["input"],
        (record["output"],),
        record["query_start_index"],
        record["query_end_index"],
        OMITTED,
    )


def test_what_cannot_be_shortened_is_refused_with_both_numbers(plain, lm):
    long = "word " * 200
    with pytest.raises(TextTooLong, match=r"1,000 tokens, which with 8 for the answer are more than the 600"):
        prompt_of(plain, Example("a", long, ("x",)), TASKS["qasper"], 8)
    query_too_long = Example("a", "Log. " + long, ("x",), 5, 900, OMITTED)
    for model in (plain, lm):
        with pytest.raises(TextTooLong, match="600"):
            prompt_of(model, query_too_long, TASKS["squality"], 8)
    with pytest.raises(TextTooLong):
        prompt_of(plain, read_one(RECORDS[0]), TASKS["squality"], 590)


# ---- answers and scores


@pytest.mark.parametrize(("task", "prefill"), [("qasper", "one-shot"), ("squality", "token-by-token")])
def test_every_example_is_answered_under_everything(lm, examples, task, prefill):
    found = evaluate(
        lm, task, examples, ["window", "full", "tova", "window"], [9, 20, 9], new_tokens=6, prefill=prefill
    )
    curves = [("full", None), ("window", 9), ("tova", 9), ("window", 20), ("tova", 20)]
    assert [(one.example, one.policy, one.budget) for one in found] == [
        (example.id, *curve) for example in examples for curve in curves
    ]
    by_id = {example.id: example for example in examples}
    dtype = str(lm.model.dtype).removeprefix("torch.")
    for one in found:
        example = by_id[one.example]
        tokens = prompt_of(lm, example, TASKS[task], 6).tokens
        policy = make_policy(one.policy, one.budget)
        answer = answer_of(lm, generate(lm, tokens, policy, max_new_tokens=6, prefill=prefill)).text
        assert one.answer == " ".join(answer.split())
        assert (one.prompt_tokens, one.new_tokens, one.omitted) == (len(tokens), 6, 0)
        assert (one.task, one.prefill, one.dtype, one.model) == (task, prefill, dtype, lm.model_id)
        if task == "qasper":
            assert one.f1 == f1(answer, example.references) and one.rouge1 is None
        else:
            assert Rouge(one.rouge1, one.rouge2, one.rouge_l) == rouge(answer, example.references) and one.f1 is None
    assert len({one.answer for one in found}) > len(examples), "the policies must be told apart by something"


def test_the_benchmarks_own_limits_are_used(lm):
    example = Example("a", "Who?", ("x",))
    for task, limit in (("qasper", 128), ("squality", 512)):
        started = iter_evaluate(lm, task, [example], [], [4])
        assert next(started).total == len(prompt_of(lm, example, TASKS[task], limit).tokens) + limit
        started.close()


def evaluation(example, policy, budget, *numbers, task="squality", omitted=0):
    f1_, *by_rouge = numbers if task == "qasper" else (None, *numbers)
    measured = (f1_, *(by_rouge or [None] * 3))
    how = ("m", "float32", task, "token-by-token", 6, example, "0", omitted, policy, budget)
    return Evaluation(*how, 90, "yes", *measured, 1.0)


def test_f1_is_averaged_over_the_examples_that_all_have_answered():
    some = [evaluation("a", "full", None, 0.5, task="qasper"), evaluation("a", "tova", 4, 0.25, task="qasper")]
    assert scores([]) == [] == table([])
    assert scores(some) == [Score("full", None, 1, 0.5), Score("tova", 4, 1, 0.25)]
    more = [*some, evaluation("b", "full", None, 1.0, task="qasper")]
    assert scores(more) == scores(some)
    assert scores([*more, evaluation("b", "tova", 4, 0.0, task="qasper")]) == [
        Score("full", None, 2, 0.75),
        Score("tova", 4, 2, 0.125),
    ]


def test_the_geometric_mean_is_that_of_the_means():
    found = [evaluation("a", "full", None, 0.8, 0.0, 0.6), evaluation("b", "full", None, 0.4, 0.2, 0.2)]
    (one,) = scores(found)
    assert one.score == pytest.approx((0.6 * 0.1 * 0.4) ** (1 / 3)), "and not 0, the one of the first example"


def test_the_table_has_the_papers_shape():
    found = [evaluation("a", "full", None, 0.5, task="qasper")]
    for budget in (64, 1024):
        found += [evaluation("a", "tova", budget, budget / 2048, task="qasper", omitted=3)]
    found += [evaluation("a", "window", 64, 0.0, task="qasper")]
    title, shortened, *lines = table(found)
    assert title == "qasper: F1 in %, over 1 example"
    assert shortened.startswith("1 lost the end of the document")
    assert lines == [
        "             64    1,024",
        "Full       50.0     50.0",
        "TOVA        3.1     50.0",
        "Window      0.0         ",
    ]


def test_evaluations_that_cannot_be_made_are_refused_before_anything_is_read(lm, examples):
    for task, some, policies, budgets, how in (
        ("quality", examples, ["tova"], [4], {}),
        ("qasper", [], ["tova"], [4], {}),
        ("qasper", examples, ["tova"], [], {}),
        ("qasper", examples, ["tova"], [0], {}),
        ("qasper", examples, ["lru"], [4], {}),
        ("qasper", examples, ["tova"], [4], {"new_tokens": 0}),
        ("qasper", examples, ["tova"], [4], {"new_tokens": 599}),
        ("qasper", examples, ["tova"], [4], {"prefill": "at once"}),
    ):
        with pytest.raises(BadInput):
            next(iter_evaluate(lm, task, some, policies, budgets, **how))


def test_an_evaluation_never_goes_on_with_anothers_records(lm, examples):
    how = {"task": "qasper", "examples": examples[:2], "policies": ["tova"], "budgets": [4], "new_tokens": 2}
    found = evaluate(lm, **how)
    assert list(iter_evaluate(lm, **how, records=found)) == []
    *_, last = iter_evaluate(lm, **how, records=found[:3])
    assert last.records[:3] == found[:3]
    assert [replace(one, seconds=0.0) for one in last.records] == [replace(one, seconds=0.0) for one in found]
    assert last.done == last.total
    for setting, changed in (
        ("task", {"task": "squality"}),
        ("budget", {"budgets": [5]}),
        ("policy", {"policies": ["h2o"]}),
        ("new_tokens", {"new_tokens": 3}),
        ("prefill", {"prefill": "one-shot"}),
        ("example", {"examples": examples[1:]}),
        ("text_hash", {"examples": [replace(examples[2], id="a1"), examples[1]]}),
        ("more records", {"examples": examples[:1]}),
    ):
        with pytest.raises(BadInput, match=setting):
            next(iter_evaluate(lm, **how | changed, records=found))


# ---- the file and the command line


def test_records_survive_the_file_and_a_cut_anywhere(tmp_path):
    path = tmp_path / "results.csv"
    odd = [
        replace(evaluation('a, "b"', "full", None, 1 / 3, 1e-9, 1.0), answer='海, "yes"; no'),
        evaluation("b", "tova", 64, 0.25, task="qasper"),
        evaluation("c", "window", 9, 0.1, 0.2, 0.3, omitted=12),
    ]

    def opened(more=()):
        file = GrowingCsv(path, Evaluation)
        for one in more:
            file.append(one)
        file.close()
        return file.records

    assert opened(odd) == odd == opened()
    whole = path.read_bytes()
    for n in range(len(whole)):
        path.write_bytes(whole[:n])
        kept = max(whole[:n].count(b"\n") - 1, 0)
        assert opened() == odd[:kept]
        opened(odd[kept:])
        assert path.read_bytes() == whole
    header = whole[: whole.index(b"\n") + 1]
    for content in (b"a diary", b"model\n", header + b"1,2\n", whole.replace(b"64", b"many"), header + b"\xff\n"):
        path.write_bytes(content)
        with pytest.raises(BadInput, match=r"results\.csv"):
            GrowingCsv(path, Evaluation)
        assert path.read_bytes() == content
    with pytest.raises(BadInput, match="cannot be written"):
        GrowingCsv(tmp_path, Evaluation)


def command(directory, file, out, *more, task="qasper"):
    how = ["--policies", "tova,window", "--budgets", "9,20", "--new-tokens", "6"]
    return ["evaluate", task, "--file", file, "--model", directory, "--out", str(out), *how, *more]


def test_the_command_prints_the_table_and_goes_on(directory, lm, examples, tmp_path, capsys):
    file, out = written(tmp_path / "v.jsonl", RECORDS), tmp_path / "r.csv"
    assert main(command(directory, file, out, task="squality")) == 0
    printed = capsys.readouterr()
    expected = evaluate(lm, "squality", examples, ["tova", "window"], [9, 20], new_tokens=6)
    assert printed.out.splitlines() == table(expected)
    assert len(printed.err.splitlines()) == len(expected) == 15
    assert "a1, Full: " in printed.err and "c3, Window, budget 20: " in printed.err
    with out.open(newline="", encoding="utf-8-sig") as rows:
        assert [row["answer"] for row in csv.DictReader(rows)] == [one.answer for one in expected]
    assert main(command(directory, file, out, task="squality")) == 0
    assert capsys.readouterr() == (printed.out, "")
    one_shot = tmp_path / "one-shot.csv"
    assert main(command(directory, file, one_shot, "--prefill", "one-shot")) == 0
    assert {one.prefill for one in GrowingCsv(one_shot, Evaluation).records} == {"one-shot"}
    capsys.readouterr()
    for wrong in (
        command(directory, file, out),
        command(directory, file, tmp_path / "x.csv", task="quality"),
        command(directory, file, tmp_path / "x.csv", "--prefill", "at once"),
        command(directory, str(tmp_path / "none"), out),
        command(directory, file, file),
        command(directory, file, tmp_path / "no" / "x.csv"),
    ):
        assert main(wrong) == 2
        printed = capsys.readouterr()
        assert (len(printed.err.splitlines()), printed.out) == (1, "")


def test_an_evaluation_that_is_interrupted_goes_on_to_the_same_file(directory, lm, tmp_path, capsys):
    records = [record_of(f"e{i}", "Maud") for i in range(5)]
    file, out = written(tmp_path / "v.jsonl", records), tmp_path / "r.csv"
    started = [sys.executable, "-m", "core", *command(directory, file, out)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    heeds = partial(signal.signal, signal.SIGINT, signal.default_int_handler)  # tests may run where it is ignored
    run = subprocess.Popen(started, cwd=ROOT, env=environment, stderr=-1, text=True, preexec_fn=heeds)
    give_up = time.monotonic() + 120
    while not out.exists() or out.read_bytes().count(b"\n") < 4:
        assert run.poll() is None and time.monotonic() < give_up, run.communicate()[1]
        time.sleep(0.005)
    run.send_signal(signal.SIGINT)
    errors = run.communicate(timeout=120)[1]
    assert run.returncode == 130 and errors.splitlines()[-1] == "Stopped." and "Traceback" not in errors
    assert 3 <= out.read_bytes().count(b"\n") - 1 < 5 * 5
    with out.open("ab") as half:
        half.write(b"half a li")
    assert main(command(directory, file, out)) == 0
    whole = evaluate(lm, "qasper", read_examples(file), ["tova", "window"], [9, 20], new_tokens=6)
    found = GrowingCsv(out, Evaluation).records
    assert [replace(one, seconds=0.0) for one in found] == [replace(one, seconds=0.0) for one in whole]
    assert capsys.readouterr().out.splitlines() == table(whole)
