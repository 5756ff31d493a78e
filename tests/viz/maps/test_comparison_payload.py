"""The payload of a comparison: one text for all who have read it, one for each who has written it."""

import base64
import json
from dataclasses import replace

import numpy as np
import pytest

from core.trace import NEVER, Trace
from tests.traces import random_trace, tokens_of, trace_of
from viz.maps.payload import Mark, comparison_payload, payload

FIRST = random_trace(seed=1, layers=3, groups=1)
SECOND = replace(random_trace(seed=2, layers=3, groups=2), tokens=FIRST.tokens)
TEXT = ("length", "prompt_length", "text", "piece_ends", "special", "continued")


def written(ids: list[int]) -> Trace:
    """A trace in which the first two tokens were given and the others written."""
    tokens = replace(tokens_of(tuple(f" {i}" for i in ids)), ids=np.array(ids, np.int32))
    return trace_of(np.full((2, 1, len(ids)), NEVER), tokens.pieces, tokens=tokens, prompt_length=2)


def test_readers_share_the_text_and_have_their_own_evictions() -> None:
    sent = comparison_payload([FIRST, SECOND], run="a", total=50)

    alone = [payload(trace, run="a", total=50) for trace in (FIRST, SECOND)]
    assert sent["mode"] == "read"
    for name in ("schema", "run", "model", "total", "layers", *TEXT):
        assert sent[name] == alone[0][name]
    for policy, one in zip(sent["policies"], alone, strict=True):
        assert not set(policy) & set(TEXT)
        assert policy.items() <= one.items()
        assert {"policy", "budget", "groups", "evicted_at"} <= set(policy)


def test_writers_have_a_text_each_and_the_place_where_it_differs() -> None:
    traces = [written(ids) for ids in ([1, 2, 3, 4], [1, 2, 3, 9, 9], [1, 2, 3, 4], [1, 2, 3])]

    sent = comparison_payload(traces)

    assert sent["mode"] == "write"
    assert sent["total"] == 5
    assert "text" not in sent
    assert [policy["diverges_at"] for policy in sent["policies"]] == [None, 3, None, 3]
    for policy, trace in zip(sent["policies"], traces, strict=True):
        assert {name: policy[name] for name in TEXT} == {name: payload(trace)[name] for name in TEXT}


def test_what_a_token_costs_arrives_as_it_was() -> None:
    delta = np.random.default_rng(0).normal(size=(2, len(FIRST))).astype(np.float32)
    delta[:, 0] = np.nan

    sent = comparison_payload([FIRST, SECOND], delta)

    for policy, costs in zip(sent["policies"], delta, strict=True):
        np.testing.assert_array_equal(np.frombuffer(base64.b64decode(policy["delta_nll"]["base64"]), "<f4"), costs)
    json.dumps(sent, allow_nan=False)


def test_five_policies_per_head_on_512_tokens_are_less_than_700_kilobytes() -> None:
    first = random_trace(seed=0, layers=30, groups=3, n=512, budget=64)

    assert len(json.dumps(comparison_payload([first] * 5, np.zeros((5, 512), np.float32)))) < 700_000


def test_a_window_and_marks_reach_every_policy() -> None:
    delta = np.arange(80, dtype=np.float32).reshape(2, 40)
    more = {"marks": [Mark(range(5, 9), "here")], "window": range(7, 20)}

    sent = comparison_payload([FIRST, SECOND], delta, **more)

    for i, trace in enumerate((FIRST, SECOND)):
        alone = payload(trace, **more)
        assert {name: sent[name] for name in ("start", "total", "whole", *TEXT)}.items() <= alone.items()
        costs = sent["policies"][i].pop("delta_nll")
        assert sent["policies"][i].items() <= alone.items()
        np.testing.assert_array_equal(np.frombuffer(base64.b64decode(costs["base64"]), "<f4"), delta[i, 7:20])


def test_writers_have_marks_in_their_prompt_and_no_windows() -> None:
    traces = [written([1, 2, 3, 4]), written([1, 2, 9])]

    sent = comparison_payload(traces, marks=[Mark(range(2), "here")])

    assert [policy["marks"][0]["end"] for policy in sent["policies"]] == [2, 2]
    with pytest.raises(ValueError, match="no passage of 2 tokens"):
        comparison_payload(traces, marks=[Mark(range(3), "here")])
    with pytest.raises(ValueError, match="shown whole"):
        comparison_payload(traces, window=range(2))


def test_what_cannot_stand_side_by_side_is_refused() -> None:
    with pytest.raises(ValueError, match="no traces"):
        comparison_payload([])
    with pytest.raises(ValueError, match="different numbers of layers"):
        comparison_payload([FIRST, random_trace(seed=1, layers=4)])
    with pytest.raises(ValueError, match="does not fit 2 traces"):
        comparison_payload([FIRST, SECOND], np.zeros((1, len(FIRST)), np.float32))
    with pytest.raises(ValueError, match="does not fit 2 traces"):
        comparison_payload([written([1, 2, 3]), written([1, 2, 4])], np.zeros((2, 3), np.float32))
