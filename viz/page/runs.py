"""What all runs have in common: a time limit, a message if they fail, and one line in the log."""

import inspect
import json
import logging
import time
import uuid
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeAlias

import gradio as gr

from core.errors import GpuUnavailable, NumericalError, OutOfMemory, UserError
from core.messages import Message
from viz.cards.markup import status
from viz.page import limits
from viz.page.models import with_model
from viz.words.catalogue import _

if TYPE_CHECKING:
    from core import LanguageModel

LOG = logging.getLogger("multi_state")

Handler: TypeAlias = Callable[..., Generator[Any]]


@dataclass
class LoggedRun:
    """What the log will say about a run: never the user's text.

    Attributes:
        tab: the tab that started it, or "api".
        model: the name of the model.
        policies: pairs of key and budget.
        tokens: how many were read and written.
        from_store: whether the result came from the store; None if the store was not asked.
        outcome: ``"done"``, ``"stopped"`` by its user or by the time limit, ``"refused"`` or ``"failed"``.
    """

    tab: str
    model: str | None = None
    policies: Sequence[tuple[str, int | None]] = ()
    tokens: int = 0
    from_store: bool | None = None
    outcome: str = "stopped"
    began: float = field(default_factory=time.monotonic)
    _loaded: float | None = None

    def using(self, model: str, use: Callable[..., Iterator[Any]], *values: Any) -> Generator[Any]:
        """Yields what `use(lm, *values)` yields, see `with_model`; the time limit counts from when lm is loaded."""
        self.model = model
        with closing(with_model(model, _once_loaded, use, *values)) as steps:
            next(steps)
            self._loaded = time.monotonic()
            yield from steps

    @property
    def is_late(self) -> bool:
        return self._loaded is not None and time.monotonic() - self._loaded > limits.current.max_seconds

    def broke(self, error: Exception) -> None:
        """Note how an error ended the run: “refused” if the user's request caused it, else “failed”."""
        ours = OutOfMemory | NumericalError | GpuUnavailable
        refused = isinstance(error, UserError) and not isinstance(error, ours)
        self.outcome = "refused" if refused else "failed"

    def log(self) -> None:
        """Write the run's line."""
        LOG.info(
            json.dumps(
                {
                    "event": "run",
                    "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                    "tab": self.tab,
                    "model": self.model,
                    "policies": [key for key, _ in self.policies],
                    "budgets": [budget for _, budget in self.policies],
                    "tokens": self.tokens,
                    "seconds": round(time.monotonic() - self.began, 3),
                    "outcome": self.outcome,
                    "from_store": self.from_store,
                }
            )
        )


def _once_loaded(lm: "LanguageModel", use: Callable[..., Iterator[Any]], *values: Any) -> Iterator[Any]:
    yield None
    yield from use(lm, *values)


def a_run(tab: str, line: gr.HTML, handler: Handler) -> Handler:
    """Make a button's handler of a generator that yields updates by component; it gets a `LoggedRun` before its inputs.

    The status line shows any error that it raises. After the time limit it is ended, and its last outputs stay. When
    it has ended, it is logged.

    Args:
        tab: the name for the log.
        line: the status line.
        handler: the generator.
    """

    @wraps(handler)
    def run(*inputs: Any) -> Generator[Any]:
        record, late = LoggedRun(tab), False
        try:
            with closing(handler(record, *inputs)) as steps:
                for step in steps:
                    yield step
                    if late:  # since the step before, and it has not ended by itself
                        yield {line: status([too_late(), _("What there is stays.")], "error")}
                        return
                    late = record.is_late
            record.outcome = "done"
        except Exception as e:
            record.broke(e)
            yield {line: status(e.message if isinstance(e, UserError) else referred(e), "error")}
        finally:
            record.log()

    run.__signature__ = _without_first(inspect.signature(handler))  # type: ignore[attr-defined]
    return run


def time_left(done: int, total: int, started: float) -> str:
    """The status line of a run that has read `done` of `total` tokens since `started` (of `time.monotonic`)."""
    left = (time.monotonic() - started) / max(done, 1) * (total - done)
    return status(_("{done:,} of {total:,} tokens; about {left:.0f} s left", done=done, total=total, left=left))


def referred(error: BaseException) -> Message:
    """The message about an unexpected error: a reference number, under which the log has its traceback."""
    reference = uuid.uuid4().hex[:6].upper()
    LOG.error("Reference %s", reference, exc_info=error)
    return Message(
        "Something went wrong here, not in your text. Reference {reference}. Try again; if it happens again, tell "
        "whoever runs this app the reference.",
        reference=reference,
    )


def too_late() -> Message:
    """The message about a run that has reached the time limit."""
    return Message(
        "Stopped after {seconds:,} seconds, the most a run may take here. Take a shorter text or fewer new tokens, or "
        "run the app yourself with --max-seconds.",
        seconds=limits.current.max_seconds,
    )


def _without_first(signature: inspect.Signature) -> inspect.Signature:
    return signature.replace(parameters=list(signature.parameters.values())[1:])
