"""What the browser gets of traces: the contract between Python and the scripts in `static`.

Arrays travel as base64 of little-endian integers, never as lists: a browser takes seconds to digest a long list. The
texts of the tokens travel as one string and the places where each of them ends in it, for the same reason.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from core.trace import NEVER, Floats, Ints, Positions, Trace

Payload: TypeAlias = dict[str, Any]
MarkKind: TypeAlias = Literal["evidence", "question"]

SCHEMA = 1
WINDOW = 4096
"""Tokens that a map shows at once of a longer trace: as many as a browser scrubs through at 60 frames a second."""


@dataclass(frozen=True)
class Mark:
    """A passage that the maps point out.

    Attributes:
        positions: of its tokens.
        label: what it is called, in a few words.
        kind: decides how it looks.
    """

    positions: range
    label: str
    kind: MarkKind = "evidence"


@dataclass(frozen=True)
class Moment:
    """Where a map stands.

    Attributes:
        step: after which it shows what is kept.
        position: of the token pointed at; None for none.
    """

    step: int
    position: int | None = None


def window_at(n: int, position: int) -> range:
    """Of n tokens in windows of `WINDOW`, the last one shorter: the window that holds this position, or the nearest."""
    start = min(max(position, 0), n - 1) // WINDOW * WINDOW
    return range(start, min(start + WINDOW, n))


def payload(
    trace: Trace,
    run: str = "",
    total: int | None = None,
    marks: Sequence[Mark] = (),
    window: range | None = None,
    at: Moment | None = None,
) -> Payload:
    """The trace as plain JSON values, complete: the browser scrubs through every step without asking again.

    Importances and attention stay in Python, which explains a token when it is clicked.

    Args:
        trace: of any run, also one that has only begun.
        run: identifies the execution. The browser takes a payload of the run it already shows as that run grown
            longer, and any other as a new picture.
        total: the number of tokens the run may reach. The map leaves room for them, so that it fills while the run
            grows; None for a run that has ended.
        marks: passages to point out.
        window: the positions to send, of a trace that is too long to be sent whole; see `window_at`. The map then has
            only these columns and steps. None for all.
        at: where the map stands at first, and then leaves the address of the page alone. None for the step that the
            address names, or the last. Only of a trace that is sent whole.

    Returns:
        Of n tokens, those of the window: `evicted_at` is (layers, groups, n), and n, which is later than every step,
        for a token that is still there after the last. `piece_ends` is (n,), in UTF-16 code units, the unit of
        JavaScript's strings. `special` and `continued` are (n,) bytes. Steps, positions, `prompt_length` and the marks'
        `start` and `end` count from `start`, the first position of the window; `total` is the number of columns, and
        `whole` that of all tokens. `older`, where the window does not begin at 0, tells how many rows from before it
        each decider still holds, as `_held_before` returns it, and `older_seen` how many of those the model's own
        sliding window does not hide, where that is known. `sliding_windows` is (layers,), 0 for none.

    Raises:
        ValueError: a window or a mark that lies outside the trace, or a mark of no known kind.
    """
    whole = max(len(trace), total or 0)
    shown = _shown(len(trace), whole, window)
    _check(marks, whole)
    stands = None if at is None else {"step": at.step, "position": at.position}
    return _shared(trace, run, whole, shown) | _text_of(trace, shown) | _policy_of(trace, shown, marks) | {"at": stands}


def comparison_payload(
    traces: Sequence[Trace],
    delta_nll: Floats | None = None,
    run: str = "",
    total: int | None = None,
    marks: Sequence[Mark] = (),
    window: range | None = None,
) -> Payload:
    """Several traces of one model as plain JSON values, complete, for one picture of all of them.

    Args:
        traces: of one text that all have read, or of one prompt that each has continued.
        delta_nll: (traces, n), nats that each token costs more under the policy than under the full model, NaN where
            nothing is predicted. Only of one text that all have read.
        run: as in `payload`.
        total: as in `payload`.
        marks: as in `payload`; of traces that have written, in their common prompt.
        window: as in `payload`; only of one text that all have read.

    Returns:
        The shared values and, in `policies`, those of each trace. `mode` is "read" if all have the same tokens: then
        the text is shared, too. It is "write" if not: then each policy has its own text, and `diverges_at` is the
        first position at which it differs from the first trace's, its own length if that is a mere continuation, and
        None if it does not differ.

    Raises:
        ValueError: no traces, traces of several models, a `delta_nll` of another shape, a window of traces that have
            written, or a window or a mark that lies outside.
    """
    if not traces:
        raise ValueError("no traces to compare")
    first = traces[0]
    if any(trace.evicted_at.shape[0] != first.evicted_at.shape[0] for trace in traces):
        raise ValueError("these traces are of models with different numbers of layers")
    diverging = [_diverges_at(first, trace) for trace in traces]
    reading = not any(at is not None for at in diverging)
    if delta_nll is not None and not (reading and delta_nll.shape == (len(traces), len(first))):
        raise ValueError(f"delta_nll {delta_nll.shape} does not fit {len(traces)} traces")
    if window is not None and not reading:
        raise ValueError("traces that have written are shown whole")
    longest = max(len(trace) for trace in traces)
    whole = max(longest, total or 0)
    shown = _shown(longest, whole, window)
    _check(marks, whole if reading else min(trace.prompt_length for trace in traces))
    policies = []
    for i, (trace, at) in enumerate(zip(traces, diverging, strict=True)):
        own = _policy_of(trace, shown, marks)
        if not reading:
            own |= _text_of(trace, shown) | {"diverges_at": at}
        if delta_nll is not None:
            own["delta_nll"] = _floats(delta_nll[i, shown.start : shown.stop])
        policies.append(own)
    return (
        _shared(first, run, whole, shown)
        | {"mode": "read" if reading else "write", "layers": first.evicted_at.shape[0], "policies": policies}
        | (_text_of(first, shown) if reading else {})
    )


def _shown(n: int, whole: int, window: range | None) -> range:
    """The positions that have columns, of n tokens that may become `whole`."""
    if window is None:
        return range(whole)
    if window.step != 1 or not 0 <= window.start < min(window.stop, n):
        raise ValueError(f"{window} is no window of {n} tokens")
    return range(window.start, min(window.stop, whole))


def _check(marks: Sequence[Mark], end: int) -> None:
    for mark in marks:
        if mark.positions.step != 1 or not 0 <= mark.positions.start < mark.positions.stop <= end:
            raise ValueError(f"{mark.positions} is no passage of {end} tokens that can be marked")
        if mark.kind not in get_args(MarkKind):
            raise ValueError(f"a mark is of a kind among {', '.join(get_args(MarkKind))}, not {mark.kind!r}")


def _diverges_at(first: Trace, other: Trace) -> int | None:
    ours, theirs = first.tokens.ids, other.tokens.ids
    n = min(len(ours), len(theirs))
    different = np.flatnonzero(ours[:n] != theirs[:n])
    if len(different):
        return int(different[0])
    return None if len(ours) == len(theirs) else n


def _shared(trace: Trace, run: str, whole: int, shown: range) -> Payload:
    return {
        "schema": SCHEMA,
        "run": run,
        "model": PurePath(trace.model_id).name,  # of a local model not the whole path: pictures are passed on
        "start": shown.start,
        "total": len(shown),
        "whole": whole,
    }


def _text_of(trace: Trace, shown: range) -> Payload:
    tokens = trace.tokens[shown.start : shown.stop]
    return {
        "length": len(tokens),
        "prompt_length": trace.prompt_length - shown.start,
        "text": "".join(tokens.pieces),
        "piece_ends": _integers(np.cumsum([_utf16_length(piece) for piece in tokens.pieces])),
        "special": _base64(tokens.special.astype(np.uint8)),
        "continued": _base64(tokens.continued.astype(np.uint8)),
    }


def _policy_of(trace: Trace, shown: range, marks: Sequence[Mark]) -> Payload:
    layers, groups, _ = trace.evicted_at.shape
    evicted_at = trace.evicted_at[:, :, shown.start : shown.stop]
    steps = range(shown.start, shown.start + evicted_at.shape[-1])
    before = trace.evicted_at[:, :, : shown.start].reshape(layers * groups, -1)
    windows = np.array(trace.sliding_windows or [0] * layers)
    return {
        "policy": trace.policy.label,
        "scope": trace.policy.scope,
        "budget": trace.policy.budget,
        "positions": trace.positions,
        "layers": layers,
        "groups": groups,
        "evicted_at": _integers(np.minimum(evicted_at, steps.stop) - steps.start),
        "older": _held_before(before, steps) if steps.start else None,
        "older_seen": _seen_before(before, np.repeat(windows, groups), trace.positions, steps) if steps.start else None,
        "sliding_windows": _integers(windows),
        "marks": [_mark(mark, before, steps) for mark in marks],
    }


def _mark(mark: Mark, before: Ints, steps: range) -> Payload:
    """`older` is of its tokens before the window, under all deciders together; None if it has none there."""
    older = before[:, mark.positions.start : mark.positions.stop].reshape(1, -1)
    return {
        "label": mark.label,
        "kind": mark.kind,
        "start": mark.positions.start - steps.start,
        "end": mark.positions.stop - steps.start,
        "older": _held_before(older, steps) if older.size else None,
    }


def _seen_before(evicted_at: Ints, windows: NDArray[Any], positions: Positions, steps: range) -> Payload | None:
    """As `_held_before`, of those rows that are in the sight of the model, whose windows (holders,) are given.

    None if there is no window, or if it counts other distances than those in the text.
    """
    if not windows.any() or positions != "original":
        return None
    reach = np.where(windows > 0, windows, NEVER - steps.start)[:, None]
    return _held_before(np.minimum(evicted_at, np.arange(steps.start) + reach), steps)


def _held_before(evicted_at: Ints, steps: range) -> Payload:
    """How many rows from before these steps are still held after each of them, in the shortest form.

    Args:
        evicted_at: (holders, rows), of rows that had all been read before.
        steps: that follow.

    Returns:
        `kept` is (holders,): rows held before the first step. `evicted_at` has the steps, counted from the first, at
        which they are evicted: those of the first holder, ascending, then those of the next. `ends` is (holders,):
        where those of each end.
    """
    leaving = [np.sort(row[(row >= steps.start) & (row < steps.stop)]) - steps.start for row in evicted_at]
    return {
        "kept": _integers((evicted_at >= steps.start).sum(axis=1)),
        "ends": _integers(np.cumsum([len(row) for row in leaving])),
        "evicted_at": _integers(np.concatenate(leaving)),
    }


def _utf16_length(text: str) -> int:
    return len(text) + sum(character > "\uffff" for character in text)


def _integers(array: NDArray[np.integer[Any]]) -> dict[str, str]:
    """The array as the narrower of int16 and int32 that holds it."""
    narrow = array.max(initial=0) <= np.iinfo(np.int16).max
    return {
        "dtype": "int16" if narrow else "int32",
        "base64": _base64(array.astype("<i2" if narrow else "<i4")),
    }


def _floats(array: Floats) -> dict[str, str]:
    return {"dtype": "float32", "base64": _base64(array.astype("<f4"))}


def _base64(array: NDArray[Any]) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode("ascii")
