"""Listens to a model of transformers and to its cache while any code runs it."""

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from core.errors import BadInput, CannotRecord
from core.recording.caches import Listener, cache_in, check_form, check_layer, hidden_in, rows_held
from core.recording.prints import prints_of
from core.recording.rows import LayerRows
from core.recording.text import Text


class Watcher:
    """Watches one model from `begin` to `end`, in the thread that made it; it never disturbs the run.

    Attributes:
        model: the model.
        text: the tokens read.
        rows: by layer, the rows that were put into the cache.
        refusal: why the run cannot be recorded; None if it can.
        listens: whether `end` has not been called yet.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model: Any = model
        self.text, self.rows = Text(), dict[int, LayerRows]()
        self.refusal: CannotRecord | None = None
        self.listens = True
        self._thread = threading.get_ident()
        self._listener: Listener | None = None
        self._undo: list[Callable[[], None]] = []
        self._heard_back: Callable[..., None] = self._given_back
        self._through: set[int] = set()  # the layers that the last pass has gone through
        self._of_layer: dict[int, list[nn.Module]] = defaultdict(list)
        for module in model.modules() if isinstance(model, nn.Module) else ():
            if isinstance(layer := getattr(module, "layer_idx", None), int):
                self._of_layer[layer].append(module)
        if not self._of_layer or getattr(self.model.config, "is_encoder_decoder", False):
            raise BadInput(
                "{model} is no decoder whose attention can be found. Give a causal language model of transformers.",
                model=type(model).__name__,
            )

    @property
    def modules(self) -> list[nn.Module]:
        """The modules that know their layer, its attention among them."""
        return [module for modules in self._of_layer.values() for module in modules]

    @property
    def is_whole(self) -> bool:
        """Whether the last forward pass has come to its end."""
        layers = range(self.model.config.get_text_config(decoder=True).num_hidden_layers)
        return self._through >= self._of_layer.keys() & set(layers)

    def begin(self) -> None:
        """Hook into the model."""
        self._heard_back = _aside(self._given_back)
        hooks = [
            self.model.get_input_embeddings().register_forward_pre_hook(_aside(self._embeds), with_kwargs=True),
            self.model.register_forward_pre_hook(_aside(self._starts), with_kwargs=True),
            self.model.register_forward_hook(_aside(self._predicts), with_kwargs=True),
            *(module.register_forward_pre_hook(_aside(self._attends), with_kwargs=True) for module in self.modules),
            *(module.register_forward_hook(_aside(self._attended), with_kwargs=True) for module in self.modules),
        ]
        self._undo = [hook.remove for hook in hooks]

    def end(self) -> None:
        """Leave the model and the cache as they were, after a last look at what the cache holds."""
        self.listens = False
        for undo in self._undo:
            undo()
        if self._listener is None:
            return
        self._listener.leave()
        if self.refusal is None:
            with self._refusing():
                self._last_look(self._listener.cache)
        self._listener = None

    @property
    def _heeds(self) -> bool:
        return self.refusal is None and threading.get_ident() == self._thread

    @contextmanager
    def _refusing(self) -> Iterator[None]:
        """What cannot be recorded is told when the trace is asked for; until then the run goes on undisturbed."""
        try:
            yield
        except CannotRecord as e:
            self.refusal = e

    def _starts(self, module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        mask = kwargs.get("attention_mask")
        if self._heeds:
            self.text.begin(padded=isinstance(mask, torch.Tensor) and mask.ndim == 2 and not bool(mask.all()))

    def _embeds(self, module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        if self._heeds:
            self.text.embedded = next(iter([*args, *kwargs.values()]))

    def _predicts(self, module: nn.Module, args: Any, kwargs: dict[str, Any], output: Any) -> None:
        logits = getattr(output, "logits", None)
        chosen = isinstance(kwargs.get("logits_to_keep"), torch.Tensor)  # then the logits' positions are not known
        if self._heeds and logits is not None and not chosen:
            self.text.predicted(logits)

    def _attends(self, module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        cache = cache_in([*args, *kwargs.values()]) if self._heeds else None
        if cache is None:
            return
        if self._listener is None:
            self._listener = Listener(cache, _aside(self._put))
        elif self._listener.cache is not cache:
            self.refusal = CannotRecord("A second cache was used. Record every text by itself.")

    def _attended(self, module: Any, args: Any, kwargs: dict[str, Any], output: Any) -> None:
        if self._heeds and cache_in([*args, *kwargs.values()]) is not None:
            self._through.add(module.layer_idx)

    def _put(self, layer: int, keys: torch.Tensor, values: torch.Tensor) -> Callable[..., None]:
        """New rows are put into a layer; returns what is to be called with those that are given back."""
        if self._heeds:
            with self._refusing():
                check_form(keys, values, heads=keys.shape[1])
                heads, new = keys.shape[1:3]
                rows = self.rows.setdefault(layer, LayerRows(layer, heads))
                if len(rows) == len(self.text):
                    self.text.read(new)
                    self._through = set()
                if (len(rows), len(rows) + new) != (self.text.starts[-1], len(self.text)):
                    raise CannotRecord(
                        "Layer {layer} left out some of the tokens that others have read, and a trace has all tokens "
                        "in all layers. Run the model with all its layers.",
                        layer=layer,
                    )
                rows.put(prints_of(keys, values))
                return partial(self._heard_back, layer, new)
        return lambda *_: None

    def _given_back(self, layer: int, new: int, keys: torch.Tensor, values: torch.Tensor) -> None:
        """What the cache gives back after new rows: what their queries attend to."""
        with self._refusing():
            assert self._listener is not None
            check_layer(self._listener.cache, layer)
            check_form(keys, values, heads=self.rows[layer].there.shape[0])
            # kvpress does not apply its mask where queries and keys are equally many
            self._look(layer, keys, values, masked=keys.shape[2] != new)
            self.rows[layer].seen(len(self.text) - 1, new)

    def _last_look(self, cache: Any) -> None:
        for layer in self.rows:
            held = rows_held(cache, layer)
            if held is not None:
                self._look(layer, *held, masked=True)

    def _look(self, layer: int, keys: torch.Tensor, values: torch.Tensor, *, masked: bool) -> None:
        _, heads, slots, _ = keys.shape
        hidden = hidden_in(self._of_layer[layer], heads, slots) if masked else np.zeros((heads, slots), bool)
        self.rows[layer].look(prints_of(keys, values), hidden)


def _aside(call: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, left out of compilation, so that it also runs inside a compiled model."""
    same: Callable[..., Any] = torch.compiler.disable(call)  # type: ignore[no-untyped-call]
    return same
