"""The evidence's measures against what they mean, spelled out pair by pair."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import BadInput
from core.measures.evidence import Fate, fate, mean_share_kept, passage_of, share_kept
from core.trace import NEVER
from tests.traces import random_trace, tokens_of, trace_of


@pytest.mark.parametrize(("groups", "seed"), [(1, 0), (1, 1), (2, 2), (3, 3)])
def test_shares_are_those_of_the_pairs_kept(groups, seed):
    trace = random_trace(seed, groups=groups)
    layers, _, n = trace.evicted_at.shape
    for passage in (range(0, 1), range(3, 9), range(12, 13), range(20, n), range(0, n)):
        share = share_kept(trace, passage)
        assert share.shape == (layers, n) and share.dtype == np.float32
        for step in range(n):
            read = [position for position in passage if position <= step]
            if not read:
                assert np.isnan(share[:, step]).all()
                continue
            for layer in range(layers):
                kept = [trace.kept(step)[layer, group, position] for group in range(groups) for position in read]
                assert share[layer, step] == pytest.approx(np.mean(kept), abs=1e-6)
        np.testing.assert_allclose(mean_share_kept(trace, passage), share.mean(axis=0))


@pytest.mark.parametrize("seed", range(6))
def test_a_passage_is_lost_at_the_first_step_without_it(seed):
    trace = random_trace(seed, groups=1 + seed % 2, budget=6)
    n = len(trace)
    for passage, question in ((range(1, 4), 30), (range(5, 14), 14), (range(30, 36), n)):
        pairs = [
            trace.kept(step)[:, :, passage.start : passage.stop].mean() for step in range(passage.stop - 1, n)
        ]  # from its last token on
        half = [step for step, share in enumerate(pairs, passage.stop - 1) if share < 0.5]
        none = [step for step, share in enumerate(pairs, passage.stop - 1) if share == 0]
        found = fate(trace, passage, question)
        assert found.half_lost_at == (half[0] if half else None)
        assert found.lost_at == (none[0] if none else None)
        assert found.at_question == pytest.approx(pairs[question - 1 - (passage.stop - 1)], abs=1e-6)


def test_a_fate_by_hand():
    # two layers, budget 2: the passage is tokens 1 and 2
    trace = trace_of([[[NEVER, 2, 3, 4, NEVER]], [[2, 3, NEVER, 4, NEVER]]], ("a", "b", "c", "d", "e"))
    assert share_kept(trace, range(1, 3))[:, 1:].tolist() == [[1, 0.5, 0, 0], [1, 1, 0.5, 0.5]]
    assert fate(trace, range(1, 3), 4) == Fate(half_lost_at=3, lost_at=None, at_question=0.25)
    assert fate(trace, range(1, 2), 4) == Fate(half_lost_at=3, lost_at=3, at_question=0.0)
    assert fate(trace, range(4, 5), 5) == Fate(half_lost_at=None, lost_at=None, at_question=1.0)


def test_a_passage_may_be_lost_while_it_is_read():
    trace = trace_of([[[0, 1, 2, NEVER]]], ("a", "b", "c", "d"), budget=1)
    assert fate(trace, range(0, 3), 3) == Fate(half_lost_at=2, lost_at=2, at_question=0.0)


PIECES = st.lists(st.sampled_from(["a", " the", "\n", "海", "", " fox,"]), min_size=1, max_size=12)


@settings(max_examples=60, deadline=None)
@given(PIECES, st.data())
def test_a_passage_is_the_tokens_that_have_its_characters(pieces, data):
    pieces = ["x", *pieces]  # an empty piece continues the character before it
    text = "".join(pieces)
    start = data.draw(st.integers(0, len(text) - 1))
    stop = data.draw(st.integers(start + 1, len(text)))
    expected, at = [], 0
    for position, piece in enumerate(pieces):
        own = range(at, at + len(piece)) if piece else range(at - 1, at)
        if set(own) & set(range(start, stop)):
            expected.append(position)
        at += len(piece)
    assert list(passage_of(tokens_of(tuple(pieces)), start, stop)) == expected


def test_what_cannot_be_measured_is_refused():
    trace = random_trace(0)
    for passage in (range(3, 3), range(-1, 2), range(38, 41)):
        with pytest.raises(BadInput, match="positions 0 to 39"):
            share_kept(trace, passage)
    for question in (4, 41):
        with pytest.raises(BadInput, match="does not come after"):
            fate(trace, range(3, 6), question)
    with pytest.raises(BadInput, match="Mark at least one word"):
        passage_of(trace.tokens, 10_000, 10_001)
