"""What the browser gets of a trace: the contract between Python and `static/retention_map.js`.

Arrays travel as base64 of little-endian integers, never as lists: a browser takes seconds to digest a long list. The
texts of the tokens travel as one string and the places where each of them ends in it, for the same reason.
"""

import base64
from pathlib import PurePath
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from core.trace import Trace

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
    tokens = trace.tokens
    layers, groups, n = trace.evicted_at.shape
    return {
        "schema": SCHEMA,
        "run": run,
        "model": PurePath(trace.model_id).name,  # of a local model not the whole path: pictures are passed on
        "policy": trace.policy.label,
        "scope": trace.policy.scope,
        "budget": trace.policy.budget,
        "layers": layers,
        "groups": groups,
        "length": n,
        "total": max(n, total or 0),
        "prompt_length": trace.prompt_length,
        "text": "".join(tokens.pieces),
        "piece_ends": _integers(np.cumsum([_utf16_length(piece) for piece in tokens.pieces])),
        "special": _base64(tokens.special.astype(np.uint8)),
        "continued": _base64(tokens.continued.astype(np.uint8)),
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


def _base64(array: NDArray[Any]) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode("ascii")
