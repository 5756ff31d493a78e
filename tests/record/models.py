"""Tiny models with random weights, and a text for them."""

from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
)

LAYERS, HEADS, N, NEW = 3, 2, 24, 9
WINDOW = 7
VOCABULARY = 97

_SIZES: dict[str, Any] = {
    **{"vocab_size": VOCABULARY, "initializer_range": 0.3, "bos_token_id": None, "eos_token_id": None},
    **{"hidden_size": 32, "intermediate_size": 48, "head_dim": 8, "max_position_embeddings": 128},
    **{"num_hidden_layers": LAYERS, "num_attention_heads": 4, "num_key_value_heads": HEADS},
}
MODELS = {
    "llama": (LlamaForCausalLM, LlamaConfig(**_SIZES)),
    "qwen3": (Qwen3ForCausalLM, Qwen3Config(**_SIZES)),
    "mistral": (MistralForCausalLM, MistralConfig(**_SIZES, sliding_window=WINDOW)),
}
IDS = torch.randperm(VOCABULARY, generator=torch.Generator().manual_seed(1))[None, :N]  # two alike would tie


def model_of(name: str) -> Any:
    """The tiny model of that name."""
    kind, config = MODELS[name]
    torch.manual_seed(0)
    model = kind(config).eval()
    for parameter in model.parameters():
        if parameter.ndim == 1:  # else the norm of keys gives them all the same length
            parameter.data += 0.3 * torch.randn_like(parameter)
    return model


def tokenizer_of() -> PreTrainedTokenizerFast:
    """Its words are w0, w1, ... by their ids."""
    words = Tokenizer(models.WordLevel({f"w{i}": i for i in range(VOCABULARY)}, unk_token="w0"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=words)
