"""A GGUF file of the embedded model's kind, with one small layer, whose tokens are bytes."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from gguf import GGUFWriter
from tokenizers import pre_tokenizers

TOKENS = ["<|endoftext|>", *sorted(pre_tokenizers.ByteLevel.alphabet()), "th"]


def write_gguf(
    file: Path,
    *,
    split: str | None = "smollm",
    more: Callable[[GGUFWriter], object] = lambda gguf: None,
    tensors: dict[str, tuple[int, ...]] | None = None,
) -> None:
    """Write it, with this rule to split a text by, and what else `more` says and these tensors by their shapes."""
    gguf = GGUFWriter(file, "llama")
    gguf.add_block_count(1)
    gguf.add_context_length(128)
    gguf.add_embedding_length(32)
    gguf.add_feed_forward_length(48)
    gguf.add_head_count(4)
    gguf.add_head_count_kv(2)
    gguf.add_layer_norm_rms_eps(1e-5)
    gguf.add_rope_freq_base(10000.0)
    gguf.add_rope_dimension_count(8)
    gguf.add_vocab_size(len(TOKENS))
    gguf.add_tokenizer_model("gpt2")
    if split is not None:
        gguf.add_tokenizer_pre(split)
    gguf.add_token_list(TOKENS)
    gguf.add_token_types([3] + [1] * (len(TOKENS) - 1))
    gguf.add_token_merges(["t h"])
    gguf.add_bos_token_id(0)
    gguf.add_eos_token_id(0)
    more(gguf)
    rng = np.random.default_rng(0)
    shapes = {"attn_q": (32, 32), "attn_k": (16, 32), "attn_v": (16, 32), "attn_output": (32, 32)}
    shapes |= {"ffn_gate": (48, 32), "ffn_up": (48, 32), "ffn_down": (32, 48), "attn_norm": (32,), "ffn_norm": (32,)}
    shapes = {"token_embd": (len(TOKENS), 32), "output_norm": (32,)} | {f"blk.0.{n}": s for n, s in shapes.items()}
    for name, shape in (shapes | (tensors or {})).items():
        gguf.add_tensor(f"{name}.weight", rng.normal(size=shape).astype(np.float32))
    gguf.write_header_to_file()
    gguf.write_kv_data_to_file()
    gguf.write_tensors_to_file()
    gguf.close()
