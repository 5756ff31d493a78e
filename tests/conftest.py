"""Models for the tests: tiny ones with random weights of every architecture we support, and the real SmolLM2."""

import gc
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

gc.disable()  # until all tests are collected

# Before torch is loaded: several workers compute, and the apps that they start; more threads than cores keep each other
# from working.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    DeepseekV3Config,
    Gemma2Config,
    Gemma3TextConfig,
    GPT2Config,
    GPTNeoXConfig,
    GptOssConfig,
    LlamaConfig,
    MistralConfig,
    PretrainedConfig,
    Qwen2Config,
)

import core


def pytest_collection_finish() -> None:
    """What is there before the tests is left out of every search for garbage: it is millions of objects."""
    gc.freeze()
    gc.enable()


VOCABULARY = 97
N = 22  # tokens in the tiny models' texts

# Weights this large make the attention diverse: what decides an eviction is never a matter of rounding.
_COMMON = {"vocab_size": VOCABULARY, "initializer_range": 0.3, "bos_token_id": None, "eos_token_id": None}
_ROTARY = _COMMON | {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
}
TINY: dict[str, PretrainedConfig] = {
    "llama-mha": LlamaConfig(**_ROTARY | {"num_key_value_heads": 4, "num_hidden_layers": 2}),
    "llama-gqa": LlamaConfig(**_ROTARY),
    "mistral": MistralConfig(**_ROTARY, sliding_window=64),
    "mistral-sliding": MistralConfig(**_ROTARY, sliding_window=6),
    "qwen2": Qwen2Config(**_ROTARY),
    "gpt2": GPT2Config(**_COMMON, n_embd=32, n_layer=3, n_head=4, n_positions=128),
    "gpt-neox": GPTNeoXConfig(
        **{key: value for key, value in _ROTARY.items() if key != "num_key_value_heads"},
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.25},
    ),
}

_UNTIED = {"tie_word_embeddings": False, "pad_token_id": None}  # tied ones with such weights repeat themselves
_WINDOWED = {"sliding_window": 6, "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]}
TODAY: dict[str, PretrainedConfig] = {
    # sinks, and layers with a window beside one without
    "gpt-oss": GptOssConfig(
        **_ROTARY,
        **_WINDOWED,
        **{"head_dim": 8, "num_local_experts": 3, "num_experts_per_tok": 2},
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
    ),
    # logits this large are far from the cap's straight part
    "gemma2": Gemma2Config(
        **_ROTARY, **_WINDOWED, head_dim=8, attn_logit_softcapping=2.0, query_pre_attn_scalar=8, **_UNTIED
    ),
    "gemma3": Gemma3TextConfig(**_ROTARY, **_WINDOWED, head_dim=8, query_pre_attn_scalar=8, **_UNTIED),
    # keys of 8 + 4 numbers, values of 6
    "deepseek": DeepseekV3Config(
        **_ROTARY | {"num_key_value_heads": 4, "n_routed_experts": 4, "num_experts_per_tok": 2, "n_group": 1},
        **{"topk_group": 1, "first_k_dense_replace": 1, "moe_intermediate_size": 16, "n_shared_experts": 1},
        **{"q_lora_rank": 16, "kv_lora_rank": 16, "qk_nope_head_dim": 8, "qk_rope_head_dim": 4, "v_head_dim": 6},
    ),
}
"""Models whose attention is not the plain one; for the tests of just that."""

# Texts for which no eviction is decided by a margin that rounding could turn over (the tests make sure of it).
_SEEDS = {"llama-mha": 5, "llama-gqa": 3, "mistral": 3, "mistral-sliding": 3, "qwen2": 9, "gpt2": 18, "gpt-neox": 6}


def text(name: str, n: int = N) -> list[int]:
    """The ids of the tiny model's text."""
    return torch.randint(VOCABULARY, (n,), generator=torch.Generator().manual_seed(_SEEDS.get(name, 0))).tolist()


@dataclass
class Tiny:
    """One tiny model on disk, as the engine loads it and as transformers does."""

    directory: Path

    @cached_property
    def lm(self) -> core.LanguageModel:
        return self.load()

    def load(self) -> core.LanguageModel:
        """A copy of its own, for tests that spoil it."""
        return core.load_model(str(self.directory), dtype="float32", device="cpu")

    @cache  # noqa: B019 (lives as long as the session)
    def reference(self, attention: str = "eager", dtype: torch.dtype = torch.float64) -> Any:
        # other implementations of experts know no float64
        how = {"dtype": dtype, "attn_implementation": attention, "experts_implementation": "eager"}
        return AutoModelForCausalLM.from_pretrained(self.directory, **how).eval()

    def __hash__(self) -> int:
        return hash(self.directory)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Tiny]:
    """`tiny("llama-gqa")`: the tiny model of that name in `TINY` or `TODAY`."""

    @cache
    def make(name: str) -> Tiny:
        directory = tmp_path_factory.mktemp(name)
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config((TINY | TODAY)[name])
        for kind, parameter in model.named_parameters():
            if parameter.ndim == 1:  # biases start as zeros: they could be forgotten and nobody would notice
                parameter.data += 0.1 * torch.randn_like(parameter)
            if kind.endswith("sinks"):
                parameter.data += torch.linspace(-2, 4, len(parameter))  # from hardly any attention to most of it
        model.save_pretrained(directory)
        return Tiny(directory)

    return make


@pytest.fixture(scope="session")
def smollm2() -> core.LanguageModel:
    return core.load_model("smollm2-135m-instruct", dtype="float32")
