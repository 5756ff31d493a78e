"""Uploads and the HTTP API under whatever strangers may send: refused in words, or used without harm.

Each is fuzzed in two ways: many cases on the functions themselves, and a few through a real server.
"""

import inspect
import io
import json
import os
import pickle
import sys
import sysconfig
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.errors import UserError
from core.store import Stored, TraceStore
from tests.talkers import make_talker
from tests.traces import HOSTILE, random_trace
from viz import api
from viz.cards.fates import fates_html
from viz.figures.life import head_figure, token_figure
from viz.maps.payload import payload
from viz.page import models
from viz.page.export import write_files
from viz.page.models import ResidentModels
from viz.page.page import Page
from viz.page.uploads import text_of, trace_of
from viz.tabs.panel import MapRow, fates
from viz.words.headlines import headline

ROOT = Path(__file__).parent.parent
CASES = settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck), database=None)

NASTY = (
    *HOSTILE,
    *("../../../../etc/passwd", "/etc/passwd", "file:///etc/passwd", "http://127.0.0.1:9/", "owner/name", "~", "."),
    *("\x00", "\ud800", "\u202e", "\x1b[31m", "{0.__class__}", "${7*7}", "%s%n", "' OR 1=1 --", "A" * 300, ""),
)
TEXTS = st.sampled_from(NASTY) | st.text(max_size=20)
NUMBERS = st.sampled_from(
    [0, -1, 1, 2, 2**31 - 1, 2**31, 2**63, 10**400, -(2**63), 0.5, float("nan"), float("inf"), -0.0]
) | st.integers(-5, 70)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)


class Pickled:
    """Leaves a mark when it is unpickled."""

    def __reduce__(self) -> Any:
        return exec, ("import os; os.environ['UNPICKLED'] = 'yes'",)


_watched: list[str] | None = None


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    """What a case opens, connects to, starts or unpickles; Python offers no way to take an audit hook off again."""
    if _watched is None:
        return
    if event in ("open", "os.listdir", "os.scandir") and isinstance(arguments[0], str | bytes):
        _watched.append(os.fsdecode(arguments[0]))
    elif event.startswith(("socket.connect", "socket.getaddrinfo", "subprocess", "os.system", "pickle.find_class")):
        _watched.append(f"{event} {arguments}")


sys.addaudithook(_watch)

OURS = tuple(
    str(Path(folder).resolve())
    for folder in (tempfile.gettempdir(), ROOT, sys.prefix, sys.base_prefix, sysconfig.get_paths()["purelib"], "/proc")
)


@contextmanager
def nothing_outside() -> Iterator[None]:
    """Only files of ours and of the libraries are opened, nothing is unpickled, nobody is called."""
    global _watched
    _watched = []
    try:
        yield
    finally:
        touched, _watched = _watched, None
    assert [path for path in touched if not os.path.abspath(path).startswith(OURS)] == []
    assert "UNPICKLED" not in os.environ


# ---- uploads


@cache
def parts(seed: int) -> dict[str, np.ndarray]:
    """The arrays in a saved trace."""
    file = io.BytesIO()
    random_trace(seed, layers=2, groups=seed % 2 + 1, n=12, budget=4).save(file)
    file.seek(0)
    with np.load(file) as npz:
        return dict(npz)


@st.composite
def arrays(draw: st.DrawFn, like: np.ndarray) -> Any:
    """An array that is wrong in a way, or that only looks wrong."""
    shape = draw(
        st.sampled_from([like.shape] * 5 + [like.shape[::-1], like.shape[:-1], (*like.shape, 1), (0,), (), (3, 0, 5)])
    )
    kind = draw(st.sampled_from([like.dtype] * 5 + [np.float64, np.int8, np.bool_, "U3", "S2", "M8[s]", "c8", object]))
    if kind is object:
        return np.full(shape, Pickled(), dtype=object)
    wild = draw(st.sampled_from([0, 1, -1, 7, 11, 2**31 - 1, -(2**31), 0.25]))
    if np.issubdtype(kind, np.floating):
        wild = draw(st.sampled_from([np.nan, np.inf, -np.inf, -1.0, 0.0, 1e38, 1e-45]))
    with np.errstate(all="ignore"), suppress(ValueError, OverflowError, TypeError):
        filled = np.full(shape, wild).astype(kind)
        if filled.shape == like.shape and filled.size and draw(st.booleans()):  # wrong in a single place
            one = like.astype(kind)
            one.flat[draw(st.integers(0, one.size - 1))] = filled.flat[0]
            return one
        return filled
    return np.zeros(shape, kind)


@st.composite
def headers(draw: st.DrawFn, header: dict[str, Any]) -> str:
    """The header with one thing in it, or in its policy, replaced or taken out."""
    place = header["policy"] if draw(st.booleans()) else header
    name = draw(st.sampled_from(list(place)))
    if name == "pieces" and draw(st.booleans()):
        place[name] = [draw(TEXTS) for _ in place[name]]
    elif name == "settings" and draw(st.booleans()):
        place[name] = draw(st.dictionaries(TEXTS | st.sampled_from(["rows", "n_sink", "importance"]), JSON, max_size=2))
    elif draw(st.integers(0, 9)) == 0:
        del place[name]
    else:
        place[name] = draw(JSON)
    return json.dumps(header)


@st.composite
def uploads(draw: st.DrawFn) -> bytes:
    """A file as a stranger might send it: garbage, or a trace with something wrong in it."""
    kind = draw(st.sampled_from(["garbage", "bytes", "array", "array", "header", "header", "claim", "zip"]))
    if kind == "garbage":
        start = draw(
            st.sampled_from([b"", b"PK\x03\x04", b"PK\x05\x06", b"\x93NUMPY\x01\x00", pickle.dumps(Pickled())])
        )
        return start + draw(st.binary(max_size=200))
    entries = dict(parts(draw(st.integers(0, 1))))
    name = draw(st.sampled_from(list(entries)))
    if kind == "array":
        entries[name] = draw(arrays(entries[name]))
    elif kind == "header":
        entries["header"] = np.array(draw(headers(json.loads(str(entries["header"])))))
    file = io.BytesIO()
    method = draw(
        st.sampled_from([zipfile.ZIP_STORED] * 5 + [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
    )
    with zipfile.ZipFile(file, "w", method) as packed:
        for each, array in entries.items():
            raw = io.BytesIO()
            np.lib.format.write_array(raw, array)
            contents = raw.getvalue()
            if kind == "claim" and each == name:
                shape = draw(st.sampled_from([(10**12,), (2**62, 2**62), (-1, 4), (10**30,), (2**31, 2, 2), (True,)]))
                head = f"{{'descr': '{draw(st.sampled_from(['<i4', '|O', '<f4', '|V0', '<U999999999']))}', "
                head = f"{head}'fortran_order': False, 'shape': {shape}}}\n".encode()
                contents = b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head + contents[-16:]
            packed.writestr(f"{each}.npy", contents)
        if kind == "zip":
            packed.writestr(draw(st.sampled_from(["../../outside.npy", "/outside.npy", "header", "more.npy"])), b"more")
    contents = bytearray(file.getvalue())
    if kind in ("bytes", "zip"):
        for _ in range(draw(st.integers(1, 4))):
            contents[draw(st.integers(0, len(contents) - 1))] = draw(st.integers(0, 255))
    return bytes(contents)


@CASES
@given(uploads())
def test_an_uploaded_trace_is_refused_or_can_be_shown(contents: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder, nothing_outside():
        file = Path(folder) / "run.npz"
        file.write_bytes(contents)
        try:
            trace = trace_of(str(file))
        except UserError as e:
            assert str(e)
            return
        assert orjson.dumps(payload([trace], notes=[headline(trace)]))
        assert head_figure(trace, 0)
        for position in range(len(trace)):
            assert fates_html(fates([trace], position, MapRow(0, 0, 0))) and token_figure(trace, position)
        for path in write_files(Stored((trace,))):
            assert Path(path).is_file() and Path(path).parent.parent.name.startswith("retention-")


@CASES
@given(st.binary(max_size=300) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_an_uploaded_text_is_refused_or_text(contents: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder, nothing_outside():
        file = Path(folder) / "text.txt"
        file.write_bytes(contents)
        try:
            assert text_of(str(file)).encode() == contents.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        except UserError as e:
            assert str(e)


# ---- the HTTP API


@pytest.fixture(scope="module")
def talker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    before = models.resident
    name = make_talker(tmp_path_factory.mktemp("talker"), chats=False)
    models.resident = ResidentModels((name,))
    models.resident.get(name)
    yield name
    models.resident = before


GOOD: dict[str, dict[str, Any]] = {
    "trace": {"text": "hello there", "policy": "tova", "budget": 4, "new_tokens": 0, "settings": None, "file": False},
    "compare": {"text": "hello there", "policies": ["tova", "window"], "budgets": [4]},
    "sweep": {"text": "hello there", "policies": ["tova", "window"], "budgets": [4]},
}
WRONG = {
    "text": TEXTS,
    "policy": st.sampled_from(["window+i", "h2o", "full", "random", "oracle"]) | TEXTS,
    "policies": st.lists(st.sampled_from(["tova", "full", "oracle", "baseline"]) | TEXTS, max_size=3),
    "budgets": st.lists(NUMBERS, max_size=3),
    "settings": st.dictionaries(st.sampled_from(["n_sink", "seed", "budget", "key"]) | TEXTS, NUMBERS, max_size=2),
    "new_tokens": st.integers(-2, 3),
    "file": st.booleans(),
}


@st.composite
def calls(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """An endpoint and its inputs, some of them wrong, but for the model."""
    endpoint = draw(st.sampled_from(list(GOOD)))
    inputs = dict(GOOD[endpoint])
    for name in draw(st.lists(st.sampled_from(list(inputs)), min_size=1, max_size=3)):
        inputs[name] = draw(JSON | WRONG.get(name, NUMBERS))
    if draw(st.integers(0, 5)) == 0:
        inputs["model"] = draw(JSON | TEXTS)
    return endpoint, inputs


def in_order(endpoint: Callable[..., Any], inputs: dict[str, Any]) -> list[Any]:
    """As Gradio passes them on: all, in the order of the signature."""
    bound = inspect.signature(endpoint).bind(**inputs)
    bound.apply_defaults()
    return list(bound.args)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> TraceStore:
    return TraceStore(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def endpoints(store: TraceStore) -> dict[str, Callable[..., Iterator[Any]]]:
    return {endpoint.__name__: endpoint for endpoint in api.endpoints(store)}


@CASES
@given(call=calls())
def test_an_endpoint_refuses_in_words_or_answers(
    talker: str, endpoints: dict[str, Callable[..., Iterator[Any]]], call: tuple[str, dict[str, Any]]
) -> None:
    endpoint, inputs = endpoints[call[0]], call[1]
    with nothing_outside():
        try:
            *_, answer = endpoint(*in_order(endpoint, {"model": talker} | inputs))
        except UserError as e:
            assert str(e)
            return
    assert orjson.dumps(answer, default=str)


@pytest.fixture(scope="module")
def address(talker: str, store: TraceStore) -> Iterator[str]:
    with Page(analytics_enabled=False) as page:
        api.api(store)
    yield page.launch(prevent_thread_lock=True, quiet=True)[1]
    page.close(verbose=False)


def ask(address: str, endpoint: str, inputs: list[Any]) -> list[str]:
    """The events that the server sends, the data of each."""
    body = json.dumps({"data": inputs})  # non-ASCII and surrogates as escapes, as a browser may send them
    url = f"{address}gradio_api/call/{endpoint}"
    joined = httpx.post(url, content=body, headers={"content-type": "application/json"})
    if joined.status_code != 200:
        assert joined.status_code < 500, joined.text
        return [joined.text]
    return httpx.get(f"{url}/{joined.json()['event_id']}", timeout=20).text.splitlines()


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(call=calls())
def test_the_server_tells_no_secrets_and_lives_on(
    address: str, talker: str, endpoints: dict[str, Callable[..., Iterator[Any]]], call: tuple[str, dict[str, Any]]
) -> None:
    name, inputs = call
    told = "\n".join(ask(address, name, in_order(endpoints[name], {"model": talker} | inputs)))
    assert "Traceback" not in told and "Reference" not in told
