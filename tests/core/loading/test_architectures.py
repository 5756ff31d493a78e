"""Every class of causal language models runs exactly, or is refused by name: never a traceback, never a fiction."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, PhimoeConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from core import LanguageModel, load_model, make_policy, replay
from core.engine.capability import checked_rotary
from core.errors import UnsupportedModel
from tests.architectures import NOT_BUILT, REASONS, RUNS, tiny_config


def saved(config: Any, directory: Path) -> Path:
    """A model with random weights, large enough to matter."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config)
    for parameter in model.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    model.save_pretrained(directory)
    return directory


def load(directory: Path) -> LanguageModel:
    return load_model(str(directory), dtype="float32", device="cpu")


def nll_of_its_own(directory: Path, ids: list[int]) -> np.ndarray:
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, attn_implementation="eager").eval()
    with torch.inference_mode():
        logits = model(torch.tensor([ids]), use_cache=False).logits[0].float()
    return torch.nn.functional.cross_entropy(logits[:-1], torch.tensor(ids[1:]), reduction="none").numpy()


def test_the_table_has_every_class() -> None:
    assert sorted([*RUNS, *REASONS, *NOT_BUILT]) == sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)


@pytest.mark.parametrize("model_type", RUNS)
def test_what_runs_is_exact(model_type: str, tmp_path: Path) -> None:
    directory = saved(tiny_config(model_type), tmp_path)
    lm = load(directory)
    # no token twice: where a layer has no positions, two that are alike would tie but for rounding
    ids = torch.randperm(lm.vocabulary_size, generator=torch.Generator().manual_seed(1))[:20].tolist()
    chunks, tokens = (replay(lm, ids, make_policy("tova", budget=6), chunk=chunk) for chunk in (5, 1))
    np.testing.assert_array_equal(chunks.evicted_at, tokens.evicted_at)
    np.testing.assert_allclose(chunks.nll, tokens.nll, atol=1e-4)
    full = replay(lm, ids, make_policy("full"), chunk=5)
    np.testing.assert_allclose(full.nll[1:], nll_of_its_own(directory, ids), atol=1e-4)
    assert lm.eos_ids and lm.fingerprint
    try:  # either rows can be numbered anew exactly, which is checked there, or that is refused
        assert checked_rotary(lm)
    except UnsupportedModel as refusal:
        assert 'Use positions="original"' in str(refusal)


@pytest.mark.parametrize("model_type", sorted(REASONS))
def test_what_does_not_run_is_refused_by_name(model_type: str, tmp_path: Path) -> None:
    saved(tiny_config(model_type), tmp_path)
    with pytest.raises(UnsupportedModel, match=re.escape(REASONS[model_type])):
        load(tmp_path)


def test_a_window_that_hides_nothing_is_no_reason(tmp_path: Path) -> None:
    """Phi-3.5-MoE was published with a window as long as its context."""
    config = tiny_config("phimoe")
    config.sliding_window = config.max_position_embeddings
    assert isinstance(config, PhimoeConfig) and load(saved(config, tmp_path))


def test_the_readme_says_the_same() -> None:
    """Of the types that it names."""
    readme = (Path(__file__).parents[3] / "README.md").read_text(encoding="utf-8")
    section = readme.partition("## What is refused")[2].partition("\n## ")[0]
    runs, _, refused = section.partition("\nWeights must")[0].partition("refused, because")
    known = set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
    assert known & set(re.findall(r"`([\w-]+)`", runs)) <= set(RUNS)
    assert known & set(re.findall(r"`([\w-]+)`", refused)) <= set(REASONS)
