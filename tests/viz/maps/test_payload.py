"""The payload is small, plain JSON, and loses nothing that the browser shows, of one trace or of several."""

import base64
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from core.trace import NEVER, Trace
from tests.traces import random_trace, tokens_of, trace_of
from viz.maps.payload import WINDOW, Mark, Moment, Payload, View, payload, window_at

FIRST = random_trace(seed=1, layers=3, groups=1)
SECOND = replace(random_trace(seed=2, layers=3, groups=2), tokens=FIRST.tokens)
TEXT = ("length", "prompt_length", "text", "piece_ends", "special", "continued")

DTYPES = {"int16": "<i2", "int32": "<i4"}


def decoded(array: dict[str, str]) -> np.ndarray:
    return np.frombuffer(base64.b64decode(array["base64"]), DTYPES[array["dtype"]])


def of_one(trace: Trace, marks: Sequence[Mark] = (), **view: Any) -> Payload:
    """What is sent of one trace, the shared values and its own together."""
    sent = payload([trace], View(**view), marks=marks)
    return {name: value for name, value in sent.items() if name != "policies"} | sent["policies"][0]


@pytest.mark.parametrize("groups", [1, 3])
def test_a_trace_of_512_tokens_is_less_than_200_kilobytes(groups: int) -> None:
    trace = random_trace(seed=0, layers=30, groups=groups, n=512, budget=64)

    assert len(json.dumps(payload([trace]))) < 200_000


def test_evictions_come_back_as_they_were() -> None:
    trace = random_trace(seed=1, layers=3, groups=2)

    sent = of_one(trace)

    expected = np.where(trace.evicted_at == NEVER, len(trace), trace.evicted_at)
    np.testing.assert_array_equal(decoded(sent["evicted_at"]).reshape(3, 2, len(trace)), expected)


@pytest.mark.parametrize(("n", "dtype"), [(32_767, "int16"), (32_768, "int32")])
def test_a_long_text_gets_integers_that_hold_its_steps(n: int, dtype: str) -> None:
    trace = trace_of(np.full((1, 1, n), NEVER), ("x",) * n)

    array = of_one(trace)["evicted_at"]

    assert array["dtype"] == dtype
    assert (decoded(array) == n).all()


def test_pieces_are_cut_where_javascript_counts() -> None:
    pieces = ("a", "🦊", "", " 海", "👩‍🚀", "\n")
    trace = trace_of(np.full((1, 1, len(pieces)), NEVER), pieces)

    sent = payload([trace])

    utf16 = sent["text"].encode("utf-16-le")
    ends = decoded(sent["piece_ends"])
    assert [utf16[2 * a : 2 * b].decode("utf-16-le") for a, b in zip([0, *ends], ends, strict=False)] == list(pieces)


def test_it_tells_what_the_picture_is_of() -> None:
    pieces = ("<s>", "é", "", "!")
    tokens = replace(tokens_of(pieces), special=np.array([True, False, False, False]))
    more = {"tokens": tokens, "prompt_length": 3, "model_id": "/home/me/models/tiny"}
    trace = trace_of(np.full((2, 1, 4), NEVER), pieces, **more)

    sent = of_one(trace, run="a", total=9, key="b")

    told = ("run", "key", "model", "policy", "budget", "layers", "groups", "length", "total")
    assert {key: sent[key] for key in told} == {
        "run": "a",
        "key": "b",
        "model": "tiny",
        "policy": "TOVA",
        "budget": 2,
        "layers": 2,
        "groups": 1,
        "length": 4,
        "total": 9,
    }
    assert sent["prompt_length"] == 3
    assert base64.b64decode(sent["special"]) == b"\1\0\0\0"
    assert base64.b64decode(sent["continued"]) == b"\0\0\1\0"
    assert (payload([trace])["total"], payload([trace])["key"], payload([trace])["at"]) == (4, None, None)
    assert of_one(trace, at=Moment(2, 1))["at"] == {"step": 2, "position": 1}


def test_numbers_never_travel_as_lists() -> None:
    def lists(value: object) -> bool:
        return isinstance(value, list) or (isinstance(value, dict) and any(map(lists, value.values())))

    sent = of_one(random_trace(seed=2), marks=[Mark(range(3, 9), "here")], window=range(5, 20))

    marks = sent.pop("marks")
    assert not lists(sent)
    assert not any(lists(mark) for mark in marks)


# Windows of a long trace


@pytest.mark.parametrize("n", [1, WINDOW, WINDOW + 1, 3 * WINDOW - 5])
def test_windows_cover_every_position_once(n: int) -> None:
    windows = list(dict.fromkeys(window_at(n, position) for position in range(n)))

    assert [position for window in windows for position in window] == list(range(n))
    assert all(len(window) == WINDOW for window in windows[:-1])
    assert window_at(n, -1) == windows[0]
    assert window_at(n, n + 7) == windows[-1]


def test_the_only_window_of_a_short_trace_is_the_whole() -> None:
    trace = random_trace(seed=3)

    assert payload([trace], View(window=window_at(len(trace), 0))) == payload([trace])


def test_a_window_has_its_own_columns_and_steps() -> None:
    trace = random_trace(seed=4, layers=3, groups=2, n=60)

    sent = of_one(trace, total=80, window=range(20, 45))

    inside = trace.evicted_at[:, :, 20:45]
    expected = np.where(inside < 45, inside - 20, 25)
    np.testing.assert_array_equal(decoded(sent["evicted_at"]).reshape(3, 2, 25), expected)
    assert sent["text"] == "".join(trace.tokens.pieces[20:45])
    assert {key: sent[key] for key in ("start", "length", "total", "whole", "prompt_length")} == {
        "start": 20,
        "length": 25,
        "total": 25,
        "whole": 80,
        "prompt_length": 40,
    }


def test_the_last_window_of_a_growing_run_leaves_room() -> None:
    sent = of_one(random_trace(seed=4, n=60), total=200, window=range(50, 100))

    assert (sent["length"], sent["total"], sent["whole"]) == (10, 50, 200)
    assert of_one(random_trace(seed=4, n=60), total=80, window=range(50, 100))["total"] == 30


def held(sent: dict[str, dict[str, str]], step: int) -> list[int]:
    """What each holder still has after this step of the window."""
    kept, ends, leaving = (decoded(sent[name]) for name in ("kept", "ends", "evicted_at"))
    gone = [int((life <= step).sum()) for life in np.split(leaving, ends[:-1])]
    return (kept - gone).tolist()


def test_rows_from_before_a_window_are_known_at_every_step() -> None:
    trace = random_trace(seed=5, layers=3, groups=2, n=60)

    sent = of_one(trace, marks=[Mark(range(10, 30), "across")], window=range(20, 45))

    for step in range(20, 45):
        older = trace.kept(step)[:, :, :20]
        assert held(sent["older"], step - 20) == older.sum(axis=2).ravel().tolist()
        assert held(sent["marks"][0]["older"], step - 20) == [older[:, :, 10:].sum()]
    assert of_one(trace, window=range(45))["older"] is None


def test_a_window_of_a_long_trace_is_less_than_two_megabytes() -> None:
    n = 50_000
    lives = np.random.default_rng(0).exponential(512, (30, 3, n)).astype(np.int64)
    evicted_at = np.arange(n) + lives
    trace = trace_of(np.where(evicted_at < n, evicted_at, NEVER), (" token",) * n, "tova-head", 512)

    assert len(json.dumps(payload([trace], View(window=window_at(n, 30_000))))) < 2_000_000


@pytest.mark.parametrize("window", [range(40, 60), range(5, 5), range(-3, 5), range(0, 10, 2)])
def test_a_window_outside_the_trace_is_refused(window: range) -> None:
    with pytest.raises(ValueError, match="no window of 40 tokens"):
        payload([random_trace(seed=1)], View(window=window))


# Marks


def test_marks_count_from_the_window() -> None:
    marks = [Mark(range(3, 9), "here"), Mark(range(20, 33), "why?", "question")]

    sent = of_one(random_trace(seed=1), marks=marks, window=range(10, 30))["marks"]

    assert [(mark["label"], mark["kind"], mark["start"], mark["end"]) for mark in sent] == [
        ("here", "evidence", -7, -1),
        ("why?", "question", 10, 23),
    ]
    assert sent[1]["older"] is None


@pytest.mark.parametrize("positions", [range(30, 41), range(7, 7), range(-1, 3), range(0, 9, 3)])
def test_a_mark_outside_the_trace_is_refused(positions: range) -> None:
    with pytest.raises(ValueError, match="no passage of 40 tokens"):
        payload([random_trace(seed=1)], marks=[Mark(positions, "here")])


def test_a_mark_of_no_known_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="evidence, question, not 'answer'"):
        payload([random_trace(seed=1)], marks=[Mark(range(3), "here", "answer")])  # type: ignore[arg-type]


# Several traces


def written(ids: list[int], layers: int = 2) -> Trace:
    """A trace in which the first two tokens were given and the others written."""
    tokens = replace(tokens_of(tuple(f" {i}" for i in ids)), ids=np.array(ids, np.int32))
    return trace_of(np.full((layers, 1, len(ids)), NEVER), tokens.pieces, tokens=tokens, prompt_length=2)


def test_readers_share_the_text_and_have_their_own_evictions() -> None:
    sent = payload([FIRST, SECOND], View("a", total=50))

    assert sent["mode"] == "read"
    for policy, trace in zip(sent["policies"], (FIRST, SECOND), strict=True):
        alone = payload([trace], View("a", total=50))
        assert alone["mode"] == "read"
        assert {**sent, "policies": [policy]} == alone
        assert not set(policy) & set(TEXT)


def test_writers_have_a_text_each_and_the_place_where_it_differs() -> None:
    traces = [written(ids) for ids in ([1, 2, 3, 4], [1, 2, 3, 9, 9], [1, 2, 3, 4], [1, 2, 3])]

    sent = payload(traces)

    assert (sent["mode"], sent["total"]) == ("write", 5)
    assert "text" not in sent
    assert [policy["diverges_at"] for policy in sent["policies"]] == [None, 3, None, 3]
    for policy, trace in zip(sent["policies"], traces, strict=True):
        assert {name: policy[name] for name in TEXT} == {name: payload([trace])[name] for name in TEXT}


def test_writers_texts_are_cut_to_the_same_window() -> None:
    traces = [written(ids) for ids in ([1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 9, 9], [1, 8, 3], [1, 2, 3, 4, 5])]

    sent = payload(traces, View(window=range(3, 5)))

    assert (sent["mode"], sent["start"], sent["total"], sent["whole"]) == ("write", 3, 2, 6)
    assert [policy["text"] for policy in sent["policies"]] == [" 4 5", " 4 9", "", " 4 5"]
    assert [policy["length"] for policy in sent["policies"]] == [2, 2, 0, 2]
    assert [policy["diverges_at"] for policy in sent["policies"]] == [None, 1, -2, 2]
    assert [policy["end"] for policy in sent["policies"]] == [3, 3, 0, 2]
    assert [held(policy["older"], 0) for policy in sent["policies"]] == [[3, 3]] * 4


def test_what_a_token_costs_arrives_as_it_was() -> None:
    delta = np.random.default_rng(0).normal(size=(2, len(FIRST))).astype(np.float32)
    delta[:, 0] = np.nan

    sent = payload([FIRST, SECOND], delta_nll=delta)
    part = payload([FIRST, SECOND], View(window=range(7, 20)), delta_nll=delta)

    for whole, few, costs in zip(sent["policies"], part["policies"], delta, strict=True):
        np.testing.assert_array_equal(np.frombuffer(base64.b64decode(whole["delta_nll"]["base64"]), "<f4"), costs)
        np.testing.assert_array_equal(np.frombuffer(base64.b64decode(few["delta_nll"]["base64"]), "<f4"), costs[7:20])
    json.dumps(sent, allow_nan=False)


def test_five_policies_per_head_on_512_tokens_are_less_than_700_kilobytes() -> None:
    first = random_trace(seed=0, layers=30, groups=3, n=512, budget=64)

    assert len(json.dumps(payload([first] * 5, delta_nll=np.zeros((5, 512), np.float32)))) < 700_000


def test_writers_have_marks_in_their_prompt() -> None:
    traces = [written([1, 2, 3, 4]), written([1, 2, 9])]

    sent = payload(traces, marks=[Mark(range(2), "here")])

    assert [policy["marks"][0]["end"] for policy in sent["policies"]] == [2, 2]
    with pytest.raises(ValueError, match="no passage of 2 tokens"):
        payload(traces, marks=[Mark(range(3), "here")])


def test_every_map_has_its_note_or_none() -> None:
    assert [policy["note"] for policy in payload([FIRST, SECOND])["policies"]] == [None, None]
    noted = payload([FIRST, SECOND], notes=["one", "two"])
    assert [policy["note"] for policy in noted["policies"]] == ["one", "two"]
    with pytest.raises(ValueError, match="1 notes on 2 traces"):
        payload([FIRST, SECOND], notes=["one"])


def test_what_cannot_stand_together_is_refused() -> None:
    with pytest.raises(ValueError, match="no traces"):
        payload([])
    with pytest.raises(ValueError, match="different numbers of layers"):
        payload([FIRST, random_trace(seed=1, layers=4)])
    with pytest.raises(ValueError, match="does not fit 2 traces"):
        payload([FIRST, SECOND], delta_nll=np.zeros((1, len(FIRST)), np.float32))
    with pytest.raises(ValueError, match="does not fit 2 traces"):
        payload([written([1, 2, 3]), written([1, 2, 4])], delta_nll=np.zeros((2, 3), np.float32))
