"""The menu's entries against what is published of the models, and small models of just those shapes."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig

from core import MODELS, load_model, make_policy, replay
from core.model.registry import DEFAULT_MODEL, GROUPS


def llama(hidden: int, intermediate: int, layers: int, heads: int, kv_heads: int, vocabulary: int, **more: Any) -> Any:
    """What a config.json of this family says, most of which the others say as well."""
    return {
        **{"model_type": "llama", "hidden_size": hidden, "intermediate_size": intermediate, "vocab_size": vocabulary},
        **{"num_hidden_layers": layers, "num_attention_heads": heads, "num_key_value_heads": kv_heads},
        **more,
    }


SMOLLM2 = {"max_position_embeddings": 8192, "tie_word_embeddings": True}
LLAMA3 = {"max_position_embeddings": 131072, "vocabulary": 128256}
QWEN3 = {
    **{"model_type": "qwen3", "head_dim": 128, "vocabulary": 151936, "max_position_embeddings": 40960},
    "tie_word_embeddings": True,
}
GEMMA3 = {
    **{"model_type": "gemma3_text", "head_dim": 256, "vocabulary": 262144, "max_position_embeddings": 32768},
    "sliding_window": 512,
}
LLAMA2 = llama(4096, 11008, 32, 32, 32, 32000, max_position_embeddings=4096)
MISTRAL = llama(
    *(4096, 14336, 32, 32, 8, 32000), model_type="mistral", max_position_embeddings=32768, sliding_window=4096
)
YI = llama(4096, 11008, 32, 32, 4, 64000, max_position_embeddings=4096)

# from the config.json of each
PUBLISHED: dict[str, dict[str, Any]] = {
    "smollm2-135m-instruct": llama(576, 1536, 30, 9, 3, 49152, **SMOLLM2),
    "smollm2-360m-instruct": llama(960, 2560, 32, 15, 5, 49152, **SMOLLM2),
    "smollm2-1.7b-instruct": llama(2048, 8192, 24, 32, 32, 49152, **SMOLLM2),
    "qwen2.5-0.5b": llama(
        *(896, 4864, 24, 14, 2, 151936), model_type="qwen2", max_position_embeddings=32768, tie_word_embeddings=True
    ),
    "gpt2": {
        "model_type": "gpt2",
        "n_embd": 768,
        "n_layer": 12,
        "n_head": 12,
        "n_positions": 1024,
        "vocab_size": 50257,
    },
    "gemma-3-270m-it": llama(640, 2048, 18, 4, 1, **GEMMA3),
    "gemma-3-1b-it": llama(1152, 6912, 26, 4, 1, **GEMMA3),
    "qwen3-0.6b": llama(1024, 3072, 28, 16, 8, **QWEN3),
    "qwen3-1.7b": llama(2048, 6144, 28, 16, 8, **QWEN3),
    "qwen3-4b": llama(2560, 9728, 36, 32, 8, **QWEN3),
    "qwen3-8b": llama(4096, 12288, 36, 32, 8, **QWEN3 | {"tie_word_embeddings": False}),
    "llama-3.2-1b-instruct": llama(2048, 8192, 16, 32, 8, **LLAMA3, head_dim=64, tie_word_embeddings=True),
    "llama-3.2-3b-instruct": llama(3072, 8192, 28, 24, 8, **LLAMA3, head_dim=128, tie_word_embeddings=True),
    "llama-3.1-8b-instruct": llama(4096, 14336, 32, 32, 8, **LLAMA3),
    "olmo-2-1b-instruct": llama(2048, 8192, 16, 16, 16, 100352, model_type="olmo2", max_position_embeddings=4096),
    "smollm3-3b": llama(
        *(2048, 11008, 36, 16, 4, 128256), model_type="smollm3", max_position_embeddings=65536, tie_word_embeddings=True
    ),
    "phi-4-mini-instruct": llama(
        *(3072, 8192, 32, 24, 8, 200064),
        **{"model_type": "phi3", "max_position_embeddings": 131072, "original_max_position_embeddings": 4096},
        **{
            "tie_word_embeddings": True,
            "pad_token_id": 199999,
            "partial_rotary_factor": 0.75,
            "sliding_window": 262144,
        },
    ),
    "gpt-oss-20b": llama(
        *(2880, 2880, 24, 64, 8, 201088),
        **{"model_type": "gpt_oss", "head_dim": 64, "num_local_experts": 32, "num_experts_per_tok": 4},
        **{"max_position_embeddings": 131072, "sliding_window": 128},
    ),
    **dict.fromkeys(["llama-2-7b", "llama-2-7b-chat"], LLAMA2),
    **dict.fromkeys(["mistral-7b-v0.1", "mistral-7b-instruct-v0.1"], MISTRAL),
    **dict.fromkeys(["yi-6b", "yi-6b-chat"], YI),
}


def config_of(said: dict[str, Any]) -> PretrainedConfig:
    return AutoConfig.for_model(**said)


@pytest.mark.parametrize("name", MODELS)
def test_an_entry_says_what_is_published(name: str) -> None:
    spec, config = MODELS[name], config_of(PUBLISHED[name])
    assert spec.n_layers == config.num_hidden_layers
    assert spec.n_query_heads == config.num_attention_heads
    assert spec.n_kv_heads == getattr(config, "num_key_value_heads", spec.n_query_heads)
    assert spec.context_length == config.max_position_embeddings
    with torch.device("meta"):
        assert spec.parameters == AutoModelForCausalLM.from_config(config).num_parameters()


def test_every_model_is_in_one_group_and_the_default_is_first() -> None:
    specs = [spec for group in GROUPS.values() for spec in group]
    assert [spec.name for spec in specs] == list(MODELS) and len({spec.hub_id for spec in specs}) == len(specs)
    assert next(iter(MODELS)) == DEFAULT_MODEL
    assert {"llama-2-7b", "mistral-7b-v0.1", "yi-6b"} <= {spec.name for spec in GROUPS["the paper's"]}


TODAYS = [spec.name for spec in GROUPS["today's"]] + ["gemma-3-270m-it", "qwen3-0.6b"]


@pytest.mark.parametrize("name", TODAYS)
def test_todays_models_run_with_their_own_heads(name: str, tmp_path: Path) -> None:
    """Their class, layers, query heads and KV heads, with a head size of 4 so that random weights stay small."""
    spec, said = MODELS[name], PUBLISHED[name]
    small = {"vocab_size": 64, "hidden_size": 4 * spec.n_query_heads, "intermediate_size": 64, "head_dim": 4}
    small |= {"pad_token_id": None, "bos_token_id": 1, "eos_token_id": 2, "num_local_experts": 4}
    if said["model_type"] == "phi3":
        del small["head_dim"]
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config_of(said | small)).save_pretrained(tmp_path)
    lm = load_model(str(tmp_path), dtype="float32", device="cpu")
    trace = replay(lm, list(range(24)), make_policy("h2o", budget=8))
    assert trace.evicted_at.shape == (spec.n_layers, spec.n_kv_heads, 24)
    assert (trace.kept(23).sum(axis=2) == 8).all()
    windows = {said["sliding_window"]} if "sliding_window" in said else set()
    assert set(trace.sliding_windows) - {0} == windows
