"""Tables as files: all digits, in English, and in UTF-8 with the mark that Excel takes it for UTF-8 by."""

import csv
from codecs import BOM_UTF8
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import gradio as gr
import numpy as np
import pytest
from pandas import read_csv

from core.experiments.records import POINT_COLUMNS, Point
from core.experiments.votes import VoteStore
from core.measures.costs import costs
from core.measures.tables import COST_COLUMNS
from core.store import Stored
from core.trace import Trace
from tests.pages import values_of
from tests.traces import random_trace
from tests.writers import pair_of, writer_model
from viz.page import models
from viz.page.asked import Asked, Chosen, reports, request_of, shown
from viz.page.export import write_files, write_rows
from viz.page.models import ResidentModels
from viz.page.runs import LoggedRun
from viz.tabs.budget import BudgetLens
from viz.tabs.budget import export as export_points
from viz.tabs.judging import export_votes
from viz.tabs.watch import export
from viz.words.catalogue import speaking

RUN = random_trace(3)
MODEL = "模型 🦊"


def votes(folder: Path) -> str:
    store = VoteStore(folder / "votes.db")
    store.add([replace(pair_of("a"), model=MODEL)])
    store.vote("a", "somebody", "win")
    return export_votes(store)


TABLES: dict[str, Callable[[Path], str]] = {
    "a run": lambda folder: write_files(Stored((RUN,)))[1],
    "measures": lambda folder: write_rows([{"model": MODEL}], "kinds"),
    "votes": votes,
}


@pytest.mark.parametrize("write", TABLES.values(), ids=TABLES)
def test_a_table_begins_with_a_mark_and_is_read_back(write, tmp_path):
    path = write(tmp_path)
    assert Path(path).read_bytes().startswith(BOM_UTF8)
    with open(path, encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    if "model" not in rows[0]:
        assert "".join(row["token"] for row in rows if row["layer"] == "0") == "".join(RUN.tokens.pieces)
        return
    assert [row["model"] for row in rows] == [MODEL]
    assert read_csv(path)["model"].tolist() == [MODEL], "pandas needs not be told of the mark"


# What is exported is what was computed, not what the page shows of it.

LANGUAGES = pytest.mark.parametrize("locale", ["en", "zh_CN"])
TEXT = "The keeper lit the lamp, and the lamp lit the sea, and the sea kept what it was told. " * 2


@pytest.fixture
def model(tiny: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    directory = writer_model(tiny("llama-gqa").directory, tmp_path / "model")
    monkeypatch.setattr(models, "resident", ResidentModels((directory,)))
    return directory


def rows_of(path: str) -> list[dict[str, str]]:
    with open(path, encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def test_a_run_is_exported_with_all_digits(model: str) -> None:
    asked = Asked(model, TEXT, (Chosen("tova", 8), Chosen("full"), Chosen("window+i", 8)))
    lm = models.resident.get(model)
    *_, last = reports(lm, request_of(lm, asked))
    files = write_files(last.stored)
    names = ["1-retention-tova-8", "2-retention-full", "3-retention-window+i-8"]
    traces = [f"{name}.{kind}" for name in names for kind in ("npz", "csv")]
    assert [Path(file).name for file in files] == [*traces, "costs.csv", "retention.html"]
    for file, trace in zip(files[:6:2], shown(last.stored), strict=True):
        np.testing.assert_array_equal(Trace.load(file).evicted_at, trace.evicted_at)

    rows = rows_of(files[-2])
    assert tuple(rows[0]) == COST_COLUMNS
    for row, cost in zip(rows, costs(last.stored.comparison), strict=True):
        policy, *numbers = row.values()
        assert policy == str(cost.policy)
        assert [float(number) for number in numbers] == [
            *(cost.perplexity, cost.mean_delta_nll, cost.mean_kl, 100 * cost.agreement),
            *(cost.memory / 1e6, cost.memory_llama_2_7b / 1e6, cost.tokens_per_second),
        ]


def test_one_policy_has_plain_names_and_what_each_wrote_no_common_cost(model: str) -> None:
    lm = models.resident.get(model)
    *_, last = reports(lm, request_of(lm, Asked(model, TEXT, (Chosen("tova", 8),), new_tokens=4)))
    names = ["retention-tova-8.npz", "retention-tova-8.csv", "retention-tova-8.html"]
    assert [Path(file).name for file in write_files(last.stored)] == names


def test_before_a_run_there_is_nothing_to_export() -> None:
    assert "value" not in export(None)


@LANGUAGES
def test_a_sweep_is_exported_with_all_digits(model: str, locale: str) -> None:
    with gr.Blocks():
        lens = BudgetLens()
    with speaking(locale):
        asked = Asked(model, TEXT, (Chosen("tova", 8), Chosen("window", 8)))
        *_, read, _ = lens.sweep(LoggedRun("budget"), "4, 8", *values_of(asked))
        shown, points = read[lens.table], read[lens.points]
        (file,) = export_points(points)["value"]

    assert Path(file).name == "sweep.csv" and len(points) == 7
    rows = rows_of(file)
    assert tuple(rows[0]) == POINT_COLUMNS
    for row, point in zip(rows, points, strict=True):
        assert isinstance(point, Point)
        assert row["budget"] == ("" if point.budget is None else str(point.budget))
        assert float(row["perplexity"]) == point.perplexity and int(row["tokens"]) == point.tokens
        assert float(row["tokens per second"]) == point.tokens_per_second
    assert {row["policy"] for row in rows} == {"Full", "Short context", "TOVA", "Window"}
    assert ("短上下文" in {row[0] for row in shown["data"]}) == (locale == "zh_CN")
    assert shown["data"][0][2] == round(points[0].perplexity, 3) != points[0].perplexity
