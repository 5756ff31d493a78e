"""ZeroGPU: Hugging Face Spaces that lend a GPU to one run at a time. Anywhere else nothing here has an effect.

There, what uses a model runs in another process, which is forked from ours when it begins and may be lent the GPU
again later. What this module relies on, read in the source of `spaces` 0.51:

- `spaces.GPU` makes of a generator function one that runs in that process. What goes in and what is yielded is pickled.
- That process is kept for later calls of the same function, if nobody else has had the GPU meanwhile: with one function
  for all that uses a model, a model may still be in memory. But the event that its handlers see stays the first one.
- It runs ahead of us, and closing the generator ends it only at its next yield.
- An exception does not come back: `gr.Error("its class")` is raised in its place, and the process is given up. So ours
  are yielded, not raised. A `gr.Error` is what `spaces` itself has to say: no GPU is free, a quota is used up.
- It must be imported before CUDA is used, and functions must be known to it when the page is launched.
"""

import os
import traceback
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import gradio as gr

from core.errors import GpuUnavailable, UserError

ZERO_GPU = os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true") and find_spec("spaces") is not None
"""Whether this is such a Space."""


def on_gpu(work: Callable[..., Iterator[Any]], *values: Any) -> Generator[Any]:
    """What `work(*values)` yields; on ZeroGPU it works in the process that has the GPU.

    So it must be a function of a module, or a `partial` of one; its values and what it yields must be such as can be
    pickled; and what it changes is lost: the store, the log, the votes and the page are for our own process.

    Raises:
        GpuUnavailable: the GPU is not lent, or has been taken back.
        Exception: what the work raises.
    """
    if not ZERO_GPU:
        yield from work(*values)
        return
    try:
        with closing(_lent(work, *values)) as steps:
            for step in steps:
                if isinstance(step, _Raised):
                    raise step.error
                yield step
    except gr.Error as e:
        reason = str(e.message).strip().rstrip(".")
        raise GpuUnavailable(
            "The GPU of this Space is not to be had ({reason}). Take a shorter text, try again later, or run the app "
            "yourself.",
            reason=reason,
        ) from e


@dataclass(frozen=True)
class _Raised:
    """An exception that ended the work."""

    error: Exception


def _telling(work: Callable[..., Iterator[Any]], *values: Any) -> Iterator[Any]:
    """What the work yields; last the exception, if one ends it."""
    try:
        yield from work(*values)
    except UserError as e:
        yield _Raised(e)
    except Exception:  # perhaps one that cannot be pickled, and its traceback never can
        yield _Raised(RuntimeError(f"in the process that has the GPU:\n{traceback.format_exc()}"))


if ZERO_GPU:
    import spaces

    _lent = spaces.GPU(_telling)
