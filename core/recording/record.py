"""Watches a model of transformers while any code runs it, and makes a trace of what its cache keeps."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakSet

import numpy as np
from torch import nn

from core.errors import BadInput, CannotRecord
from core.recording.watcher import Watcher
from core.trace import Ints, Trace, recorded

_recorded: WeakSet[nn.Module] = WeakSet()  # modules of models that are being recorded, in any thread
_lock = threading.Lock()


@contextmanager
def record(model: nn.Module) -> Iterator["Recording"]:
    """Record which rows the cache of a model keeps, while any code runs it inside this context.

    Rows are recognized by all bits of their keys and values, so nothing need be known of the code: a cache of
    transformers or of one's own, kvpress, a loop by hand. The run is not changed: its outputs and random numbers are
    those that it has without. Only runs in this thread are recorded. On leaving, also by an exception, the model and
    the cache are as they were.

    Args:
        model: any decoder of transformers (4.56 or later) whose attention puts keys into a `Cache` by its `update`.

    Raises:
        BadInput: the model is no such decoder, or is being recorded already.
    """
    watcher = Watcher(model)
    with _alone(watcher.modules):
        try:
            watcher.begin()
            yield Recording(watcher)
        finally:
            watcher.end()


@contextmanager
def _alone(modules: list[nn.Module]) -> Iterator[None]:
    """Inside the `with` block, nobody else can begin to record these modules."""
    with _lock:
        if any(module in _recorded for module in modules):
            raise BadInput("This model is being recorded already. Record one run after the other.")
        _recorded.update(modules)
    try:
        yield
    finally:
        with _lock:
            _recorded.difference_update(modules)


class Recording:
    """What was recorded inside a context of `record`."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher

    def trace(self, tokenizer: Any = None, name: str = "") -> Trace:
        """The trace of the run, after its context was left.

        Tokens stand in the order in which the model read them, drafts that assisted decoding takes back included. The
        last one that `generate` writes is not among them, for the model has not read it. Every KV head is a decider.
        A row is evicted at the last step that could attend to it; of a forward pass of several tokens that is its last.
        Layers without rows of their own (the last of Gemma 3n use those of earlier layers) are not in the trace.

        What is not known is NaN: `nll` where no logits were seen, such as in the prompt of `generate`, and importances
        and attention everywhere. Of masks only that of kvpress is read; a row that another mask hides counts as
        attended. If the cache does not show its rows in `layers`, what the last query could attend to counts as kept.

        Args:
            tokenizer: a fast tokenizer, for the texts of the tokens; None names them by their ids.
            name: what the run is called beside others, such as "SnapKV, half".

        Raises:
            BadInput: the context has not been left, no cache was used in it, or the name is too long.
            CannotRecord: the cache changes its rows, or does what a trace cannot tell; the message says which.
        """
        watcher = self._watcher
        if watcher.listens:
            raise BadInput("The recording still goes on. Leave its `with` block before you ask for the trace.")
        if watcher.refusal is not None:
            raise watcher.refusal
        if not watcher.rows:
            raise BadInput(
                "Nothing was recorded: no cache was used. Run the model inside the `with` block, in the same thread, "
                "with `use_cache=True`."
            )
        evicted_at = _evicted_at(watcher)
        unknown = np.full(evicted_at.shape, np.nan, np.float32)
        return Trace(
            model_id=getattr(watcher.model.config, "name_or_path", "") or type(watcher.model).__name__,
            policy=recorded(name),
            prefill="one-shot" if watcher.text.passes[0] > 1 else "token-by-token",
            tokens=watcher.text.tokens(tokenizer),
            prompt_length=watcher.text.prompt_length,
            evicted_at=evicted_at,
            nll=watcher.text.nll(evicted_at),
            importance_at_eviction=unknown,
            runner_up_importance=unknown,
            attention_received=unknown,
            sliding_windows=_sliding_windows(watcher.model.config, len(evicted_at)),
        )


def _evicted_at(watcher: Watcher) -> Ints:
    """(layers, KV heads, n) int32, as in a trace.

    Raises:
        CannotRecord: some layers have no rows, or not those of all tokens, or other numbers of KV heads.
    """
    layers = sorted(watcher.rows)
    if layers != list(range(len(layers))):
        raise CannotRecord(
            "Only the layers {layers} put keys into the cache, and a trace has all layers from 0 on. Models that mix "
            "attention with other layers cannot be recorded.",
            layers=", ".join(map(str, layers)),
        )
    if not watcher.is_whole:
        raise CannotRecord("The run was stopped in the middle of a step. Record it again.")
    evicted_at = [watcher.rows[layer].evicted_at for layer in layers]
    if len({of_layer.shape for of_layer in evicted_at}) > 1:
        raise CannotRecord("The layers have different numbers of KV heads, and a trace has the same in all.")
    return np.stack(evicted_at).astype(np.int32)


def _sliding_windows(config: Any, layers: int) -> tuple[int, ...]:
    """The model's own sliding window of each layer, as in a trace."""
    config = config.get_text_config(decoder=True)
    window = getattr(config, "sliding_window", None) or 0
    kinds = getattr(config, "layer_types", None) or ["sliding_attention"] * layers
    windows = tuple(window if kind == "sliding_attention" else 0 for kind in kinds[:layers])
    return windows if any(windows) else ()
