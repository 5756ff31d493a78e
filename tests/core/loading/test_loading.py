"""What loads is what its files say; whatever else a directory holds is refused by name."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForCTC,
    AutoModelForImageClassification,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    BartConfig,
    BertConfig,
    Gemma3Config,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    PhimoeConfig,
    PreTrainedConfig,
    T5Config,
    ViTConfig,
    Wav2Vec2Config,
)

from core import load_model, make_policy, replay
from core.errors import (
    BadInput,
    DamagedModel,
    NumericalError,
    OutOfMemory,
    UnknownModel,
    UnsupportedModel,
    UserError,
)
from core.loading.load import _explained

SMALL = {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "pad_token_id": 0}
LLAMA = LlamaConfig(**SMALL, intermediate_size=48, num_key_value_heads=2)
TIED = LlamaConfig(**SMALL, intermediate_size=48, tie_word_embeddings=True)
GPT2 = GPT2Config(vocab_size=64, n_embd=32, n_layer=2, n_head=4, pad_token_id=0)
NEOX = GPTNeoXConfig(**SMALL, intermediate_size=48)
Tensors = dict[str, torch.Tensor]


def saved(directory: Path, config: PreTrainedConfig = LLAMA, kind: Any = AutoModelForCausalLM, **options: Any) -> Path:
    torch.manual_seed(0)
    kind.from_config(config).save_pretrained(directory, **options)
    return directory


def edited(directory: Path, edit: Callable[[Tensors], Tensors | None], config: PreTrainedConfig = LLAMA) -> Path:
    """A saved model whose tensors were changed, or replaced by what `edit` gives."""
    file = saved(directory, config) / "model.safetensors"
    tensors = load_file(file)
    save_file(edit(tensors) or tensors, file, {"format": "pt"})
    return directory


def load(directory: Path, dtype: str = "float32") -> Any:
    return load_model(str(directory), dtype=dtype, device="cpu")


def refusal(directory: Path | str, kind: type[UserError], dtype: str = "float32") -> str:
    """What it says."""
    with pytest.raises(kind) as error:
        load_model(str(directory), dtype=dtype, device="cpu")
    return str(error.value)


def grown(tensors: Tensors) -> None:
    """Queries and keys so great that their products are beyond float16."""
    for name, tensor in tensors.items():
        if "q_proj" in name or "k_proj" in name:
            tensor *= 30_000


# weights


def test_a_missing_tensor_is_named(tmp_path: Path) -> None:
    name = "model.layers.1.mlp.down_proj.weight"
    said = refusal(edited(tmp_path, lambda tensors: {k: v for k, v in tensors.items() if k != name}), DamagedModel)
    assert f"lack 1 tensor ({name})" in said and "Download" in said


def test_an_unexpected_tensor_is_named(tmp_path: Path) -> None:
    bias = {"model.layers.0.self_attn.q_proj.bias": torch.ones(32)}
    assert "1 tensor (model.layers.0.self_attn.q_proj.bias)" in refusal(
        edited(tmp_path, lambda tensors: tensors | bias), DamagedModel
    )


def test_of_many_tensors_three_are_named_and_all_counted(tmp_path: Path) -> None:
    layers = edited(tmp_path, lambda tensors: {k: v for k, v in tensors.items() if "layers.1" not in k})
    assert re.search(r"9 tensors \((model\.layers\.1\.[\w.]+, ){3}…\)", refusal(layers, DamagedModel))


def test_a_tensor_of_another_shape_is_named(tmp_path: Path) -> None:
    said = refusal(edited(tmp_path, lambda tensors: tensors | {"model.norm.weight": torch.ones(3)}), DamagedModel)
    assert "model.norm.weight has the shape (3,) where config.json says (32,)" in said


MASKS = {"h.0.attn.bias": torch.ones(1, 1, 8, 8), "h.0.attn.masked_bias": torch.tensor(-1e4)}
NEOX_MASKS = {
    "gpt_neox.layers.0.attention.bias": torch.ones(1, 1, 8, 8),
    "gpt_neox.layers.0.attention.masked_bias": torch.tensor(-1e9),
    "gpt_neox.layers.0.attention.rotary_emb.inv_freq": torch.ones(4),
}
HEALTHY: dict[str, tuple[PreTrainedConfig, Callable[[Tensors], Tensors]]] = {
    "gpt2 without its prefix": (
        GPT2,
        lambda tensors: {name.removeprefix("transformer."): tensor for name, tensor in tensors.items()} | MASKS,
    ),
    "gpt-neox with its masks": (NEOX, lambda tensors: tensors | NEOX_MASKS),
    "llama with its frequencies": (
        LLAMA,
        lambda tensors: tensors | {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)},
    ),
    "tied, saved as a base model": (
        TIED,
        lambda tensors: {name.removeprefix("model."): tensor for name, tensor in tensors.items()},
    ),
    "tied, saved with its head": (
        TIED,
        lambda tensors: tensors | {"lm_head.weight": tensors["model.embed_tokens.weight"].clone()},
    ),
}


@pytest.mark.parametrize("name", HEALTHY)
def test_old_checkpoints_that_are_whole_load(name: str, tmp_path: Path) -> None:
    config, edit = HEALTHY[name]
    old = load(edited(tmp_path / "old", edit, config))
    new = load(saved(tmp_path / "new", config))
    ids = torch.arange(3, 15)[None]
    torch.testing.assert_close(old.model(ids).logits, new.model(ids).logits)


@pytest.mark.parametrize("config", [LLAMA, TIED, GPT2], ids=["llama", "tied", "gpt2"])
def test_a_classifier_is_refused_by_its_class(config: PreTrainedConfig, tmp_path: Path) -> None:
    said = refusal(saved(tmp_path, config, AutoModelForSequenceClassification), DamagedModel)
    assert "ForSequenceClassification" in said and ("score.weight" in said or "lm_head.weight" in said)


def test_a_base_model_without_the_head_is_refused(tmp_path: Path) -> None:
    said = refusal(saved(tmp_path, LLAMA, AutoModel), DamagedModel)
    assert "lm_head.weight" in said and "saved as LlamaModel" in said


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_number_that_is_none_is_named_where_no_short_text_meets_it(number: float, tmp_path: Path) -> None:
    def spoil(tensors: Tensors) -> None:
        tensors["model.embed_tokens.weight"][1, 5] = number

    for dtype in ("float32", "bfloat16"):
        said = refusal(edited(tmp_path, spoil), DamagedModel, dtype)
        assert "model.embed_tokens.weight" in said and "damaged" in said


def test_an_output_that_is_none_says_that_the_weights_are_damaged(tmp_path: Path) -> None:
    def spoil(tensors: Tensors) -> None:
        tensors["model.layers.0.mlp.up_proj.weight"][:] = 1e38

    assert "so its weights are damaged" in refusal(edited(tmp_path, spoil), DamagedModel)


def test_what_overflows_in_float16_says_so_and_auto_takes_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edited(tmp_path, grown)
    assert "overflow in float16. Load it in bfloat16 or float32" in refusal(tmp_path, NumericalError, "float16")
    monkeypatch.setattr("core.loading.load.fast_dtype", lambda device: torch.float16)
    lm = load(tmp_path, "auto")
    assert lm.model.dtype == torch.bfloat16
    assert np.isfinite(replay(lm, list(range(3, 15)), make_policy("tova", budget=4)).nll[1:]).all()


def test_a_weight_that_is_too_great_for_float16_is_not_damaged(tmp_path: Path) -> None:
    def grow(tensors: Tensors) -> None:
        tensors["model.norm.weight"][5] = 1e5

    assert "overflow in float16" in refusal(edited(tmp_path, grow), NumericalError, "float16")
    assert load(tmp_path)


# files


def cut(directory: Path) -> None:
    file = directory / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def index(text: str) -> Callable[[Path], None]:
    def write(directory: Path) -> None:
        (directory / "model.safetensors").unlink()
        (directory / "model.safetensors.index.json").write_text(text)

    return write


def written(name: str, text: str) -> Callable[[Path], Any]:
    return lambda directory: (directory / name).write_text(text)


BROKEN: dict[str, tuple[Callable[[Path], Any], type[UserError], str]] = {
    "truncated": (cut, DamagedModel, "model.safetensors is not a whole"),
    "empty": (written("model.safetensors", ""), DamagedModel, "model.safetensors is not a whole"),
    "no weights": (lambda d: (d / "model.safetensors").unlink(), UnsupportedModel, "no model.safetensors"),
    "an index of nothing": (index("[]"), DamagedModel, "model.safetensors.index.json"),
    "an index without files": (index('{"weight_map": {}}'), UnsupportedModel, "'metadata' is not known"),
    "no configuration": (lambda d: (d / "config.json").unlink(), UnknownModel, "no config.json"),
    "no JSON": (written("config.json", "{"), UnsupportedModel, "config.json"),
    "JSON of another kind": (written("config.json", "[]"), UnsupportedModel, "config.json"),
    "no model_type": (written("config.json", "{}"), UnsupportedModel, "model_type"),
    "an empty tokenizer": (written("tokenizer.json", ""), DamagedModel, "tokenizer.json"),
    "half a tokenizer": (written("tokenizer.json", '{"model": {"type": "BPE"'), DamagedModel, "tokenizer.json"),
    "a tokenizer of nothing": (written("tokenizer.json", "{}"), DamagedModel, "'added_tokens' is not known"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_refused_by_name(name: str, tmp_path: Path) -> None:
    break_, kind, words = BROKEN[name]
    break_(saved(tmp_path))
    assert words in refusal(tmp_path, kind)


def test_shards_are_all_there_and_the_right_ones(tmp_path: Path) -> None:
    saved(tmp_path, max_shard_size="10KB")
    assert load(tmp_path)
    first, second, *_ = sorted(tmp_path.glob("model-*.safetensors"))
    shutil.copy(first, second)
    assert "lack" in refusal(tmp_path, DamagedModel)
    second.unlink()
    assert f"{second.name} is missing" in refusal(tmp_path, DamagedModel)


ABSURD: dict[str, tuple[dict[str, Any], type[UserError], str]] = {
    "hidden size and heads": ({"hidden_size": 33}, UnsupportedModel, "multiple"),
    "no vocabulary": ({"vocab_size": 0}, UnsupportedModel, "vocab_size is 0"),
    "negative vocabulary": ({"vocab_size": -1}, UnsupportedModel, "vocab_size is -1"),
    "another vocabulary": ({"vocab_size": 70}, DamagedModel, "(70, 32)"),
    "endless vocabulary": ({"vocab_size": 10**13}, UnsupportedModel, "vocab_size"),
    "negative layers": ({"num_hidden_layers": -3}, UnsupportedModel, "num_hidden_layers is -3"),
    "no layers": ({"num_hidden_layers": 0}, UnsupportedModel, "num_hidden_layers is 0"),
    "endless layers": ({"num_hidden_layers": 10**9}, UnsupportedModel, "from 1 to 1000"),
    "fewer layers than weights": ({"num_hidden_layers": 1}, DamagedModel, "model.layers.1."),
    "more layers than weights": ({"num_hidden_layers": 3}, DamagedModel, "model.layers.2."),
    "a word for a number": ({"num_hidden_layers": "two"}, UnsupportedModel, "num_hidden_layers"),
    "no heads": ({"num_attention_heads": 0}, UnsupportedModel, "zero"),
    "no KV heads": ({"num_key_value_heads": 0}, UnsupportedModel, "num_key_value_heads is 0"),
    "other KV heads": ({"num_key_value_heads": 4}, DamagedModel, "k_proj"),
    "an unknown type": ({"model_type": "nope"}, UnsupportedModel, "nope"),
    "a number for a type": ({"model_type": 5}, UnsupportedModel, "5"),
    "an unknown activation": ({"hidden_act": "nope"}, UnsupportedModel, "'nope' is not known"),
    "a quantizer that is not there": ({"quantization_config": {"quant_method": "gptq"}}, UnsupportedModel, "GPTQ"),
    "a text part of nothing": ({"text_config": 5}, UnsupportedModel, "attention heads"),
}


@pytest.mark.parametrize("name", ABSURD)
def test_an_absurd_configuration_is_refused_by_what_is_absurd(name: str, tmp_path: Path) -> None:
    change, kind, words = ABSURD[name]
    file = saved(tmp_path) / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    assert words in refusal(tmp_path, kind)


@pytest.mark.parametrize("architectures", [5, [5], ["Nobody"], None])
def test_what_the_class_was_called_does_not_matter(architectures: Any, tmp_path: Path) -> None:
    file = saved(tmp_path) / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"architectures": architectures}))
    assert load(tmp_path)


def with_tokenizer(directory: Path, words: int, added: int = 0) -> Path:
    tokenizer = Tokenizer(models.WordLevel({f"w{i}": i for i in range(words)}, unk_token="w0"))
    tokenizer.add_tokens([f"<{i}>" for i in range(added)])
    tokenizer.save(str(saved(directory) / "tokenizer.json"))
    return directory


def test_a_tokenizer_of_another_model_is_refused(tmp_path: Path) -> None:
    assert "ids up to 64" in refusal(with_tokenizer(tmp_path, 65), DamagedModel)


def test_tokens_that_were_added_may_be_without_embeddings(tmp_path: Path) -> None:
    """As the padding token of many a model that was trained on is."""
    lm = load(with_tokenizer(tmp_path, 64, added=2))
    assert lm.encode("w3").ids.tolist() == [3]
    with pytest.raises(BadInput, match="from 0 to 63"):
        replay(lm, lm.encode("<1>"), make_policy("full"))


def test_a_file_is_no_directory(tmp_path: Path) -> None:
    file = saved(tmp_path) / "model.safetensors"
    assert f"{file} is a file. Give the directory" in refusal(file, UnknownModel)
    assert "no config.json" in refusal(tmp_path.parent, UnknownModel)


@pytest.mark.parametrize("model", ["", " ", None, 5, b"gpt2", []])
def test_what_is_no_name_is_refused(model: Any) -> None:
    with pytest.raises(BadInput, match="directory or a hub id"):
        load_model(model)


@pytest.mark.parametrize("model", ["a\0b", "a/\0b", "~", "./nope", "a/" + "x" * 5000])
def test_odd_names_are_refused(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError):
        load_model(model)


def test_what_a_processor_cannot_hold_is_told_as_that() -> None:
    """Where torch raises no error of its own kind."""
    with pytest.raises(RuntimeError) as error:
        torch.empty(2**50)
    assert isinstance(_explained("models/mine", error.value), OutOfMemory)


def test_a_file_that_may_not_be_read_is_named() -> None:
    said = str(_explained("models/mine", PermissionError(13, "Permission denied", "models/mine/config.json")))
    assert "models/mine/config.json" in said and "Let the app read" in said


# architectures: `test_architectures` has all that write text

OTHERS: dict[str, tuple[PreTrainedConfig, Any]] = {
    "t5": (T5Config(vocab_size=64, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4), AutoModelForSeq2SeqLM),
    "bart": (
        BartConfig(
            **{"vocab_size": 64, "d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_ffn_dim": 48},
            **{"decoder_ffn_dim": 48, "encoder_attention_heads": 4, "decoder_attention_heads": 4},
        ),
        AutoModelForSeq2SeqLM,
    ),
    "bert": (BertConfig(**SMALL, intermediate_size=48, initializer_range=0.3), AutoModelForMaskedLM),
    "vit": (
        ViTConfig(**SMALL, intermediate_size=48, image_size=16, patch_size=8),
        AutoModelForImageClassification,
    ),
    "wav2vec2": (Wav2Vec2Config(**SMALL, intermediate_size=48), AutoModelForCTC),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_does_not_write_text_is_refused_by_its_type(name: str, tmp_path: Path) -> None:
    config, kind = OTHERS[name]
    assert name in refusal(saved(tmp_path / "model", config, kind), UnsupportedModel)


def test_of_a_model_that_sees_the_text_part_is_used(tmp_path: Path) -> None:
    text = SMALL | {"intermediate_size": 48, "num_key_value_heads": 2, "head_dim": 8, "initializer_range": 0.3}
    sight = {key: text[key] for key in ("hidden_size", "num_hidden_layers", "num_attention_heads")}
    config = Gemma3Config(
        text_config=text | {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 8},
        vision_config=sight | {"intermediate_size": 48, "image_size": 16, "patch_size": 8},
        mm_tokens_per_image=4,
    )
    lm = load(saved(tmp_path, config))
    assert type(lm.model).__name__ == "Gemma3ForConditionalGeneration"
    assert (lm.n_layers, lm.n_query_heads, lm.n_kv_heads, lm.vocabulary_size) == (2, 4, 2, 64)
    trace = replay(lm, list(range(3, 25)), make_policy("full"), chunk=5)
    with torch.inference_mode():
        logits = lm.model(torch.arange(3, 25)[None], use_cache=False).logits[0]
    expected = torch.nn.functional.cross_entropy(logits[:-1], torch.arange(4, 25), reduction="none")
    np.testing.assert_allclose(trace.nll[1:], expected, atol=1e-4)


def test_a_window_that_no_attention_is_told_is_refused(tmp_path: Path) -> None:
    more = {"intermediate_size": 48, "num_key_value_heads": 2, "num_local_experts": 2, "sliding_window": 64}
    said = refusal(saved(tmp_path, PhimoeConfig(**SMALL, **more, max_position_embeddings=128)), UnsupportedModel)
    assert "sliding window of 64 tokens" in said


@pytest.mark.parametrize("said", [[1, "a"], [[1]], 1.5, "x", True])
def test_an_end_of_text_that_is_no_token_is_refused(said, tmp_path):
    config = LlamaConfig(
        vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, eos_token_id=2
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": said}))
    with pytest.raises(UserError):
        load_model(str(tmp_path), dtype="float32", device="cpu")


def test_an_adapter_beside_the_weights_is_refused(tmp_path):
    config = LlamaConfig(
        vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=4
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(UnsupportedModel, match="adapter"):
        load_model(str(tmp_path), dtype="float32", device="cpu")
