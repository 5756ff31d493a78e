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

from core.errors import BadInput
from core.trace import NEVER, Floats, Ints, Positions, Trace
from viz.words.policies import policy_parts

Payload: TypeAlias = dict[str, Any]
MarkKind: TypeAlias = Literal["evidence", "question"]

SCHEMA = 2
MOST = 6
"""How many runs are shown side by side, and how many policies can be chosen for a run."""
WINDOW = 4096
"""How many tokens of a longer trace a map shows at once: as many as a browser can draw 60 times a second."""


@dataclass(frozen=True)
class Mark:
    """A passage that the maps highlight.

    Attributes:
        positions: of its tokens in the text.
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


@dataclass(frozen=True)
class View:
    """How a run is shown.

    Attributes:
        run: identifies the run. If the browser already shows this run, it takes the payload as the same run grown
            longer, otherwise as a new picture; "" is always a new one. The number of traces of a run never changes.
        total: the number of tokens that the run may reach: the map leaves room for them. None for a run that has
            ended.
        window: the positions to send, if the traces are too long to be sent whole, see `window_at`. The maps then have
            only these columns and steps. None for all.
        at: what the maps show first; they then do not change the page's address. None for the step in the address, or
            else the last one. Only for traces that are sent whole.
        key: under which everybody finds the run in the store: "" for the example, None if nobody does, or not yet.
    """

    run: str = ""
    total: int | None = None
    window: range | None = None
    at: Moment | None = None
    key: str | None = None


def check_together(traces: Sequence[Trace]) -> None:
    """Refuse runs that people have chosen and that no map can show together.

    Raises:
        BadInput: they are more than `MOST`, or of models with different numbers of layers.
    """
    if len(traces) > MOST:
        raise BadInput("At most {most} runs are shown side by side.", most=MOST)
    if len({trace.evicted_at.shape[0] for trace in traces}) > 1:
        raise BadInput("These runs are of models with different numbers of layers. Open them one by one.")


def window_at(n: int, position: int) -> range:
    """The window that contains a position, or the nearest, if n tokens are cut into windows of `WINDOW`."""
    start = min(max(position, 0), n - 1) // WINDOW * WINDOW
    return range(start, min(start + WINDOW, n))


def payload(
    traces: Sequence[Trace],
    view: View = View(),
    *,
    marks: Sequence[Mark] = (),
    delta_nll: Floats | None = None,
    notes: Sequence[str] = (),
) -> Payload:
    """Traces of one model as JSON values, with all that the browser needs to show any step without asking again.

    Importances and attention are not sent: Python reads them when a token is clicked and is to be explained.

    Args:
        traces: of the same text, which all have read, or of the same prompt, which each has continued. They may still
            be growing.
        view: how they are shown.
        marks: passages to highlight; only in the prompt, if the traces have continued it.
        delta_nll: (traces, n), how many nats each token costs more under the policy than under the full model; NaN
            where nothing is predicted. Only for traces of the same text.
        notes: for each trace one line about what is to be seen in its map, in the language of the page; none for how
            many rows it keeps at the step.

    Returns:
        The shared values and, in `policies`, those of each trace. If all have the same tokens, `mode` is "read" and the
        text is shared. Otherwise `mode` is "write", and each policy has its own text, cut to the same window, the place
        `end` where the whole of it ends, and `diverges_at`: the first position at which it differs from the first
        trace's, the shorter one's end if the other continues it, None if the two are equal.

        With n for the number of tokens in the window: `evicted_at` is (layers, groups, n); a token that is kept after
        the last step has the value n. `piece_ends` is (n,), in UTF-16 code units, which JavaScript's strings count in.
        `special` and `continued` are (n,) bytes. Steps, positions, `prompt_length`, `end`, `diverges_at` and the marks'
        `start` and `end` are counted from `start`, the first position of the window; `total` is the number of columns,
        `whole` that of all tokens. If the window does not begin at 0, `older` says how many rows from before it each
        decider still holds (see `_held_before`), and `older_seen` how many of these the model's own sliding window does
        not hide (None if not known); both are None otherwise. `sliding_windows` is (layers,), 0 for a layer that has
        none.

    Raises:
        ValueError: no traces, different numbers of layers, a `delta_nll` of another shape, not a note for each trace, a
            window or a mark outside the traces, or a mark of an unknown kind.
    """
    diverging = _diverging(traces)
    reading = all(at is None for at in diverging)
    if delta_nll is not None and not (reading and delta_nll.shape == (len(traces), len(traces[0]))):
        raise ValueError(f"delta_nll {delta_nll.shape} does not fit {len(traces)} traces")
    if len(notes) not in (0, len(traces)):
        raise ValueError(f"{len(notes)} notes on {len(traces)} traces")
    longest = max(len(trace) for trace in traces)
    whole = max(longest, view.total or 0)
    shown = _shown(longest, whole, view.window)
    _check(marks, whole if reading else min(trace.prompt_length for trace in traces))
    policies = []
    for i, (trace, at) in enumerate(zip(traces, diverging, strict=True)):
        own = _policy_of(trace, shown, marks)
        if not reading:
            own |= _text_of(trace, shown) | {
                "diverges_at": None if at is None else at - shown.start,
                "end": len(trace) - shown.start,
            }
        if delta_nll is not None:
            own["delta_nll"] = _floats(delta_nll[i, shown.start : shown.stop])
        policies.append(own | {"note": notes[i] if notes else None})
    text = _text_of(traces[0], shown) if reading else {}
    mode = "read" if reading else "write"
    return _shared(traces[0], view, whole, shown) | text | {"mode": mode, "policies": policies}


def _diverging(traces: Sequence[Trace]) -> list[int | None]:
    """Where each text leaves the first trace's, as `diverges_at` has it, but counted from the first token."""
    if not traces:
        raise ValueError("no traces to show")
    layers = {trace.evicted_at.shape[0] for trace in traces}
    if len(layers) > 1:
        raise ValueError("these traces are of models with different numbers of layers")
    return [_diverges_at(traces[0], trace) for trace in traces]


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


def _shared(first: Trace, view: View, whole: int, shown: range) -> Payload:
    return {
        "uneven": first.budgets != "uniform",
        "schema": SCHEMA,
        "run": view.run,
        "key": view.key,
        "at": None if view.at is None else {"step": view.at.step, "position": view.at.position},
        "model": PurePath(first.model_id).name,  # no path of a local model: pictures are passed on
        "layers": first.evicted_at.shape[0],
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
        "piece_ends": _integers(np.cumsum([_utf16_length(piece) for piece in tokens.pieces], dtype=np.int64)),
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
        "policy": policy_parts(trace.policy)[0],
        "scope": trace.policy.scope,
        "budget": trace.policy.budget,
        "keeps_all": trace.policy.keeps_all,
        "at_most": trace.policy.budget if (trace.budgets, trace.every) == ("uniform", 1) else None,
        "positions": trace.positions,
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
    """How many rows read before these steps are still held after each step.

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
