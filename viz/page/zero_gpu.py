"""ZeroGPU: Hugging Face Spaces that lend a GPU to one run at a time. Anywhere else this module has no effect.

On ZeroGPU, everything that uses a model runs in a second process, forked from the app's and lent the GPU, perhaps
several times. The source of `spaces` 0.51 says how, and this module relies on it:

- `spaces.GPU` makes a generator function run in that process. Its arguments and what it yields are pickled.
- The process is kept for later calls of the same function, unless somebody else has had the GPU meanwhile. So one
  function serves all uses: a model may still be in memory. But the Gradio event seen there stays the first call's.
- The process does not wait for us between yields, and closing the generator ends it only at its next yield.
- An exception there is replaced by `gr.Error("its class")`, and the process is given up. So the work's exceptions are
  yielded, not raised; a `gr.Error` is a message of `spaces` itself: no GPU is free, or a quota is used up.
- `spaces` must be imported before CUDA is used, and its functions must be known to it when the page is launched.
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
"""Whether the app runs on such a Space."""


def on_gpu(work: Callable[..., Iterator[Any]], *values: Any) -> Generator[Any]:
    """Yields what `work(*values)` yields; on ZeroGPU the work runs in the process that has the GPU.

    So `work` must be a function of a module, or a `partial` of one; its values and what it yields must be picklable;
    and what it changes is lost: the store, the log, the votes and the page belong to the app's own process.

    Raises:
        GpuUnavailable: the GPU was not lent, or was taken back.
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
    """Yields what the work yields, and then the exception that ended it, if there is one."""
    try:
        yield from work(*values)
    except UserError as e:
        yield _Raised(e)
    except Exception:  # perhaps not picklable, and its traceback never is
        yield _Raised(RuntimeError(f"in the process that has the GPU:\n{traceback.format_exc()}"))


if ZERO_GPU:
    import spaces

    _lent = spaces.GPU(_telling)
