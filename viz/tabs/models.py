"""The model in memory, which all tabs share."""

from functools import lru_cache
from threading import Lock
from typing import Any

from core import LanguageModel, load_model, make_policy, metrics, replay

_loading = Lock()


@lru_cache(maxsize=1)
def _loaded(model: str) -> LanguageModel:
    return load_model(model)


def language_model(model: str) -> LanguageModel:
    """The model, loaded at its first use; one is held in memory at a time."""
    with _loading:
        return _loaded(model)


@lru_cache(maxsize=256)
def full_perplexity(model: str, ids: tuple[int, ...]) -> float:
    """Of the model that forgets nothing, on these tokens."""
    return metrics.perplexity(replay(language_model(model), ids, make_policy("full")))


QUIETLY: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}

ALONE: dict[str, Any] = {"concurrency_id": "model", "concurrency_limit": 1}
"""Of every event that uses the model: one at a time, the others wait in line."""
