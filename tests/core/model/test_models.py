"""Loading, refusing and encoding: real classes with small random weights, and the real embedded SmolLM2."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import numpy as np
import pytest
import torch
from huggingface_hub.errors import GatedRepoError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    BloomConfig,
    FalconConfig,
    GPTNeoConfig,
    LlamaConfig,
    MistralConfig,
    MptConfig,
    StableLmConfig,
)

from core import MODELS, load_model, make_policy, replay
from core.errors import BadInput, GatedModel, HubUnreachable, UnknownModel, UnsupportedModel
from core.loading.load import _explained
from core.model.registry import DEFAULT_MODEL
from tests.gguf_files import write_gguf

SMALL = {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}


def saved(config, directory: Path) -> str:
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(directory)
    return str(directory)


TRAPS = {
    "bloom": BloomConfig(vocab_size=64, hidden_size=32, n_layer=2, n_head=4),
    "falcon": FalconConfig(**SMALL),
    "gpt-neo": GPTNeoConfig(
        vocab_size=64, hidden_size=32, num_layers=2, num_heads=4, attention_types=[[["global", "local"], 1]]
    ),
    "mpt": MptConfig(vocab_size=64, d_model=32, n_layers=2, n_heads=4),
    "stablelm": StableLmConfig(**SMALL, intermediate_size=48, num_key_value_heads=2),
}


@pytest.mark.parametrize("name", TRAPS)
def test_what_would_show_a_fiction_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModel) as refusal:
        load_model(saved(TRAPS[name], tmp_path), dtype="float32", device="cpu")
    assert "another architecture" in str(refusal.value)


PAPER = {
    "llama-2-7b": (LlamaConfig, {}),
    "llama-2-7b-chat": (LlamaConfig, {}),
    "mistral-7b-v0.1": (MistralConfig, {"sliding_window": 4096}),
    "mistral-7b-instruct-v0.1": (MistralConfig, {"sliding_window": 4096}),
    "yi-6b": (LlamaConfig, {}),
    "yi-6b-chat": (LlamaConfig, {}),
}


@pytest.mark.parametrize("name", PAPER)
def test_the_papers_models_run_with_their_own_heads(name: str, tmp_path: Path) -> None:
    """Their class, layers, query heads and KV heads, with a head size of 4 so that random weights stay small."""
    kind, more = PAPER[name]
    spec = MODELS[name]
    config = kind(
        vocab_size=64,
        hidden_size=4 * spec.n_query_heads,
        intermediate_size=64,
        num_hidden_layers=spec.n_layers,
        num_attention_heads=spec.n_query_heads,
        num_key_value_heads=spec.n_kv_heads,
        max_position_embeddings=spec.context_length,
        **more,
    )
    lm = load_model(saved(config, tmp_path), dtype="float32", device="cpu")
    by_layer = replay(lm, list(range(24)), make_policy("tova", budget=8))
    by_head = replay(lm, list(range(24)), make_policy("h2o", budget=8))
    assert by_layer.evicted_at.shape == (spec.n_layers, 1, 24)
    assert by_head.evicted_at.shape == (spec.n_layers, spec.n_kv_heads, 24)
    assert (by_head.kept(23).sum(axis=2) == 8).all()


def test_the_registry_describes_the_embedded_model_truly(smollm2) -> None:
    spec = smollm2.spec
    assert (smollm2.n_layers, smollm2.n_query_heads, smollm2.n_kv_heads, smollm2.context_length) == (
        spec.n_layers,
        spec.n_query_heads,
        spec.n_kv_heads,
        spec.context_length,
    )


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
def test_every_dtype_passes_the_capability_check(dtype: str, tmp_path: Path) -> None:
    lm = load_model(saved(LlamaConfig(**SMALL, intermediate_size=48), tmp_path), dtype=dtype, device="cpu")
    assert lm.model.dtype == getattr(torch, dtype)
    assert replay(lm, range(20), make_policy("tova", budget=4), chunk=7).kept(19).sum() == 2 * 4


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_the_embedded_model_runs_in_half_precision(dtype: str) -> None:
    lm = load_model("smollm2-135m-instruct", dtype=dtype, device="cpu")
    tokens = lm.encode("The cat sat on the mat, and the dog sat on the floor. The cat slept, and the dog slept, too.")
    for positions in ("original", "in-cache"):
        trace = replay(lm, tokens, make_policy("tova", budget=8), positions=positions)
        assert trace.kept(len(tokens) - 1).sum() == 8 * lm.n_layers
        assert np.nanmean(trace.nll) < 4


def test_a_loaded_model_still_attends_as_transformers_does(tiny) -> None:
    lm = tiny("llama-gqa").lm
    ids = torch.arange(20)[None]
    ours = lm.model(ids).logits
    theirs = tiny("llama-gqa").reference(dtype=torch.float32)(ids).logits
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_unknown_names(tmp_path: Path) -> None:
    with pytest.raises(UnknownModel, match="smollm2-135m-instruct"):
        load_model("no-such-model")
    with pytest.raises(UnknownModel):
        load_model(str(tmp_path / "missing"))


def test_bad_settings() -> None:
    with pytest.raises(BadInput, match="dtype"):
        load_model(dtype="int4")
    with pytest.raises(BadInput, match="device"):
        load_model(device="abacus")


def test_an_unreachable_hub_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(HubUnreachable, match="not on this machine"):
        load_model("gpt2")


def test_a_gated_model_asks_for_a_token() -> None:
    request = httpx.Request("GET", "http://localhost/")
    wrapped = OSError("You are trying to access a gated repo.")
    wrapped.__cause__ = GatedRepoError("gated", response=httpx.Response(403, request=request))
    explained = _explained("llama-2-7b", wrapped)
    assert isinstance(explained, GatedModel) and "HF_TOKEN" in str(explained)


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    directory = saved(LlamaConfig(**SMALL, intermediate_size=48), tmp_path)
    torch.save(AutoModelForCausalLM.from_pretrained(directory).state_dict(), tmp_path / "pytorch_model.bin")
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(UnsupportedModel, match="safetensors"):
        load_model(directory)


def test_code_that_comes_with_a_model_is_never_run(tmp_path: Path) -> None:
    saved(LlamaConfig(**SMALL, intermediate_size=48), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {"model_type": "intruder", "auto_map": {"AutoConfig": "evil.C", "AutoModelForCausalLM": "evil.M"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(UnsupportedModel):
        load_model(str(tmp_path))
    assert not (tmp_path / "ran").exists()


def test_layers_without_keys_and_values_are_refused_by_name(tmp_path: Path) -> None:
    AutoConfig.for_model("qwen3_next").save_pretrained(tmp_path)
    with pytest.raises(UnsupportedModel, match="linear_attention"):
        load_model(str(tmp_path))


def test_a_killed_conversion_leaves_nothing_that_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package, home = tmp_path / MODELS[DEFAULT_MODEL].package, tmp_path / "home"
    package.mkdir()
    (package / "__init__.py").touch()
    write_gguf(package / "small.gguf")
    killed = """
import os, signal
from pathlib import Path
from core import load_model
Path.rename = lambda *_: os.kill(os.getpid(), signal.SIGKILL)  # when all is done but the last step
load_model(dtype="float32", device="cpu")
"""
    environment = os.environ | {"HF_HOME": str(home), "PYTHONPATH": str(tmp_path)}
    assert subprocess.run([sys.executable, "-c", killed], env=environment).returncode == -signal.SIGKILL
    cache = home / "multi-state"
    assert list(cache.glob("*.part-*/*.safetensors"))
    earlier = cache / f"{DEFAULT_MODEL}-small"  # as an earlier version called what it had converted
    earlier.mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HOME", str(home))
    assert load_model(dtype="float32", device="cpu").n_layers == 1
    (converted,) = (path for path in cache.iterdir() if path.is_dir())
    assert (converted / "model.safetensors").is_file() and converted != earlier


TEXTS = [
    "Once upon a time, there was a fox.",
    "  leading and trailing spaces  \n\n and\tlines ",
    "The tea 🍵 of 山里 — and a family 👨‍👩‍👧 of emoji, ñandú, Ελλάδα.",
    "</script><img src=x onerror=alert(1)> &amp; <b>",
    "A literal � is the user's own.",
]


@pytest.mark.parametrize("text", TEXTS)
def test_pieces_are_the_exact_text(smollm2, text: str) -> None:
    tokens = smollm2.encode(text)
    assert "".join(tokens.pieces) == text
    for piece, (start, end) in zip(tokens.pieces, tokens.offsets, strict=True):
        assert text[start:end] == piece
    assert (tokens.continued == np.array([piece == "" for piece in tokens.pieces])).all()


def test_special_tokens_are_marked(smollm2) -> None:
    tokens = smollm2.encode("<|im_start|>user\nHi<|im_end|>")
    assert [tokens.pieces[i] for i in np.flatnonzero(tokens.special)] == ["<|im_start|>", "<|im_end|>"]


@pytest.mark.parametrize("text", TEXTS)
def test_ids_alone_give_the_same_pieces(smollm2, text: str) -> None:
    tokens = smollm2.encode(text)
    from_ids = smollm2.as_tokens(tokens.ids.tolist())
    assert "".join(from_ids.pieces) == text
    assert from_ids.continued.tolist() == tokens.continued.tolist()


def test_a_character_that_never_becomes_whole_shows_its_bytes(smollm2) -> None:
    fox = smollm2.encode("🦊").ids
    broken = smollm2.as_tokens([*fox[:1], *smollm2.encode("and").ids])
    assert "\N{REPLACEMENT CHARACTER}" not in "".join(broken.pieces)
    assert broken.pieces[0].startswith("\\x")
    assert broken.pieces[-1] == "and"


@pytest.mark.parametrize("text", ["", " ", "\n\t "])
def test_an_empty_text_is_refused(smollm2, text: str) -> None:
    with pytest.raises(BadInput, match="empty"):
        smollm2.encode(text)


def test_a_directory_without_a_tokenizer_reads_ids_only(tiny) -> None:
    lm = tiny("llama-mha").lm
    with pytest.raises(BadInput, match="tokenizer"):
        lm.encode("words")
    assert replay(lm, [1, 2, 3], make_policy("full")).tokens.pieces == ("⟨1⟩", "⟨2⟩", "⟨3⟩")
