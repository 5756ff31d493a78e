"""The data about traces that the browser gets: the contract between Python and the scripts in `static`.

Arrays are sent as base64 of little-endian numbers, never as lists, because a browser needs seconds to parse a long
list. For the same reason the tokens' texts are sent as one string, with the index at which each of them ends.
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
"""How many tokens of a longer trace a map shows at once: as many as a browser can draw 60 times a second."""


@dataclass(frozen=True)
class Mark:
    """A passage that the maps highlight.

    Attributes:
        positions: those of its tokens.
        label: what it is called, in a few words.
        kind: decides how it looks.
    """

    positions: range
    label: str
    kind: MarkKind = "evidence"


@dataclass(frozen=True)
class Moment:
    """What a map shows.

    Attributes:
        step: the map shows what is kept after this step.
        position: that of the token pointed at; None for no token.
    """

    step: int
    position: int | None = None


def window_at(n: int, position: int) -> range:
    """The window that contains a position, or the nearest, if n tokens are cut into windows of `WINDOW`."""
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
    """The trace as JSON values, with all that the browser needs to show any step without asking again.

    Importances and attention are not sent: Python reads them when a token is clicked and is to be explained.

    Args:
        trace: the trace of a run, which may still be growing.
        run: identifies the run. If the browser already shows this run, it takes the payload as the same run grown
            longer, otherwise as a new picture; "" is always a new one.
        total: the number of tokens that the run may reach: the map leaves room for them. None for a run that has
            ended.
        marks: passages to highlight.
        window: the positions to send, if the trace is too long to be sent whole, see `window_at`. The map then has only
            these columns and steps. None for all.
        at: what the map shows first; it then does not change the page's address. None for the step in the address, or
            else the last one. Only for a trace that is sent whole.

    Returns:
        With n for the number of tokens in the window: `evicted_at` is (layers, groups, n); a token that is kept after
        the last step has the value n. `piece_ends` is (n,), in UTF-16 code units, which JavaScript's strings count in.
        `special` and `continued` are (n,) bytes. Steps, positions, `prompt_length` and the marks' `start` and `end` are
        counted from `start`, the first position of the window; `total` is the number of columns, `whole` that of all
        tokens. If the window does not begin at 0, `older` says how many rows from before it each decider still holds
        (see `_held_before`), and `older_seen` how many of these the model's own sliding window does not hide (None if
        not known); both are None otherwise. `sliding_windows` is (layers,), 0 for a layer that has none.

    Raises:
        ValueError: a window or a mark outside the trace, or a mark of an unknown kind.
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
    """Several traces of one model as JSON values, for one picture of all of them.

    Args:
        traces: of the same text, which all have read, or of the same prompt, which each has continued.
        delta_nll: (traces, n), how many nats each token costs more under the policy than under the full model; NaN
            where nothing is predicted. Only for traces of the same text.
        run: as in `payload`.
        total: as in `payload`.
        marks: as in `payload`; only in the prompt, if the traces have continued it.
        window: as in `payload`; only for traces of the same text.

    Returns:
        The shared values and, in `policies`, those of each trace. If all have the same tokens, `mode` is "read" and the
        text is shared. Otherwise `mode` is "write", and each policy has its own text and `diverges_at`: the first
        position at which its text differs from the first trace's, the shorter one's length if the other continues it,
        None if the two are equal.

    Raises:
        ValueError: no traces, different numbers of layers, a `delta_nll` of another shape, a window although the texts
            differ, a window or a mark outside the traces, or a mark of an unknown kind.
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
    """The positions that have columns: the window, or all, of n tokens so far and `whole` at most."""
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
        "model": PurePath(trace.model_id).name,  # no path of a local model: pictures are passed on
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
    """A mark; its `older` counts its rows from before the window, of all deciders together; None if there are none."""
    older = before[:, mark.positions.start : mark.positions.stop].reshape(1, -1)
    return {
        "label": mark.label,
        "kind": mark.kind,
        "start": mark.positions.start - steps.start,
        "end": mark.positions.stop - steps.start,
        "older": _held_before(older, steps) if older.size else None,
    }


def _seen_before(evicted_at: Ints, windows: NDArray[Any], positions: Positions, steps: range) -> Payload | None:
    """As `_held_before`, but only rows that the model's sliding windows (holders,) do not hide.

    None if no layer has a window, or if the model measures distances by other positions than those in the text.
    """
    if not windows.any() or positions != "original":
        return None
    reach = np.where(windows > 0, windows, NEVER - steps.start)[:, None]
    return _held_before(np.minimum(evicted_at, np.arange(steps.start) + reach), steps)


def _held_before(evicted_at: Ints, steps: range) -> Payload:
    """How many rows read before these steps are still held after each step, in the shortest form.

    Args:
        evicted_at: (holders, rows), for rows that were all read before these steps.
        steps: the steps to send.

    Returns:
        `kept` is (holders,): how many rows are held before the first step. `evicted_at` has the steps, counted from
        the first, at which rows are evicted, in ascending order for the first holder, then for the next one. `ends` is
        (holders,): the index in `evicted_at` at which each holder's steps end.
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
    """The array as int16 if its values fit, else as int32."""
    narrow = array.max(initial=0) <= np.iinfo(np.int16).max
    return {
        "dtype": "int16" if narrow else "int32",
        "base64": _base64(array.astype("<i2" if narrow else "<i4")),
    }


def _floats(array: Floats) -> dict[str, str]:
    return {"dtype": "float32", "base64": _base64(array.astype("<f4"))}


def _base64(array: NDArray[Any]) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode("ascii")
