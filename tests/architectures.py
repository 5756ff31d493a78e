"""Every causal language model that transformers has, tiny: what runs here, and what is refused and why.

Of those that write about images and have no class of their own to write text, only some that run.
"""

from typing import Any

from transformers import AutoConfig, PretrainedConfig

VOCABULARY, WINDOW = 97, 8

_LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "decoder_layers", "encoder_layers")
_WIDTHS = ("hidden_size", "n_embd", "d_model", "emb_dim", "dim", "embedding_size")
_HEADS = ("num_attention_heads", "n_head", "n_heads", "num_heads", "decoder_attention_heads", "encoder_attention_heads")
_WIDER = ("intermediate_size", "n_inner", "ffn_dim", "dff", "d_ff", "ffn_hidden_size")
_EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
_CHOSEN = ("num_experts_per_tok", "moe_topk", "moe_k", "top_k_experts", "zero_expert_num")
_LENGTHS = ("max_position_embeddings", "n_positions", "n_ctx", "max_target_positions", "max_source_positions")

# What a configuration calls its sizes, and how small they are here.
TINY: dict[str, Any] = {
    **dict.fromkeys(("vocab_size", "vocab_size_per_layer_input", "encoder_hash_byte_group_vocab"), VOCABULARY),
    **dict.fromkeys(_LAYERS, 2),
    **dict.fromkeys(_WIDTHS, 32),
    **dict.fromkeys(_HEADS, 4),
    **dict.fromkeys((*_WIDER, "decoder_ffn_dim", "encoder_ffn_dim"), 48),
    **dict.fromkeys(("num_key_value_heads", "n_kv_heads", "num_kv_heads"), 2),
    **dict.fromkeys(("head_dim", "attention_head_size", "attention_head_dim", "global_head_dim"), 8),
    **dict.fromkeys(("qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim", "hidden_size_per_layer_input"), 8),
    **dict.fromkeys(("q_lora_rank", "kv_lora_rank", "moe_intermediate_size", "expert_ffn_hidden_size"), 16),
    **dict.fromkeys(("shared_expert_intermediate_size", "image_size"), 16),
    **dict.fromkeys(_EXPERTS, 4),
    **dict.fromkeys(_CHOSEN, 2),
    **dict.fromkeys(("n_shared_experts", "n_group", "topk_group", "first_k_dense_replace"), 1),
    **dict.fromkeys(_LENGTHS, 128),
    **dict.fromkeys(("sliding_window", "local_attention", "attention_window", "attention_chunk_size"), WINDOW),
    **{"patch_size": 8, "rotary_dim": 4, "num_kv_shared_layers": 0},
    **{"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1},
}
_UNSET = {"head_dim", "num_key_value_heads", "n_inner", "sliding_window"}  # what counts though it is None at first

_SAME_HEADS = {"num_key_value_heads": 4}
_MAMBA = {"mamba_n_heads": 8, "mamba_d_head": 8}
_CONVOLUTION = {"layer_types": ["conv", "full_attention"]}

# What a class wants besides, or what makes it the kind of model that it was published as.
OWN: dict[str, dict[str, Any]] = {
    **dict.fromkeys(("axk1", "axk2", "deepseek_v3", "glm4_moe_lite", "minicpm3", "youtu"), _SAME_HEADS),
    **dict.fromkeys(("dots3_note", "dots3_note_text", "longcat_flash", "jetmoe"), _SAME_HEADS),
    **dict.fromkeys(("bamba", "granitemoehybrid"), _MAMBA),
    **dict.fromkeys(("lfm2", "lfm2_moe"), _CONVOLUTION),
    "dbrx": {
        "attn_config": {"kv_n_heads": 2, "rope_theta": 1e4, "clip_qkv": 8},
        "ffn_config": {"ffn_hidden_size": 48, "moe_num_experts": 4, "moe_top_k": 2},
    },
    "deepseek_v2": {**_SAME_HEADS, "num_experts_per_tok": 2},
    "dots1": {"n_routed_experts": 4, "n_shared_experts": 1, "num_experts_per_tok": 2},
    "gemma3n_text": {
        **{"num_hidden_layers": 4, "num_kv_shared_layers": 2, "activation_sparsity_pattern": [0.0] * 4},
        "layer_types": ["sliding_attention", "full_attention"] * 2,
    },
    **{name: {"attn_logit_softcapping": 1.0} for name in ("gemma2", "vaultgemma")},  # small logits would not show 50
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "mamba2": {"num_heads": 8},
    "phimoe": {"sliding_window": 64},
    "reformer": {"is_decoder": True, "axial_pos_embds_dim": [16, 16], "axial_pos_shape": [8, 16]},
    "zamba": {"num_hidden_layers": 4, "layer_types": ["mamba", "mamba", "hybrid", "hybrid"]},
    "zamba2": {"layer_types": ["mamba", "hybrid"]},
    "zaya": {"num_experts_per_tok": 1},
}


def tiny_config(model_type: str) -> PretrainedConfig:
    """The configuration of that type with all sizes that it knows made small."""
    kind = type(AutoConfig.for_model(model_type))
    return kind(**_sizes(kind, OWN.get(model_type, {})))


def _sizes(kind: type[PretrainedConfig], own: dict[str, Any]) -> dict[str, Any]:
    usual = kind()
    said = usual.to_dict()
    sizes = {
        name: size
        for name, size in (TINY | own).items()
        if name in said
        and not isinstance(said[name], list | dict)
        and (said[name] is not None or name in _UNSET or name.endswith("_token_id"))
    }
    for name in kind.sub_configs:
        if isinstance(part := getattr(usual, name, None), PretrainedConfig):
            sizes[name] = _sizes(type(part), own)
    return sizes | own


# fmt: off
RUNS = [
    "afmoe", "apertus", "arcee", "aria_text", "axk1", "beam", "biogpt", "bitnet", "cohere", "cohere2",
    "cohere2_moe", "ctrl", "cwm", "dbrx", "deepseek_v2", "deepseek_v3", "dots1", "ernie4_5", "ernie4_5_moe",
    "exaone4", "exaone_moe", "flex_olmo", "flint", "fuyu", "gemma", "gemma2", "gemma3", "gemma3_text",
    "gemma3n_text", "gemma4", "gemma4_text", "gemma4_unified", "gemma4_unified_text", "glm", "glm4", "glm4_moe",
    "glm4_moe_lite", "got_ocr2", "gpt-sw3", "gpt2", "gpt_neox", "gpt_oss", "granite", "granite_swa", "granitemoe",
    "granitemoe_swa", "granitemoeshared", "helium", "hunyuan_v1_dense", "hunyuan_v1_moe", "hy_v3", "hyperclovax",
    "internlm3", "iquestcoder", "jais2", "kolibri1", "laguna", "llama", "longcat_flash", "mellum", "minicpm3",
    "minimax_m2", "minimax_m3_vl_text", "ministral", "ministral3", "mistral", "mixtral", "modernbert-decoder",
    "moss_transcribe_diarize", "nanochat", "olmo", "olmo2", "olmo3", "olmoe", "opt", "persimmon", "phi", "phi3",
    "phi4_multimodal", "qwen2", "qwen2_moe", "qwen3", "qwen3_moe", "seed_oss", "smollm3", "solar_open",
    "starcoder2", "vaultgemma", "whisper", "youtu",
]
# fmt: on

# fmt: off
SEES = [  # types without a class of causal language models, whose class for text about images runs on text alone
    "aria", "aya_vision", "cohere2_vision", "cosmos3_omni", "deepseek_vl", "deepseek_vl_hybrid",
    "hyperclovax_vision_v2", "idefics2", "idefics3", "internvl", "lighton_ocr", "llava", "llava_next",
    "llava_next_video", "llava_onevision", "mistral3", "ovis2", "paligemma", "pp_chart2table",
    "qianfan_ocr", "qwen3_vl", "smolvlm", "step3p7", "video_llama_3", "video_llava", "vipllava",
]
# fmt: on

# What the refusal says -> the types that are refused so.
REFUSED = {
    # recurrent, convolutional, chunked or indexed layers
    "which hold no multi-state": """
        axk2 bailing_hybrid bamba deepseek_v32 deepseek_v4 dots3_note_text falcon_h1 glm_moe_dsa granitemoehybrid hy_v4
        inkling2_text inkling_text jamba kimi_linear lfm2 lfm2_moe lfm3 llama4 llama4_text minimax nemotron_h
        olmo_hybrid qwen3_5 qwen3_5_moe qwen3_5_moe_text qwen3_5_text qwen3_next qwen4_exp qwen4_exp_text
        recurrent_gemma zamba zamba2 zaya
    """,
    "names no attention heads": "blt falcon_mamba mamba mamba2 rwkv xlstm",
    # their text part is saved as a type that has no class to load it with
    "has no decoder-only language model": "emu3 mllama",
    "called our attention in 0 of": """
        big_bird bloom codegen cpmant falcon git gpt_neo gpt_neox_japanese gptj megatron-bert mpt mvp nemotron
        openai-gpt prophetnet reformer rembert roformer stablelm trocr xglm xlm xlnet
    """,
    "called our attention in 4 of 2": "diffllama",
    "KV heads where its configuration says": "gpt_bigcode jetmoe mimo_v2_flash",
    "does not tell its attention": "moshi phimoe",
    # encoders, which see what comes later, and decoders that count positions by themselves
    "does not give the same output": """
        bart bert bert-generation bigbird_pegasus blenderbot blenderbot-small camembert data2vec-text doge electra ernie
        hrm_text marian mbart pegasus plbart roberta roberta-prelayernorm roc_bert xlm-roberta xlm-roberta-xl
    """,
    "cannot read a text under our attention": "xmod",
}
REASONS = {model_type: reason for reason, types in REFUSED.items() for model_type in types.split()}

NOT_BUILT = {
    "cohere_compass_text": "its default configuration names no layer types",
    "dots3_note": "its default configuration has 42 layers, some told apart by number",
    "gemma3n": "needs a package of vision models",
    "gemma4_assistant": "its parts want different sizes",
    "gemma4_unified_assistant": "its parts want different sizes",
    "musicgen": "its class takes only a part of its configuration",
    "musicgen_melody": "its class takes only a part of its configuration",
}
