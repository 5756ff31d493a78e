"""What the browser gets of traces: the contract between Python and the scripts in `static`.

Arrays travel as base64 of little-endian integers, never as lists: a browser takes seconds to digest a long list. The
texts of the tokens travel as one string and the places where each of them ends in it, for the same reason.
"""

import base64
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from core.trace import Floats, Trace

Payload: TypeAlias = dict[str, Any]

SCHEMA = 1


def payload(trace: Trace, run: str = "", total: int | None = None) -> Payload:
    """The trace as plain JSON values, complete: the browser scrubs through every step without asking again.

    Importances and attention stay in Python, which explains a token when it is clicked.

    Args:
        trace: of any run, also one that has only begun.
        run: identifies the execution. The browser takes a payload of the run it already shows as that run grown
            longer, and any other as a new picture.
        total: the number of tokens the run may reach. The map leaves room for them, so that it fills while the run
            grows; None for a run that has ended.

    Returns:
        `evicted_at` is (layers, groups, n), and n, which is later than every step, for a token that is still there.
        `piece_ends` is (n,), in UTF-16 code units, the unit of JavaScript's strings. `special`
        and `continued` are (n,) bytes.
    """
    n = len(trace)
    shared = {"schema": SCHEMA, "run": run, "model": _model(trace), "total": max(n, total or 0)}
    return shared | _text_of(trace) | _policy_of(trace)


def comparison_payload(
    traces: Sequence[Trace], delta_nll: Floats | None = None, run: str = "", total: int | None = None
) -> Payload:
    """Several traces of one model as plain JSON values, complete, for one picture of all of them.

    Args:
        traces: of one text that all have read, or of one prompt that each has continued.
        delta_nll: (traces, n), nats that each token costs more under the policy than under the full model, NaN where
            nothing is predicted. Only of one text that all have read.
        run: as in `payload`.
        total: as in `payload`.

    Returns:
        The shared values and, in `policies`, those of each trace. `mode` is "read" if all have the same tokens: then
        the text is shared, too. It is "write" if not: then each policy has its own text, and `diverges_at` is the
        first position at which it differs from the first trace's, its own length if that is a mere continuation, and
        None if it does not differ.

    Raises:
        ValueError: no traces, traces of several models, or a `delta_nll` of another shape.
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
    policies = []
    for i, (trace, at) in enumerate(zip(traces, diverging, strict=True)):
        own = _policy_of(trace) if reading else _policy_of(trace) | _text_of(trace) | {"diverges_at": at}
        policies.append(own if delta_nll is None else own | {"delta_nll": _floats(delta_nll[i])})
    return {
        "schema": SCHEMA,
        "run": run,
        "model": _model(first),
        "mode": "read" if reading else "write",
        "layers": first.evicted_at.shape[0],
        "total": max(*(len(trace) for trace in traces), total or 0),
        "policies": policies,
    } | (_text_of(first) if reading else {})


def _diverges_at(first: Trace, other: Trace) -> int | None:
    ours, theirs = first.tokens.ids, other.tokens.ids
    n = min(len(ours), len(theirs))
    different = np.flatnonzero(ours[:n] != theirs[:n])
    if len(different):
        return int(different[0])
    return None if len(ours) == len(theirs) else n


def _model(trace: Trace) -> str:
    return PurePath(trace.model_id).name  # of a local model not the whole path: pictures are passed on


def _text_of(trace: Trace) -> Payload:
    tokens = trace.tokens
    return {
        "length": len(tokens),
        "prompt_length": trace.prompt_length,
        "text": "".join(tokens.pieces),
        "piece_ends": _integers(np.cumsum([_utf16_length(piece) for piece in tokens.pieces])),
        "special": _base64(tokens.special.astype(np.uint8)),
        "continued": _base64(tokens.continued.astype(np.uint8)),
    }


def _policy_of(trace: Trace) -> Payload:
    layers, groups, n = trace.evicted_at.shape
    return {
        "policy": trace.policy.label,
        "scope": trace.policy.scope,
        "budget": trace.policy.budget,
        "layers": layers,
        "groups": groups,
        "evicted_at": _integers(np.minimum(trace.evicted_at, n)),
    }


def _utf16_length(text: str) -> int:
    return len(text) + sum(character > "\uffff" for character in text)


def _integers(array: NDArray[np.integer[Any]]) -> dict[str, str]:
    """The array as the narrower of int16 and int32 that holds it."""
    narrow = array.max() <= np.iinfo(np.int16).max
    return {
        "dtype": "int16" if narrow else "int32",
        "base64": _base64(array.astype("<i2" if narrow else "<i4")),
    }


def _floats(array: Floats) -> dict[str, str]:
    return {"dtype": "float32", "base64": _base64(array.astype("<f4"))}


def _base64(array: NDArray[Any]) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode("ascii")
