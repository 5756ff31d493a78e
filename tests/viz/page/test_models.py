"""The menu of models: every browser sees them by group, and which of them are too large here."""

from typing import Any

import pytest

import core
from core.model.registry import DEFAULT_MODEL, MODELS
from viz.page import models
from viz.page.models import ResidentModels, menu
from viz.words.labels import PageWords


def shown(choices: list[tuple[Any, str]]) -> dict[str, str]:
    """By model, what this menu shows to whom opens the page now."""
    words = PageWords().translations_dict["en"]
    return {name: words[text.key] for text, name in choices}


def test_the_menu_has_all_models_by_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "resident", ResidentModels())
    entries = shown(menu())
    assert list(entries) == list(MODELS)
    assert entries[DEFAULT_MODEL] == "SmolLM2 135M Instruct · GQA 9/3 · 30 layers · small"
    assert entries["llama-2-7b"] == "Llama 2 7B · MHA 32/32 · 32 layers · the paper's"
    assert entries["gpt-oss-20b"] == "gpt-oss 20B · GQA 64/8 · 24 layers · today's"


def test_it_marks_what_is_too_large_for_the_memory_that_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "resident", ResidentModels())
    choices = menu()  # the page is built before any model is in memory
    models.resident.get(DEFAULT_MODEL)
    of_default, of_4b = (core.weight_bytes(MODELS[name]) for name in (DEFAULT_MODEL, "qwen3-4b"))
    monkeypatch.setattr(core, "free_bytes", lambda: of_4b - of_default)  # it would be there, were the default gone
    entries = shown(choices)
    size = core.weight_bytes(MODELS["gpt-oss-20b"]) / 1e9
    assert entries["gpt-oss-20b"] == f"gpt-oss 20B · GQA 64/8 · 24 layers · today's · {size:.0f} GB, too large here"
    marked = {name for name, entry in entries.items() if "too large here" in entry}
    assert marked == {name for name, spec in MODELS.items() if spec.parameters > MODELS["qwen3-4b"].parameters}
