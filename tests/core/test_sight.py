"""What a model with a sliding window of its own does not see of what a policy holds: as its attention really is."""

import io

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, MistralConfig, Qwen2Config

from core import Trace, attention_of, generate, load_model, make_policy, replay
from core.policies import POLICIES
from tests.conftest import _ROTARY, N, text


def policy_of(key, budget):
    return make_policy(key) if key == "full" else make_policy(key, budget)


def model_of(config, directory):
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(directory)
    return load_model(str(directory), dtype="float32", device="cpu")


@pytest.mark.parametrize(
    ("key", "positions"),
    [
        (key, positions)
        for key, policy in sorted(POLICIES.items())
        for positions in ("original", "in-cache", "log-gap")
        if positions == "original" or not policy.reads_queries
    ],
)
def test_a_row_is_in_sight_if_and_only_if_it_gets_attention(tiny, key, positions):
    lm, ids, policy = tiny("mistral-sliding").lm, text("mistral-sliding"), policy_of(key, 9)
    trace = replay(lm, ids, policy, positions=positions)

    assert trace.sliding_windows == (6, 6, 6)  # fewer than the budget
    hidden = 0
    for layer, group in np.ndindex(trace.evicted_at.shape[:2]):
        paid = attention_of(lm, ids, policy, layer, group, positions=positions)
        for step in range(N):
            np.testing.assert_array_equal(trace.in_sight(step)[layer, group], paid[step] > 0)
            hidden += np.count_nonzero(trace.attended(step)[layer, group] & (paid[step] == 0))
    assert hidden > 0


def test_the_first_tokens_are_held_to_the_end_but_seen_for_the_windows_length_only(tmp_path):
    lm = model_of(MistralConfig(**_ROTARY, sliding_window=8), tmp_path)
    trace = replay(lm, list(range(40)), make_policy("window+i", 12, n_sink=4))

    for step in range(40):
        assert trace.kept(step)[..., : min(step + 1, 4)].all()
        seen = [position for position in range(4) if 0 <= step - position < 8]
        assert (trace.in_sight(step)[..., :4].sum(axis=-1) == len(seen)).all()
    assert trace.in_sight(10)[..., 3].all()
    assert not trace.in_sight(11)[..., :4].any()
    assert (trace.in_sight(39).sum(axis=-1) == 8).all()


@pytest.mark.parametrize("chunk", [1, 4, 64])
def test_layers_with_and_without_a_window_are_told_apart(tmp_path, chunk):
    config = Qwen2Config(**_ROTARY, use_sliding_window=True, sliding_window=8, max_window_layers=1)
    lm = model_of(config, tmp_path)
    assert config.layer_types == ["full_attention", "sliding_attention", "sliding_attention"]

    trace = replay(lm, list(range(30)), make_policy("tova", 12), chunk=chunk)
    written = generate(lm, list(range(30)), make_policy("tova", 12), max_new_tokens=3, chunk=chunk)

    assert trace.sliding_windows == written.sliding_windows == (0, 8, 8)
    np.testing.assert_array_equal(trace.in_sight(29)[0], trace.attended(29)[0])
    assert not trace.in_sight(29)[1:, :, :22].any()


@pytest.mark.parametrize(("name", "windows"), [("mistral", (64, 64, 64)), ("llama-gqa", ()), ("gpt2", ())])
def test_where_no_window_hides_anything_all_that_is_attended_is_in_sight(tiny, name, windows):
    trace = replay(tiny(name).lm, text(name), make_policy("tova", 9))

    assert trace.sliding_windows == windows
    for step in range(N):
        np.testing.assert_array_equal(trace.in_sight(step), trace.attended(step))


def test_the_windows_are_saved_with_the_trace(tiny):
    trace = replay(tiny("mistral-sliding").lm, text("mistral-sliding"), make_policy("window", 9))
    trace.save(file := io.BytesIO())

    loaded = Trace.load(io.BytesIO(file.getvalue()))

    assert loaded.sliding_windows == trace.sliding_windows
    np.testing.assert_array_equal(loaded.in_sight(N - 1), trace.in_sight(N - 1))
