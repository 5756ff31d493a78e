"""Every class of causal language models runs exactly, or is refused by name: never a traceback, never a fiction."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, GptOssConfig, PhimoeConfig
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
)

from core import LanguageModel, load_model, make_policy, replay
from core.engine.capability import checked_rotary, class_for
from core.errors import UnsupportedModel
from tests.architectures import NOT_BUILT, REASONS, RUNS, SEES, tiny_config


def saved(config: Any, directory: Path) -> Path:
    """A model with random weights, large enough to matter."""
    torch.manual_seed(0)
    model = class_for(config).from_config(config)
    for parameter in model.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    model.save_pretrained(directory)
    return directory


def load(directory: Path) -> LanguageModel:
    return load_model(str(directory), dtype="float32", device="cpu")


def nll_of_its_own(directory: Path, ids: list[int]) -> np.ndarray:
    kind = class_for(AutoConfig.from_pretrained(directory))
    model = kind.from_pretrained(directory, dtype=torch.float32, attn_implementation="eager").eval()
    with torch.inference_mode():
        logits = model(torch.tensor([ids]), use_cache=False).logits[0].float()
    return torch.nn.functional.cross_entropy(logits[:-1], torch.tensor(ids[1:]), reduction="none").numpy()


def test_the_table_has_every_class() -> None:
    assert sorted([*RUNS, *REASONS, *NOT_BUILT]) == sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)


@pytest.mark.parametrize("model_type", [*RUNS, *SEES])
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
    assert lm.fingerprint and (lm.eos_ids or model_type in SEES)
    try:  # either rows can be numbered anew exactly, which is checked there, or that is refused
        assert checked_rotary(lm)
    except UnsupportedModel as refusal:
        assert 'Use positions="original"' in str(refusal)


@pytest.mark.parametrize("model_type", sorted(REASONS))
def test_what_does_not_run_is_refused_by_name(model_type: str, tmp_path: Path) -> None:
    saved(tiny_config(model_type), tmp_path)
    with pytest.raises(UnsupportedModel, match=re.escape(REASONS[model_type])):
        load(tmp_path)


@pytest.mark.parametrize(
    ("model_type", "why"),
    [("blip", "cannot read a text"), ("blip-2", "cannot read"), ("minicpm_ocr", "hold no multi-state")],
)
def test_what_sees_and_does_not_run_is_refused_by_name(model_type: str, why: str, tmp_path: Path) -> None:
    saved(tiny_config(model_type), tmp_path)
    with pytest.raises(UnsupportedModel, match=why):
        load(tmp_path)


def test_a_window_that_hides_nothing_is_no_reason(tmp_path: Path) -> None:
    """Phi-3.5-MoE was published with a window as long as its context."""
    config = tiny_config("phimoe")
    config.sliding_window = config.max_position_embeddings
    assert isinstance(config, PhimoeConfig) and load(saved(config, tmp_path))


@pytest.mark.parametrize("model_type", ["bert", "doge", "marian"])
def test_a_fiction_is_found_out_in_half_precision_too(model_type: str, tmp_path: Path) -> None:
    saved(tiny_config(model_type), tmp_path)
    with pytest.raises(UnsupportedModel, match="does not give the same output"):
        load_model(str(tmp_path), dtype="bfloat16", device="cpu")


EXPERTS = GptOssConfig(
    **{"hidden_size": 256, "intermediate_size": 256, "num_hidden_layers": 24, "vocab_size": 500},
    **{"num_attention_heads": 16, "num_key_value_heads": 4, "head_dim": 16},
    **{"num_local_experts": 8, "num_experts_per_tok": 4},
)


def test_that_a_rounding_chooses_other_experts_is_no_fiction(tmp_path: Path) -> None:
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(EXPERTS).save_pretrained(tmp_path)
    lm = load_model(str(tmp_path), dtype="bfloat16", device="cpu")
    assert replay(lm, range(20), make_policy("tova", budget=6)).sliding_windows == (128, 0) * 12


FP4 = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6, 0, -0.5, -1, -1.5, -2, -3, -4, -6])


def in_mxfp4(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Experts' weights (experts, in, out) as gpt-oss has them, 32 numbers in 16 bytes and a scale; and their values.

    A byte has two numbers of `FP4`, the first in its lower half; the scale is a power of 2, its exponent plus 127.
    """
    blocks = weight.transpose(1, 2).unflatten(2, (-1, 32))
    exponents = (blocks.abs().amax(dim=-1) / 6).log2().ceil()
    codes = (blocks / exponents.exp2()[..., None])[..., None].sub(FP4).abs().argmin(dim=-1)
    values = (FP4[codes] * exponents.exp2()[..., None]).flatten(2).transpose(1, 2)
    return (codes[..., 0::2] | codes[..., 1::2] << 4).to(torch.uint8), (exponents + 127).to(torch.uint8), values


def test_four_bit_experts_are_read_as_what_they_stand_for(tmp_path: Path) -> None:
    """As gpt-oss is published; without the kernels for it."""
    config = tiny_config("gpt_oss")
    config.hidden_size = config.intermediate_size = 64
    saved(config, tmp_path)
    tensors, expected = {}, {}
    for name, weight in load_file(tmp_path / "model.safetensors").items():
        if name.endswith(("experts.gate_up_proj", "experts.down_proj")):
            tensors[f"{name}_blocks"], tensors[f"{name}_scales"], expected[name] = in_mxfp4(weight)
        else:
            tensors[name] = weight.bfloat16()
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    said = json.loads((tmp_path / "config.json").read_text())
    whole = ["model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head"]
    said["quantization_config"] = {"quant_method": "mxfp4", "modules_to_not_convert": whole}
    (tmp_path / "config.json").write_text(json.dumps(said))
    lm = load(tmp_path)
    found = dict(lm.model.named_parameters())
    assert len(expected) == 4
    for name, values in expected.items():
        torch.testing.assert_close(found[name], values)
    assert np.isfinite(replay(lm, range(20), make_policy("tova", budget=6)).nll[1:]).all()


def test_the_readme_says_the_same() -> None:
    """Of the types that it names."""
    readme = (Path(__file__).parents[3] / "README.md").read_text(encoding="utf-8")
    section = readme.partition("## What is refused")[2].partition("\n## ")[0]
    runs, _, refused = section.partition("\nWeights must")[0].partition("refused, because")
    known = {*MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, *MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES}
    assert known & set(re.findall(r"`([\w-]+)`", runs)) <= {*RUNS, *SEES}
    assert all(f"{len(those)} of them run exactly" in runs for those in (RUNS, SEES))
    assert known & set(re.findall(r"`([\w-]+)`", refused)) <= set(REASONS)
