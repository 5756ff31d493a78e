"""The models in memory, shared by all tabs."""

import gc
from collections import OrderedDict
from collections.abc import Callable, Collection, Generator, Iterator
from dataclasses import dataclass, field
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Any

import core
from core.errors import UnknownModel
from core.messages import Message
from core.model.registry import GROUPS, MODELS, ModelSpec
from viz.page import limits
from viz.page.zero_gpu import on_gpu
from viz.words.catalogue import told
from viz.words.labels import later

if TYPE_CHECKING:
    from core import LanguageModel


@dataclass(eq=False)
class ResidentModels:
    """Loads models at their first use and keeps the `max_models` most recently used ones.

    One model is loaded at a time; meanwhile other calls of `get` wait. A run keeps a reference to its model, so a model
    that is dropped here is freed when the last run that uses it ends.

    Attributes:
        offered: the names that may be loaded besides the registry's.
        any_model: whether any directory or hub id may be loaded.
    """

    offered: Collection[str] = ()
    any_model: bool = False
    _loaded: "OrderedDict[str, LanguageModel]" = field(default_factory=OrderedDict)
    _loading: str | None = None
    _lock: Lock = field(default_factory=Lock)

    def get(self, name: str) -> "LanguageModel":
        """The model of that name.

        Raises:
            UnknownModel: it is not offered; this is checked before disk or network is used.
            UserError: it cannot be loaded, see `load_model`; the next call tries again.
        """
        if not (self.any_model or name in MODELS or name in self.offered):
            raise UnknownModel(
                "{model!r} is not among the models of this app. Choose one from the menu; who runs the app can offer "
                "another with --model, or any with --any-model.",
                model=name[:80],
            )
        with self._lock:
            if name not in self._loaded:
                self._make_room()
                self._loading = name
                try:
                    self._loaded[name] = core.load_model(name)
                finally:
                    self._loading = None
            self._loaded.move_to_end(name)
            return self._loaded[name]

    def peek(self, name: str) -> "LanguageModel | None":
        """The model of that name if it is in memory; never waits."""
        return self._loaded.get(name)

    def _make_room(self) -> None:
        while len(self._loaded) >= limits.current.max_models:
            self._loaded.popitem(last=False)
            gc.collect()  # modules refer to each other, so only this frees the memory for the next model

    def room(self) -> int | None:
        """Bytes that the weights of another model may take here, when those in memory have made room.

        None until a model is in memory: what says it takes seconds to import.
        """
        loaded = [lm.spec for lm in list(self._loaded.values())]
        return core.free_bytes() + sum(core.weight_bytes(spec) for spec in loaded if spec) if loaded else None

    def state(self) -> dict[str, Any]:
        """What is in memory and what is being loaded; never waits."""
        return {"loaded": list(self._loaded), "loading": self._loading}


resident = ResidentModels()
"""The models of this app, set when it starts."""


def menu() -> list[tuple[Any, str]]:
    """The choices of a menu of models, by group: what each browser shows, and the name."""
    return [(later(partial(_entry, group, spec)), spec.name) for group, specs in GROUPS.items() for spec in specs]


def _entry(group: Message, spec: ModelSpec) -> str:
    room = resident.room()
    if room is None or core.weight_bytes(spec) <= room:
        return told(Message("{model} · {group}", model=spec.title, group=group))
    size = core.weight_bytes(spec) / 1e9
    return told(Message("{model} · {group} · {size:.0f} GB, too large here", model=spec.title, group=group, size=size))


def language_model(model: str) -> "LanguageModel":
    """The model, loaded at its first use, see `ResidentModels.get`."""
    return resident.get(model)


def with_model(model: str, use: Callable[..., Iterator[Any]], *values: Any) -> Generator[Any]:
    """Yields what `use(lm, *values)` yields, where lm is the model of that name; see `on_gpu` for what `use` may do.

    Whatever the page and the endpoints ask of a model must go through here, because it may be in another process.

    Raises:
        UserError: the model cannot be loaded, see `ResidentModels.get`; or as in `on_gpu`.
    """
    return on_gpu(_with_model, model, use, *values)


def _with_model(model: str, use: Callable[..., Iterator[Any]], *values: Any) -> Iterator[Any]:
    return use(language_model(model), *values)


QUIETLY: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden", "show_progress_on": []}
"""Settings of every event that shows no progress and is no endpoint.

The empty list matters: at every message of any event, Gradio's page goes through all components at which progress of
some event was ever shown, hidden or not, and searches each in the tree of components. With all outputs among them, this
was most of what a browser computed when the page opened.
"""


def one_by_one(name: str) -> dict[str, Any]:
    """Settings of quiet events of the same name, which fill the same components: one is answered after the other.

    So what is shown last answers what was asked last. By default, Gradio answers different events side by side, so that
    a slow answer can replace that to a later click; and it drops a click while the same event is being answered. Its
    "always_last" would give the handler the later values, but the place that was clicked first.
    """
    return {**QUIETLY, "trigger_mode": "multiple", "concurrency_id": name, "concurrency_limit": 1}


ALONE: dict[str, Any] = {"trigger_mode": "multiple", "concurrency_id": "model", "concurrency_limit": 1}
"""Settings of every event that uses the model: one runs at a time, the others wait in line, none is dropped."""
