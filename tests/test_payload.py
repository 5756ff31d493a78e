"""The payload is small, plain JSON, and loses nothing that the browser shows."""

import base64
import json
from dataclasses import replace

import numpy as np
import pytest
from traces import random_trace, tokens_of, trace_of

from core.trace import NEVER
from viz.payload import payload

DTYPES = {"int16": "<i2", "int32": "<i4"}


def decoded(array: dict[str, str]) -> np.ndarray:
    return np.frombuffer(base64.b64decode(array["base64"]), DTYPES[array["dtype"]])


@pytest.mark.parametrize("groups", [1, 3])
def test_a_trace_of_512_tokens_is_less_than_200_kilobytes(groups: int) -> None:
    trace = random_trace(seed=0, layers=30, groups=groups, n=512, budget=64)

    assert len(json.dumps(payload(trace))) < 200_000


def test_evictions_come_back_as_they_were() -> None:
    trace = random_trace(seed=1, layers=3, groups=2)

    sent = payload(trace)

    expected = np.where(trace.evicted_at == NEVER, len(trace), trace.evicted_at)
    np.testing.assert_array_equal(decoded(sent["evicted_at"]).reshape(3, 2, len(trace)), expected)


@pytest.mark.parametrize(("n", "dtype"), [(32_767, "int16"), (32_768, "int32")])
def test_a_long_text_gets_integers_that_hold_its_steps(n: int, dtype: str) -> None:
    trace = trace_of(np.full((1, 1, n), NEVER), ("x",) * n)

    array = payload(trace)["evicted_at"]

    assert array["dtype"] == dtype
    assert (decoded(array) == n).all()


def test_pieces_are_cut_where_javascript_counts() -> None:
    pieces = ("a", "🦊", "", " 海", "👩‍🚀", "\n")
    trace = trace_of(np.full((1, 1, len(pieces)), NEVER), pieces)

    sent = payload(trace)

    utf16 = sent["text"].encode("utf-16-le")
    ends = decoded(sent["piece_ends"])
    assert [utf16[2 * a : 2 * b].decode("utf-16-le") for a, b in zip([0, *ends], ends, strict=False)] == list(pieces)


def test_it_tells_what_the_picture_is_of() -> None:
    pieces = ("<s>", "é", "", "!")
    tokens = replace(tokens_of(pieces), special=np.array([True, False, False, False]))
    more = {"tokens": tokens, "prompt_length": 3, "model_id": "/home/me/models/tiny"}
    trace = trace_of(np.full((2, 1, 4), NEVER), pieces, **more)

    sent = payload(trace, run="a", total=9)

    assert {key: sent[key] for key in ("run", "model", "policy", "budget", "layers", "groups", "length", "total")} == {
        "run": "a",
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
    assert payload(trace)["total"] == 4


def test_numbers_never_travel_as_lists() -> None:
    def lists(value: object) -> bool:
        return isinstance(value, list) or (isinstance(value, dict) and any(map(lists, value.values())))

    assert not lists(payload(random_trace(seed=2)))
