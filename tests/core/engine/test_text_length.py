"""A text gives one trace however it is cut into chunks, with every kind of rotary embedding that transformers has."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, Gemma3TextConfig, LlamaConfig, Phi3Config, PhimoeConfig, PretrainedConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from core import LanguageModel, generate, load_model, make_policy, replay

ORIGINAL, CONTEXT = 16, 128  # the lengths of the first training, and of the one for long texts
SHAPE = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": CONTEXT,
    "initializer_range": 0.3,
    "pad_token_id": 0,
    "bos_token_id": None,
    "eos_token_id": None,
}
FACTORS = {"short_factor": [1.0] * 4, "long_factor": [8.0] * 4}
ROPE: dict[str, dict[str, Any]] = {
    "default": {},
    "linear": {"factor": 4.0},
    "dynamic": {"factor": 4.0},
    "yarn": {"factor": 8.0, "original_max_position_embeddings": ORIGINAL},
    "longrope": {"factor": 8.0, "original_max_position_embeddings": ORIGINAL, **FACTORS},
    "llama3": {
        "factor": 8.0,
        "original_max_position_embeddings": ORIGINAL,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
    },
    "proportional": {"factor": 2.0, "partial_rotary_factor": 0.5},
}


def rope(kind: str) -> dict[str, Any]:
    return {"rope_type": kind, "rope_theta": 1e4, **ROPE[kind]}


CONFIGS: dict[str, PretrainedConfig] = {
    kind: LlamaConfig(
        **SHAPE | {"max_position_embeddings": ORIGINAL if kind == "dynamic" else CONTEXT}, rope_parameters=rope(kind)
    )
    for kind in ROPE
}
CONFIGS["phi3, longrope"] = Phi3Config(
    **SHAPE, original_max_position_embeddings=ORIGINAL, rope_parameters=rope("longrope")
)
CONFIGS["phimoe, longrope and a scale"] = PhimoeConfig(
    **SHAPE | {"num_local_experts": 2, "num_experts_per_tok": 1},
    rope_parameters=rope("longrope") | {"short_mscale": 1.1, "long_mscale": 1.5},
)
CONFIGS["gemma 3, a kind for each kind of layer"] = Gemma3TextConfig(
    **SHAPE | {"head_dim": 8},
    sliding_window=64,
    layer_types=["sliding_attention", "full_attention"],
    rope_parameters={"sliding_attention": rope("default"), "full_attention": rope("dynamic")},
)


def loaded(name: str, directory: Path) -> LanguageModel:
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(CONFIGS[name]).save_pretrained(directory)
    return load_model(str(directory), dtype="float32", device="cpu")


def ids_of(n: int) -> list[int]:
    return torch.randint(97, (n,), generator=torch.Generator().manual_seed(3)).tolist()


def own_nll(lm: LanguageModel, ids: list[int], directory: Path) -> np.ndarray:
    """Of the model's own pass over the whole text, in a copy that has read nothing else."""
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, attn_implementation="eager").eval()
    with torch.inference_mode():
        logits = model(torch.tensor([ids]), use_cache=False).logits[0, :-1]
    return torch.nn.functional.cross_entropy(logits, torch.tensor(ids[1:]), reduction="none").numpy()


def test_every_kind_is_here() -> None:
    assert set(ROPE) == {"default", *ROPE_INIT_FUNCTIONS}


@pytest.mark.filterwarnings("ignore:.*trained to read")
@pytest.mark.parametrize("name", CONFIGS)
def test_any_chunk_gives_one_trace(name: str, tmp_path: Path) -> None:
    lm = loaded(name, tmp_path)
    finite = make_policy("tova", budget=10)
    for n in (40, 12, 40, ORIGINAL):  # longer, shorter, longer again: nothing of one text is left for the next
        ids = ids_of(n)
        beyond = {"beyond_context": True} if n > (lm.context_length or n) else {}
        read = {chunk: replay(lm, ids, finite, chunk=chunk, **beyond) for chunk in (n, 5, 1)}
        for trace in read.values():
            np.testing.assert_array_equal(trace.evicted_at, read[n].evicted_at)
            np.testing.assert_allclose(trace.nll, read[n].nll, atol=2e-5)
        if not beyond:
            own = own_nll(lm, ids, tmp_path)
            for chunk in (n, 5):
                np.testing.assert_allclose(replay(lm, ids, make_policy("full"), chunk=chunk).nll[1:], own, atol=2e-5)


def test_a_finite_policy_that_evicts_nothing_reads_as_the_model_does_beyond_its_context(tmp_path: Path) -> None:
    lm, ids = loaded("dynamic", tmp_path), ids_of(40)
    roomy = make_policy("window", budget=40)
    with pytest.warns(UserWarning, match="trained to read"):
        found = replay(lm, ids, roomy, chunk=5, beyond_context=True).nll[1:]
    np.testing.assert_allclose(found, own_nll(lm, ids, tmp_path), atol=2e-5)


def test_what_was_written_reads_the_same(tmp_path: Path) -> None:
    lm, policy = loaded("longrope", tmp_path), make_policy("tova", budget=10)
    written = generate(lm, ids_of(ORIGINAL - 4), policy, max_new_tokens=12)
    read = replay(lm, written.tokens, policy, chunk=7)
    np.testing.assert_array_equal(read.evicted_at, written.evicted_at)
    np.testing.assert_allclose(read.nll[1:], written.nll[1:], atol=2e-5)


def test_two_threads_do_not_tell_each_other_their_lengths(tmp_path: Path) -> None:
    lm, full = loaded("longrope", tmp_path), make_policy("full")
    texts = [ids_of(40), ids_of(12)] * 2
    alone = [replay(lm, ids, full, chunk=3).nll for ids in texts]
    found: dict[int, list[np.ndarray]] = {i: [] for i in range(len(texts))}

    def read(i: int) -> None:
        found[i] += [replay(lm, texts[i], full, chunk=3).nll for _ in range(8)]

    threads = [threading.Thread(target=read, args=(i,)) for i in found]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i, nlls in found.items():
        assert len(nlls) == 8
        for nll in nlls:
            np.testing.assert_allclose(nll, alone[i], atol=2e-5)
