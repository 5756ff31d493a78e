"""Tables as files: Excel takes them for UTF-8 by the mark they begin with, and whatever reads UTF-8 reads them."""

import csv
from codecs import BOM_UTF8
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from pandas import DataFrame, read_csv

from core.experiments.votes import VoteStore
from tests.traces import random_trace
from tests.writers import pair_of
from viz.page.export import write_comparison, write_files, write_rows, write_table
from viz.tabs.judging import export_votes

RUN = random_trace(3)
MODEL = "模型 🦊"


def votes(folder: Path) -> str:
    store = VoteStore(folder / "votes.db")
    store.add([replace(pair_of("a"), model=MODEL)])
    store.vote("a", "somebody", "win")
    return export_votes(store)


TABLES: dict[str, Callable[[Path], str]] = {
    "a run": lambda folder: write_files(RUN)[1],
    "a comparison": lambda folder: write_comparison([RUN], DataFrame({"model": [MODEL]}))[0],
    "a sweep": lambda folder: write_table(DataFrame({"model": [MODEL]}), "sweep"),
    "measures": lambda folder: str(write_rows([{"model": MODEL}], "kinds")),
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
