"""Traces: the two predicates, and files that are what they seem or are refused."""

import io
import json
import os
import pickle
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core import make_policy, replay
from core.errors import BadInput, BadTraceFile, UserError
from core.trace import NEVER, SCHEMA, PolicySettings, Tokens, Trace

LAYERS, GROUPS, N = 3, 2, 11
PIECES = ("Once", " upon", " 🦜", "", "</script><b>", " “", "\n", "\t", "é", " \u202eabc", "<|im_end|>")


def a_trace(seed: int = 0) -> Trace:
    """Random, but such as could have been: nothing is evicted before it is read."""
    rng = np.random.default_rng(seed)
    shape = (LAYERS, GROUPS, N)
    evicted_at = np.minimum(np.arange(N) + rng.integers(0, 9, shape), N).astype(np.int32)
    evicted_at[evicted_at == N] = NEVER
    importance = rng.random(shape, np.float32)
    importance[evicted_at == NEVER] = np.nan
    runner_up = importance + rng.random(shape, np.float32)
    runner_up[0, 0, evicted_at[0, 0] != NEVER] = np.inf
    nll = rng.random(N, np.float32)
    nll[0] = np.nan
    ends = np.cumsum([len(piece) for piece in PIECES])
    tokens = Tokens(
        ids=rng.integers(0, 1000, N).astype(np.int32),
        pieces=PIECES,
        offsets=np.stack([np.r_[0, ends[:-1]], ends], axis=1).astype(np.int32),
        special=np.arange(N) == N - 1,
        continued=np.arange(N) == 3,
    )
    return Trace(
        model_id="a/model “1”",
        policy=PolicySettings("random", "Random", "kv_head", 4, {"seed": 3}),
        prefill="one-shot",
        tokens=tokens,
        prompt_length=7,
        evicted_at=evicted_at,
        nll=nll,
        importance_at_eviction=importance,
        runner_up_importance=runner_up,
        attention_received=rng.random(shape, np.float32),
        positions="in-cache",
        sliding_windows=(0, 4, 4),
    )


def test_it_is_told_in_a_line() -> None:
    assert repr(a_trace()) == "<Trace: Random, budget 4, 11 tokens, 3 layers, 2 deciders each, a/model “1”>"


ARRAYS = ("evicted_at", "nll", "importance_at_eviction", "runner_up_importance", "attention_received")
OF_TOKENS = ("ids", "offsets", "special", "continued")


def saved(trace: Trace) -> bytes:
    file = io.BytesIO()
    trace.save(file)
    return file.getvalue()


def entries(trace: Trace) -> dict[str, np.ndarray]:
    with np.load(io.BytesIO(saved(trace)), allow_pickle=False) as npz:
        return dict(npz)


def load(contents: bytes) -> Trace:
    return Trace.load(io.BytesIO(contents))


def load_entries(arrays: dict[str, np.ndarray]) -> Trace:
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return load(file.getvalue())


def with_header(**changes: object) -> dict[str, np.ndarray]:
    arrays = entries(a_trace())
    header = json.loads(str(arrays["header"])) | changes
    header = {name: value for name, value in header.items() if value is not ...}
    return arrays | {"header": np.array(json.dumps(header))}


def check_same(one: Trace, other: Trace) -> None:
    for name in ("model_id", "policy", "prefill", "prompt_length", "positions", "sliding_windows"):
        assert getattr(one, name) == getattr(other, name)
    assert one.tokens.pieces == other.tokens.pieces
    for owner, name in [*((lambda t: t, n) for n in ARRAYS), *((lambda t: t.tokens, n) for n in OF_TOKENS)]:
        mine, theirs = getattr(owner(one), name), getattr(owner(other), name)
        assert mine.dtype == theirs.dtype
        np.testing.assert_array_equal(mine, theirs)


# ---- the predicates


@pytest.mark.parametrize("seed", range(5))
def test_kept_and_attended_are_what_they_say(seed):
    trace = a_trace(seed)
    assert len(trace) == N
    for step in range(N):
        kept, attended = trace.kept(step), trace.attended(step)
        assert kept.shape == attended.shape == (LAYERS, GROUPS, N)
        assert kept.dtype == attended.dtype == np.bool_
        for layer, group, position in np.ndindex(LAYERS, GROUPS, N):
            at = int(trace.evicted_at[layer, group, position])
            assert kept[layer, group, position] == (position <= step < at)
            assert attended[layer, group, position] == (position <= step <= at)


def test_a_token_may_be_forgotten_as_soon_as_it_is_read():
    trace = a_trace()
    trace.evicted_at[1, 1, 5] = 5
    assert trace.attended(5)[1, 1, 5]
    assert not any(trace.kept(step)[1, 1, 5] for step in range(N))


@pytest.mark.parametrize("step", [-1, N, N + 5, -N])
def test_steps_outside_the_trace(step):
    for view in (a_trace().kept, a_trace().attended):
        with pytest.raises(BadInput, match=rf"{step}.*{N - 1}"):
            view(step)


# ---- files


@pytest.mark.parametrize("seed", range(3))
def test_what_is_saved_is_loaded(tmp_path, seed):
    trace = a_trace(seed)
    trace.save(tmp_path / "run.npz")
    check_same(Trace.load(tmp_path / "run.npz"), trace)
    check_same(Trace.load(str(tmp_path / "run.npz")), trace)
    with (tmp_path / "run.npz").open("rb") as file:
        check_same(Trace.load(file), trace)
    check_same(load(saved(load(saved(trace)))), trace)


def test_a_trace_the_engine_made_is_loaded(tiny):
    for policy in (make_policy("full"), make_policy("window+i", 5, n_sink=2), make_policy("h2o", 3)):
        trace = replay(tiny("llama-gqa").lm, [5, 6, 7, 8, 9, 5, 4], policy)
        check_same(load(saved(trace)), trace)
        loaded = load(saved(trace)).policy
        assert make_policy(loaded.key, loaded.budget, **loaded.settings) == policy


def test_plain_numpy_reads_the_file(tmp_path):
    a_trace().save(tmp_path / "run.npz")
    with np.load(tmp_path / "run.npz", allow_pickle=False) as npz:
        np.testing.assert_array_equal(npz["evicted_at"], a_trace().evicted_at)
        assert json.loads(str(npz["header"]))["schema"] == SCHEMA


@pytest.mark.parametrize("schema", [SCHEMA + 1, 0, None, "1.0", 999])
def test_another_schema_is_refused_by_its_number(schema):
    with pytest.raises(BadTraceFile, match=rf"{schema}.*{SCHEMA}"):
        load_entries(with_header(schema=schema))


def test_files_from_before_there_was_a_choice_of_positions_are_loaded():
    old = load_entries(with_header(schema=1, positions=...))
    check_same(old, replace(a_trace(), positions="original", sliding_windows=()))
    stored = Trace.load(Path(__file__).parent / "trace_of_schema_1.npz")
    assert stored.positions == "original"


def test_files_from_before_the_models_own_windows_were_recorded_are_loaded():
    check_same(load_entries(with_header(schema=2, sliding_windows=...)), replace(a_trace(), sliding_windows=()))


def test_a_file_cut_anywhere_is_refused():
    contents = saved(a_trace())
    for length in {*range(0, len(contents), 37), *range(40), *range(len(contents) - 40, len(contents))}:
        with pytest.raises(BadTraceFile):
            load(contents[:length])


def test_a_file_that_is_not_there_or_a_directory_is_refused(tmp_path):
    with pytest.raises(BadTraceFile, match=r"no file .*none\.npz"):
        Trace.load(tmp_path / "none.npz")
    with pytest.raises(BadTraceFile):
        Trace.load(tmp_path)


class Pickled:
    """Leaves a mark when it is unpickled."""

    def __reduce__(self):
        return exec, ("import os; os.environ['UNPICKLED'] = 'yes'",)


@pytest.mark.parametrize("name", ["header", *ARRAYS, *OF_TOKENS])
def test_nothing_is_unpickled(name):
    for contents in (np.array([Pickled()], dtype=object), np.array([[Pickled()] * N] * 2, dtype=object)):
        with pytest.raises(BadTraceFile):
            load_entries(entries(a_trace()) | {name: contents})
    with pytest.raises(BadTraceFile):
        load(pickle.dumps(Pickled()))
    assert "UNPICKLED" not in os.environ


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=400), st.sampled_from([b"", b"PK\x03\x04", b"PK\x05\x06", b"\x93NUMPY\x01\x00", b"\x80\x04"]))
def test_random_bytes_are_refused(contents, start):
    with pytest.raises(BadTraceFile):
        load(start + contents)


@settings(deadline=None, max_examples=400, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_a_damaged_file_is_whole_or_refused(data):
    contents = bytearray(saved(a_trace()))
    for _ in range(data.draw(st.integers(1, 3))):
        # a zip keeps its directory, where damage is subtlest, at its end
        at = data.draw(st.integers(0, len(contents) - 1) | st.integers(len(contents) - 1200, len(contents) - 1))
        contents[at] = data.draw(st.integers(0, 255))
    try:
        trace = load(bytes(contents))
    except BadTraceFile:
        return
    check_same(trace, a_trace())


@pytest.mark.parametrize("name", ["header", *ARRAYS, *OF_TOKENS])
def test_a_file_without_one_of_its_parts_is_refused(name):
    arrays = entries(a_trace())
    del arrays[name]
    with pytest.raises(BadTraceFile):
        load_entries(arrays)


@pytest.mark.parametrize("name", [*ARRAYS, *OF_TOKENS])
def test_arrays_of_the_wrong_shape_or_type_are_refused(name):
    good = entries(a_trace())
    array = good[name]
    for wrong in (
        array[..., :-1],
        array[:-1],
        array[None],
        array[0],
        np.array(0, array.dtype),
        np.zeros(0, array.dtype),
        array.astype(np.float64),
        np.zeros(array.shape, np.int64),
        array.astype("U3"),
    ):
        with pytest.raises(BadTraceFile):
            load_entries(good | {name: wrong})


def test_an_empty_trace_is_refused():
    arrays = {name: array[..., :0] for name, array in entries(a_trace()).items() if name in (*ARRAYS, "ids")}
    arrays |= {name: entries(a_trace())[name][:0] for name in OF_TOKENS}
    with pytest.raises(BadTraceFile):
        load_entries(with_header(pieces=[]) | arrays)


GOOD_POLICY = {"key": "random", "label": "Random", "scope": "kv_head", "budget": 4, "settings": {"seed": 3}}


@pytest.mark.parametrize(
    "changes",
    [
        {"pieces": [*PIECES, "more"]},
        {"pieces": PIECES[:-1]},
        {"pieces": [1] * N},
        {"pieces": None},
        {"pieces": "a" * N},
        {"prompt_length": 0},
        {"prompt_length": N + 1},
        {"prompt_length": "many"},
        {"prompt_length": None},
        {"prompt_length": 2.5},
        {"prefill": "sideways"},
        {"prefill": None},
        {"positions": "sideways"},
        {"positions": None},
        {"sliding_windows": None},
        {"sliding_windows": [4, 4]},
        {"sliding_windows": [4, 4, -1]},
        {"sliding_windows": [4, 4, True]},
        {"sliding_windows": [4, 4, "4"]},
        {"sliding_windows": 4},
        {"policy": None},
        {"policy": {}},
        {"policy": GOOD_POLICY | {"extra": 1}},
        {"policy": GOOD_POLICY | {"key": 1}},
        {"policy": GOOD_POLICY | {"label": None}},
        {"policy": GOOD_POLICY | {"scope": "galaxy"}},
        {"policy": GOOD_POLICY | {"budget": "4"}},
        {"policy": GOOD_POLICY | {"budget": -4}},
        {"policy": GOOD_POLICY | {"settings": [1]}},
        {"schema": ...},
        {"policy": ...},
        {"model_id": ...},
        {"prefill": ...},
        {"positions": ...},
        {"sliding_windows": ...},
        {"pieces": ...},
        {"prompt_length": ...},
    ],
    ids=str,
)
def test_headers_that_are_inconsistent_are_refused(changes):
    load_entries(with_header(policy=GOOD_POLICY))
    with pytest.raises(BadTraceFile):
        load_entries(with_header(**changes))


@pytest.mark.parametrize("header", ["", "{", "[]", "null", "7", '"schema"', "[" * 100_000, '{"schema": 1}', "{}"])
def test_headers_that_are_none_are_refused(header):
    with pytest.raises(BadTraceFile):
        load_entries(entries(a_trace()) | {"header": np.array(header)})


def test_an_eviction_before_the_token_was_read_or_after_the_end_is_refused():
    for position, at in [(5, 4), (5, -1), (5, N), (5, NEVER - 1)]:
        arrays = entries(a_trace())
        arrays["evicted_at"][1, 1, position] = at
        with pytest.raises(BadTraceFile):
            load_entries(arrays)


def test_an_array_that_claims_to_be_enormous_is_refused():
    contents = io.BytesIO(saved(a_trace()))
    small = io.BytesIO()
    np.lib.format.write_array_header_1_0(small, {"descr": "<i4", "fortran_order": False, "shape": (10**6, 10**6, N)})
    with zipfile.ZipFile(contents) as old, zipfile.ZipFile(forged := io.BytesIO(), "w") as new:
        for name in old.namelist():
            new.writestr(name, small.getvalue() if name == "evicted_at.npy" else old.read(name))
    with pytest.raises(BadTraceFile):
        load(forged.getvalue())


def test_the_refusal_is_one_for_the_user():
    assert issubclass(BadTraceFile, UserError)
    with pytest.raises(BadTraceFile, match=r"trace"):
        load(b"not a trace")
