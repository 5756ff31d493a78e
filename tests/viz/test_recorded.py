"""A recorded run has no budget, no reasons and no importances: that is said, and nothing is made up."""

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.errors import BadTraceFile
from core.store import Stored
from core.trace import NEVER, Trace, recorded
from tests.traces import HOSTILE, random_trace
from viz.figures.style import run_names
from viz.maps.payload import payload
from viz.page.export import write_csv, write_files
from viz.page.uploads import trace_of
from viz.tabs.cost import RECORDED, why_none
from viz.tabs.tokens import AT_FIRST, OF_ALL_RUNS, OF_ONE_RUN, TABLES
from viz.words.headlines import headline
from viz.words.policies import policy_name
from viz.words.run_sentence import run_sentence
from viz.words.sentences import why


def as_recorded(trace: Trace, name: str = "") -> Trace:
    unknown = np.full(trace.evicted_at.shape, np.nan, np.float32)
    return replace(
        trace,
        policy=recorded(name),
        nll=np.full(len(trace), np.nan, np.float32),
        importance_at_eviction=unknown,
        runner_up_importance=unknown,
        attention_received=unknown,
    )


POLICYS = random_trace(5, layers=4, groups=2, n=60, budget=12)
RUN = as_recorded(POLICYS)
WHOLE = replace(RUN, evicted_at=np.full_like(RUN.evicted_at, NEVER))


def test_a_name_is_its_owners_and_without_one_it_is_in_the_language_of_the_page() -> None:
    assert policy_name(recorded("SnapKV, half")) == "SnapKV, half"
    assert policy_name(recorded()) == "Recorded"
    assert run_names([as_recorded(RUN, "<b>mine</b>")]) == ["&lt;b&gt;mine&lt;/b&gt;"]


def test_headlines() -> None:
    kept = RUN.kept(59)
    old = (kept & (np.arange(60) <= 59 - 12)).sum() / kept.sum()
    assert headline(RUN).startswith(f"12 rows in each of 8 KV heads · {old:.0%} of them not recent · first token ")
    uneven = RUN.evicted_at.copy()
    uneven[1, 0] = NEVER
    assert headline(replace(RUN, evicted_at=uneven)).startswith("12 – 60 rows in each of 8 KV heads")
    assert headline(WHOLE) == "60 rows in each of 8 KV heads · nothing was evicted"


def test_sentences_about_the_run() -> None:
    said = run_sentence(RUN)
    assert said.startswith("Recorded: first token kept to the end in ")
    assert said.endswith("Its budget is not known: recent are as many of the last tokens as there are rows.")
    assert run_sentence(WHOLE) == "Recorded: nothing was evicted."


def test_why_is_not_known() -> None:
    evicted_at = np.full((1, 1, 6), NEVER, np.int32)
    evicted_at[0, 0, :3] = 3, 4, 2
    trace = replace(random_trace(1, layers=1, n=6), policy=recorded(), prefill="one-shot", prompt_length=4)
    trace = as_recorded(replace(trace, evicted_at=evicted_at))
    for position, said in (
        (0, "(step 3): not among the rows kept when the prompt had been read; a recording does not tell why."),
        (1, "(step 4): a recording does not tell why."),
        (2, "while reading itself (step 2): a recording does not tell why."),
        (5, "at the end (step 5), 0 steps after reading it."),
    ):
        sentence = why(trace, 0, 0, position)
        assert sentence.startswith("Layer 0, KV head 0, ") and sentence.endswith(said)


def test_the_map_gets_it() -> None:
    (sent,) = payload([as_recorded(RUN, "mine")])["policies"]
    assert (sent["policy"], sent["budget"], sent["at_most"], sent["groups"]) == ("mine", None, None, 2)


def numbers_in(value: Any) -> list[float]:
    if isinstance(value, dict):
        return [number for one in value.values() for number in numbers_in(one)]
    if isinstance(value, list | tuple | np.ndarray):
        return [number for one in value for number in numbers_in(one)]
    return [float(value)] if isinstance(value, int | float | np.number) else []


@pytest.mark.parametrize("name", [*AT_FIRST, *OF_ALL_RUNS])
def test_figures_of_runs(name: str) -> None:
    figure: Callable[..., Any] = (AT_FIRST | OF_ALL_RUNS)[name]
    names = {trace.name for trace in figure([RUN]).data}
    if name == "ages":
        assert names == {"Window, any budget"}
        assert "no line here" in figure([RUN]).layout.annotations[0].text
        assert not figure([random_trace(1)]).layout.annotations
    else:
        assert "Recorded" in names
    for drawn in figure([RUN]).data:
        if drawn.name == "Recorded":
            y = numbers_in(drawn.y if name != "kinds" else drawn.x)
            assert y and not np.isnan(y).any()


@pytest.mark.parametrize("name", OF_ONE_RUN)
def test_figures_of_one_run_are_those_of_the_policy_that_keeps_the_same(name: str) -> None:
    ours, its = (OF_ONE_RUN[name](trace).data[0].z for trace in (RUN, POLICYS))
    np.testing.assert_array_equal(ours, its)


@pytest.mark.parametrize("name", TABLES)
def test_tables_have_numbers_and_no_budget(name: str) -> None:
    rows = TABLES[name](RUN)
    assert rows and all(row.get("budget") is None for row in rows)
    assert not np.isnan(numbers_in(rows)).any()


def test_the_file_of_a_table_leaves_out_what_is_not_known(tmp_path: Path) -> None:
    with (tmp_path / "run.csv").open("w", newline="") as file:
        write_csv(RUN, file)
    with (tmp_path / "run.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    unknown = ("importance_at_eviction", "runner_up_importance", "attention_received")
    assert {row[name] for row in rows for name in unknown} == {""}
    gone = [int(row["evicted_at"] or NEVER) for row in rows]
    assert gone == RUN.evicted_at.ravel().tolist()
    assert [Path(file).name for file in write_files(Stored((RUN,)))] == [
        f"retention-recorded.{kind}" for kind in ("npz", "csv", "html")
    ]


@pytest.mark.parametrize("name", ["", "SnapKV, half", *filter(None, HOSTILE)])
def test_it_is_opened_under_its_name(tmp_path: Path, name: str) -> None:
    as_recorded(RUN, name).save(tmp_path / "run.npz")
    assert trace_of(str(tmp_path / "run.npz")).policy.label == (name or "Recorded")


@pytest.mark.parametrize(
    "changed", [{"label": "x" * 61}, {"label": ""}, {"budget": 5}, {"settings": {"a": 1}}, {"scope": "layer"}]
)
def test_what_no_recording_makes_is_not_opened(tmp_path: Path, changed: dict[str, Any]) -> None:
    one_group = replace(RUN, **{name: getattr(RUN, name)[:, :1] for name in ARRAYS}) if "scope" in changed else RUN
    replace(one_group, policy=replace(RUN.policy, **changed)).save(tmp_path / "run.npz")
    with pytest.raises(BadTraceFile, match="none of this app"):
        trace_of(str(tmp_path / "run.npz"))


ARRAYS = ("evicted_at", "importance_at_eviction", "runner_up_importance", "attention_received")


def test_its_cost_is_not_known() -> None:
    for trace in (RUN, WHOLE, replace(RUN, prompt_length=30)):
        assert why_none(Stored((trace,))) == RECORDED
