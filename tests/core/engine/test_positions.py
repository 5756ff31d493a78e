"""Positions that are told late: in-cache and log-gap against the oracle, and reading beyond the model's context."""

import math
import warnings
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    CohereConfig,
    DeepseekV3Config,
    GptOssConfig,
    LlamaConfig,
    OPTConfig,
    PhiConfig,
    PretrainedConfig,
    SmolLM3Config,
)

import core
from core import Trace, attention_of, compare, generate, iter_compare, iter_generate, iter_replay, make_policy, replay
from core.__main__ import main
from core.engine.capability import checked_rotary
from core.engine.rotation import LateRotation
from core.errors import BadInput, TextTooLong, UnsupportedModel
from core.policies import Step
from core.trace import NEVER
from tests.conftest import _COMMON, _ROTARY, TINY, TODAY, VOCABULARY
from tests.core.engine.test_engine import EXACT_MARGIN, KEYS, check_against, check_equal, in_turn, policy_of
from tests.oracle import Oracle
from tests.words import with_words

RENUMBERED = ("in-cache", "log-gap")
ROTARY = ("llama-gqa", "mistral", "gpt-neox")
LONG = 24
SEEDS = {"llama-gqa": 0, "mistral": 0, "gpt-neox": 0, "mistral-sliding": 0}  # as in conftest
CASES = [("full", None)] + [(key, budget) for key in KEYS for budget in (2, 7)]
CHUNKS = (1, 7, LONG)
# One model meets every chunk, the others one in turn.
MATRIX = [
    (name, *case, chunk)
    for i, name in enumerate(ROTARY)
    for j, case in enumerate(CASES)
    if name != "mistral" or case[1] != 2
    for chunk in (CHUNKS if name == "llama-gqa" else [in_turn(i + j, *CHUNKS)])
]
MIXED = [("full", None), ("window", 5), ("window+i", 6), ("h2o", 5), ("tova", 5), ("tova-head", 4), ("random", 9)]


def text(name: str, n: int = LONG) -> list[int]:
    return torch.randint(VOCABULARY, (n,), generator=torch.Generator().manual_seed(SEEDS[name])).tolist()


@pytest.fixture(scope="module")
def truth(tiny):
    """`truth(name, key, budget, ids, positions, one_shot)`: the oracle's run, computed once."""

    @cache
    def read(
        name: str, key: str, budget: int | None, ids: tuple[int, ...], positions: str, one_shot: int = 0
    ) -> Oracle:
        def draw(layer: int, step: int, position: int) -> float:
            row = Step(np.array([[layer]]), step, np.array([[position]]), attention=None)
            return float(policy_of(key, budget).importance(row, np.zeros((1, 1)))[0, 0])

        oracle = Oracle(key, budget or math.inf, min(4, (budget or 1) - 1), draw, one_shot, positions)
        oracle.read(tiny(name).reference("oracle"), ids)
        assert oracle.closest > EXACT_MARGIN, "choose another text: rounding could decide here"
        return oracle

    return read


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """`made(config)`: a tiny model with random weights of any architecture, as the engine loads it."""

    def make(config: PretrainedConfig, dtype: str = "float32") -> core.LanguageModel:
        directory = tmp_path_factory.mktemp(config.model_type)
        torch.manual_seed(0)
        AutoModelForCausalLM.from_config(config).save_pretrained(directory)
        return core.load_model(str(directory), dtype=dtype, device="cpu")

    return make


# ---- against the oracle


@pytest.mark.parametrize(("name", "key", "budget", "chunk"), MATRIX)
@pytest.mark.parametrize("positions", RENUMBERED)
def test_replay_agrees_with_the_oracle(tiny, truth, name, positions, key, budget, chunk):
    ids = text(name)
    trace = replay(tiny(name).lm, ids, policy_of(key, budget), chunk=chunk, positions=positions)
    assert trace.positions == positions
    check_against(truth(name, key, budget, tuple(ids), positions), trace)


@pytest.mark.parametrize("chunk", CHUNKS)
@pytest.mark.parametrize("key", ["tova", "h2o", "window+i"])
@pytest.mark.parametrize("positions", RENUMBERED)
def test_a_sliding_window_counts_the_positions_that_are_told(tiny, truth, positions, key, chunk):
    ids = text("mistral-sliding")  # its window is of 6 tokens
    trace = replay(tiny("mistral-sliding").lm, ids, policy_of(key, 9), chunk=chunk, positions=positions)
    check_against(truth("mistral-sliding", key, 9, tuple(ids), positions), trace)


@pytest.mark.parametrize(("key", "budget"), [("tova", 5), ("h2o", 5), ("window+i", 5)])
@pytest.mark.parametrize("positions", RENUMBERED)
@pytest.mark.parametrize(("name", "prefill"), [("llama-gqa", "token-by-token"), ("gpt-neox", "one-shot")])
def test_generation_agrees_with_the_oracle(tiny, truth, name, positions, key, budget, prefill):
    prompt, how = text(name)[:13], {"prefill": prefill, "positions": positions}
    trace = generate(tiny(name).lm, prompt, make_policy(key, budget), max_new_tokens=5, chunk=4, **how)
    ids = trace.tokens.ids.tolist()
    assert (ids[:13], len(ids), trace.positions) == (prompt, 18, positions)
    oracle = truth(name, key, budget, tuple(ids), positions, one_shot=13 if prefill == "one-shot" else 0)
    check_against(oracle, trace)
    assert [int(logits.argmax()) for logits in oracle.logits[12:-1]] == ids[13:]


# ---- by hand


def test_distances_by_hand(tiny):
    rotary = checked_rotary(tiny("llama-gqa").lm)
    positions = np.array([[14, 0, 25, 24, 4], [7, 9, 8, 6, 5]])
    np.testing.assert_array_equal(
        LateRotation(rotary, "in-cache").distances(positions), [[2, 4, 0, 1, 3], [2, 0, 1, 3, 4]]
    )
    shrunk = np.log(np.log(11))
    np.testing.assert_allclose(
        LateRotation(rotary, "log-gap").distances(np.array([[14, 0, 26, 25, 4], [7, 9, 8, 6, 5]])),
        [[1 + shrunk, 15 + shrunk, 0, 1, 11 + shrunk], [2, 0, 1, 3, 4]],
    )


@pytest.mark.parametrize("positions", RENUMBERED)
@pytest.mark.parametrize("name", ROTARY)
def test_while_rows_are_neighbours_all_positions_are_the_same(tiny, name, positions):
    lm, ids = tiny(name).lm, text(name)
    for policy in (make_policy("full"), make_policy("tova", LONG), make_policy("window", 4)):
        check_equal(replay(lm, ids, policy, positions=positions), replay(lm, ids, policy))


def test_where_rows_are_no_neighbours_positions_make_a_difference(tiny):
    lm, ids = tiny("llama-gqa").lm, text("llama-gqa")
    nll = [replay(lm, ids, make_policy("window+i", 4, n_sink=1), positions=p).nll for p in ("original", *RENUMBERED)]
    for one, other in [(0, 1), (0, 2), (1, 2)]:
        assert np.abs(nll[one] - nll[other])[1:].max() > 0.01


# ---- against itself


@pytest.mark.parametrize("positions", RENUMBERED)
def test_policies_in_lockstep_give_the_traces_they_give_alone(tiny, positions):
    lm, prompt = tiny("llama-gqa").lm, text("llama-gqa")[:14]
    how = {"max_new_tokens": 8, "chunk": 5, "positions": positions}
    policies = [make_policy(key, budget) for key, budget in MIXED]
    together = generate(lm, prompt, policies, **how)
    assert len({tuple(trace.tokens.ids) for trace in together}) > 1
    for policy, trace in zip(policies, together, strict=True):
        check_equal(trace, generate(lm, prompt, policy, **how))
        check_equal(trace, replay(lm, trace.tokens.ids, policy, positions=positions))
        assert trace.positions == positions


@pytest.mark.parametrize("positions", RENUMBERED)
def test_a_comparison_has_the_traces_that_replays_give(tiny, positions):
    lm, ids = tiny("gpt-neox").lm, text("gpt-neox")
    policies = [make_policy(key, budget) for key, budget in MIXED[1:]]
    comparison = compare(lm, ids, policies, chunk=5, positions=positions)
    check_equal(comparison.full, replay(lm, ids, make_policy("full")))
    for policy, trace in zip(policies, comparison.traces, strict=True):
        check_equal(trace, replay(lm, ids, policy, positions=positions))
    *_, last = iter_compare(lm, ids, policies, positions=positions)
    check_equal(last.comparison.traces[-1], comparison.traces[-1])


@pytest.mark.parametrize("key", ["tova", "tova-head"])
@pytest.mark.parametrize("positions", RENUMBERED)
def test_the_attention_shown_is_the_one_that_decided(tiny, positions, key):
    lm, ids, policy = tiny("llama-gqa").lm, text("llama-gqa"), make_policy(key, 5)
    trace = replay(lm, ids, policy, positions=positions)
    for layer, group in np.ndindex(*trace.evicted_at.shape[:2]):
        paid = attention_of(lm, ids, policy, layer, group, positions=positions)
        np.testing.assert_allclose(paid.sum(axis=1), 1, rtol=1e-5)
        np.testing.assert_allclose(paid.sum(axis=0), trace.attention_received[layer, group], rtol=1e-5, atol=1e-6)
        (evicted,) = np.nonzero(trace.evicted_at[layer, group] != NEVER)
        at = trace.evicted_at[layer, group, evicted]
        np.testing.assert_allclose(
            paid[at, evicted], trace.importance_at_eviction[layer, group, evicted], rtol=1e-4, atol=1e-6
        )


def test_reports_of_progress_say_the_positions(tiny):
    lm, ids, policy = tiny("llama-gqa").lm, text("llama-gqa"), make_policy("tova", 5)
    runs = [
        iter_replay(lm, ids, policy, positions="in-cache"),
        iter_generate(lm, ids, policy, max_new_tokens=2, positions="in-cache"),
    ]
    for run in runs:
        *_, last = run
        assert last.traces[0].positions == "in-cache"
        check_equal(last.traces[0], replay(lm, last.traces[0].tokens.ids, policy, positions="in-cache"))


# ---- beyond the model's context, which for these models is of 128 tokens

BEYOND = 150


@pytest.mark.parametrize("positions", RENUMBERED)
@pytest.mark.parametrize("name", ROTARY)
def test_a_finite_policy_reads_a_text_of_any_length(tiny, name, positions):
    lm, ids = tiny(name).lm, text(name, BEYOND)
    trace = replay(lm, ids, make_policy("tova", 9), positions=positions)
    assert np.isfinite(trace.nll[1:]).all()
    check_equal(trace, replay(lm, ids, make_policy("tova", 9), positions=positions, chunk=40))
    assert len(generate(lm, ids[:120], make_policy("tova", 9), max_new_tokens=12, positions=positions)) == 132


def test_in_cache_forgets_where_in_the_text_it_is(tiny):
    lm, ids = tiny("llama-gqa").lm, text("llama-gqa", 40)
    once, twice = (replay(lm, ids * n, make_policy("window", 1), positions="in-cache") for n in (1, 4))
    for start in (40, 80, 120):  # two layers below see two tokens back
        np.testing.assert_allclose(twice.nll[start + 4 : start + 40], once.nll[4:], atol=1e-5)


def test_beyond_the_context_original_positions_are_refused_unless_asked_for(tiny):
    lm, ids = tiny("llama-gqa").lm, text("llama-gqa", BEYOND)
    policy = make_policy("tova", 9)
    with pytest.raises(TextTooLong, match=r"150.*128.*22.*in-cache.*beyond_context"):
        replay(lm, ids, policy)
    with pytest.raises(TextTooLong, match=r"130.*128.*in-cache.*beyond_context"):
        generate(lm, ids[:120], policy, max_new_tokens=10)
    with pytest.warns(UserWarning, match=r"150.*128.*never seen"):
        trace = replay(lm, ids, policy, beyond_context=True)
    assert (len(trace), trace.positions) == (BEYOND, "original")
    with pytest.warns(UserWarning, match=r"130.*128"):
        assert len(generate(lm, ids[:120], policy, max_new_tokens=10, beyond_context=True)) == 130
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        replay(lm, ids[:128], policy, beyond_context=True)
        replay(lm, ids, policy, positions="in-cache")


@pytest.mark.parametrize("how", [{"positions": p} for p in RENUMBERED] + [{"beyond_context": True}], ids=str)
def test_the_full_model_never_reads_beyond_its_context(tiny, how):
    lm, ids = tiny("llama-gqa").lm, text("llama-gqa", BEYOND)
    with pytest.raises(TextTooLong, match=r"150.*128"):
        replay(lm, ids, make_policy("full"), **how)
    with pytest.raises(TextTooLong, match=r"150.*128"):
        generate(lm, ids[:140], [make_policy("tova", 9), make_policy("full")], max_new_tokens=10, **how)
    if "positions" in how:
        with pytest.raises(TextTooLong, match=r"150.*128"):
            compare(lm, ids, [make_policy("tova", 9)], **how)


@pytest.mark.parametrize("positions", RENUMBERED)
def test_no_more_rows_at_once_than_the_context(tiny, positions):
    lm, ids = tiny("llama-gqa").lm, text("llama-gqa", BEYOND)
    with pytest.raises(TextTooLong, match=r"129 rows.*budget"):
        replay(lm, ids, make_policy("tova", 128), positions=positions)
    assert len(replay(lm, ids, make_policy("tova", 127), positions=positions)) == BEYOND
    with pytest.raises(TextTooLong, match=r"150 rows"):
        replay(lm, ids, make_policy("tova", 9), positions=positions, prefill="one-shot")


def test_the_command_reads_a_text_of_any_length(tiny, tmp_path, capsys):
    directory, out = with_words(tiny("llama-gqa").directory, tmp_path / "model"), tmp_path / "run.npz"
    ids = text("llama-gqa", BEYOND)
    (tmp_path / "book.txt").write_text(" ".join(f"w{i}" for i in ids))
    command = ["trace", "--text", str(tmp_path / "book.txt"), "--budget", "9", "--model", str(directory)]
    command += ["--out", str(out)]
    assert main(command) == 2
    assert "in-cache" in capsys.readouterr().err
    assert main([*command, "--positions", "in-cache"]) == 0
    lm = core.load_model(str(directory))
    check_equal(Trace.load(out), replay(lm, ids, make_policy("tova", 9), positions="in-cache"))
    assert Trace.load(out).positions == "in-cache"
    assert main([*command, "--positions", "log-gap", "--new-tokens", "3"]) == 0
    assert (len(Trace.load(out)), Trace.load(out).positions) == (BEYOND + 3, "log-gap")
    with pytest.warns(UserWarning, match="never seen"):
        assert main([*command, "--beyond-context"]) == 0
    assert Trace.load(out).positions == "original"


# ---- models

SCALED = {
    "linear": {"rope_type": "linear", "factor": 4.0, "rope_theta": 10000.0},
    "yarn": {"rope_type": "yarn", "factor": 4.0, "rope_theta": 10000.0, "original_max_position_embeddings": 32},
    "llama3": {
        **{"rope_type": "llama3", "factor": 4.0, "rope_theta": 10000.0, "original_max_position_embeddings": 32},
        **{"low_freq_factor": 1.0, "high_freq_factor": 4.0},
    },
}
UNLIKE_LLAMA = {
    **{kind: LlamaConfig(**_ROTARY, rope_parameters=rope) for kind, rope in SCALED.items()},
    "interleaved": CohereConfig(**_ROTARY, logit_scale=1.0),
    "partial": PhiConfig(
        **_ROTARY, rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5}
    ),
    "gpt-oss": GptOssConfig(
        **_ROTARY, head_dim=8, num_local_experts=3, num_experts_per_tok=2, rope_parameters=SCALED["yarn"]
    ),
    "latent": DeepseekV3Config.from_dict(
        TODAY["deepseek"].to_dict() | {"rope_parameters": SCALED["yarn"], "rope_interleave": False}
    ),
}


@pytest.mark.parametrize("name", UNLIKE_LLAMA)
def test_rotary_embeddings_of_other_kinds(made, name):
    lm, ids = made(UNLIKE_LLAMA[name]), text("llama-gqa")
    for policy in (make_policy("full"), make_policy("window", 4)):
        for chunk in (1, 7):
            expected = replay(lm, ids, policy, chunk=chunk)
            for positions in RENUMBERED:
                check_equal(replay(lm, ids, policy, chunk=chunk, positions=positions), expected)
    assert 0 < float(checked_rotary(lm).speeds.max()) <= 1


@pytest.mark.parametrize("dtype", ["bfloat16", "float64"])
def test_a_model_of_another_precision_is_renumbered(made, dtype):
    lm, ids = made(TINY["llama-gqa"], dtype), text("llama-gqa")
    trace = replay(lm, ids, make_policy("window", 4), positions="in-cache")
    rough = dtype == "bfloat16"
    np.testing.assert_allclose(trace.nll, replay(lm, ids, make_policy("window", 4)).nll, atol=0.3 if rough else 1e-5)


NO_ROTARY = {
    "gpt2": TINY["gpt2"],
    "opt": OPTConfig(**_COMMON, hidden_size=32, ffn_dim=48, num_hidden_layers=2, num_attention_heads=4),
}


@pytest.mark.parametrize("positions", RENUMBERED)
@pytest.mark.parametrize("name", NO_ROTARY)
def test_learned_positions_cannot_be_renumbered(made, name, positions):
    lm = made(NO_ROTARY[name])
    limit, policy = f"{lm.context_length:,}", make_policy("tova", 4)
    replay(lm, [1, 2, 3], policy)
    for run in (
        lambda: replay(lm, [1, 2, 3], policy, positions=positions),
        lambda: generate(lm, [1, 2, 3], policy, max_new_tokens=2, positions=positions),
        lambda: compare(lm, [1, 2, 3], [policy], positions=positions),
        lambda: attention_of(lm, [1, 2, 3], policy, 0, positions=positions),
    ):
        with pytest.raises(UnsupportedModel, match=rf"learned positions.*original.*{limit}"):
            run()


def test_learned_positions_end_where_the_context_ends(tiny):
    with pytest.raises(TextTooLong, match=r"129.*128.*no positions"):
        replay(tiny("gpt2").lm, [1] * 129, make_policy("tova", 4), beyond_context=True)


REFUSED = {
    "dynamic": LlamaConfig(**_ROTARY, rope_parameters={"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}),
    "same output": SmolLM3Config(**_ROTARY, no_rope_layers=[1, 0, 1], pad_token_id=None),
}


@pytest.mark.parametrize("why", REFUSED)
def test_a_rotary_embedding_that_cannot_be_applied_late_is_refused_by_name(made, why):
    lm = made(REFUSED[why])
    replay(lm, text("llama-gqa"), make_policy("tova", 4))
    for _ in range(2):
        with pytest.raises(UnsupportedModel, match=why):
            replay(lm, text("llama-gqa"), make_policy("tova", 4), positions="in-cache")


def test_angles_that_do_not_grow_evenly_are_found_out(tiny):
    lm = tiny("llama-gqa").load()
    rotary = lm.model.model.rotary_emb
    ordinary = rotary.forward
    rotary.forward = lambda x, position_ids: ordinary(x, position_ids**2)
    with pytest.raises(UnsupportedModel, match="same output"):
        replay(lm, text("llama-gqa"), make_policy("tova", 4), positions="in-cache")


@pytest.mark.parametrize("positions", ["cache", "in cache", None, 0])
def test_positions_that_there_are_not(tiny, positions):
    lm = tiny("llama-gqa").lm
    with pytest.raises(BadInput, match="original, log-gap, in-cache"):
        replay(lm, [1, 2, 3], make_policy("tova", 4), positions=positions)
    with pytest.raises(BadInput, match="original, log-gap, in-cache"):
        compare(lm, [1, 2, 3], [make_policy("tova", 4)], positions=positions)


# ---- the real model


def test_the_real_model_reads_in_cache_as_well(smollm2):
    book = Path(__file__).parents[2] / "texts"
    ids = smollm2.encode(sorted(book.glob("*.txt"))[0].read_text()).ids[:128]
    full = replay(smollm2, ids, make_policy("full"))
    in_cache = replay(smollm2, ids, make_policy("full"), positions="in-cache")
    np.testing.assert_allclose(in_cache.nll, full.nll, atol=1e-3)
    original, in_cache = (
        np.nanmean(replay(smollm2, ids, make_policy("tova", 32), positions=positions).nll)
        for positions in ("original", "in-cache")
    )
    assert np.nanmean(full.nll) < min(original, in_cache)
    assert abs(original - in_cache) < 0.25
