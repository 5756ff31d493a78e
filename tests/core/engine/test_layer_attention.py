"""Sinks, soft caps, windows in some layers and narrow values: against transformers, and what traces and policies see.

The engine is held to the oracle on the same models in `test_shelf`.
"""

import math

import numpy as np
import pytest
import torch

from core import attention_of, compare, generate, make_policy, replay
from core.engine.attention import REFUSED_KEYWORDS, multi_state_attention
from core.engine.layer_attention import LayerAttention
from core.errors import UnsupportedModel
from core.policies import Step
from tests.conftest import TODAY, N
from tests.core.engine.test_engine import check_equal
from tests.core.engine.test_shelf import EXACT_MARGIN, check_against, distinct
from tests.oracle import Oracle

SEVERAL = [("full", None), ("tova", 5), ("h2o", 6), ("window", 4), ("rkv", 12), ("caote", 5), ("knorm", 7)]


def policy_of(key, budget):
    return make_policy(key) if budget is None else make_policy(key, budget)


# ---- the model's own output


@pytest.mark.parametrize("chunk", [1, 7, N])
@pytest.mark.parametrize("name", TODAY)
def test_under_the_full_policy_the_model_is_its_own(tiny, name, chunk):
    ids = distinct(2)
    with torch.inference_mode():
        logits = tiny(name).reference("eager")(torch.tensor([ids]), use_cache=False).logits[0]
    own = torch.nn.functional.cross_entropy(logits[:-1], torch.tensor(ids[1:]), reduction="none")
    np.testing.assert_allclose(replay(tiny(name).lm, ids, make_policy("full"), chunk=chunk).nll[1:], own, atol=2e-5)


@pytest.mark.parametrize("name", TODAY)
def test_full_writes_what_transformers_writes_greedily(tiny, name):
    own = tiny(name).reference("eager", torch.float32)
    for seed in range(20):
        prompt = distinct(seed)[:9]
        written = own.generate(torch.tensor([prompt]), max_new_tokens=20, do_sample=False)[0].tolist()
        if len(set(written[9:])) > 3:
            break
    assert len(set(written[9:])) > 3, "a text that repeats itself would prove little"
    assert generate(tiny(name).lm, prompt, make_policy("full"), max_new_tokens=20).tokens.ids.tolist() == written


@pytest.mark.parametrize("name", TODAY)
def test_without_a_multi_state_a_loaded_model_is_its_own(tiny, name):
    """Transformers' fast attention leaves sinks out without a word and refuses soft caps."""
    ours, theirs = tiny(name).lm.model, tiny(name).reference("eager", torch.float32)
    ids = torch.tensor([distinct(4), distinct(5)])
    padded = torch.ones_like(ids)
    padded[1, :9] = 0
    with torch.inference_mode():
        for mask in (None, padded):
            expected = theirs(ids, attention_mask=mask).logits[mask != 0 if mask is not None else ...]
            found = ours(ids, attention_mask=mask).logits[mask != 0 if mask is not None else ...]
            torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
        written = [model.generate(ids[:1], max_new_tokens=12, do_sample=False) for model in (ours, theirs)]
    assert torch.equal(*written)


@pytest.mark.parametrize("name", TODAY)
def test_the_attention_shown_is_that_of_transformers(tiny, name):
    ids = distinct(6)
    with torch.inference_mode():
        out = tiny(name).reference("eager")(torch.tensor([ids]), use_cache=False, output_attentions=True)
    for layer, attention in enumerate(out.attentions):
        paid = attention_of(tiny(name).lm, ids, make_policy("full"), layer)
        np.testing.assert_allclose(paid, attention[0].mean(dim=0), atol=1e-5)
        left = 1 - paid.sum(axis=1)
        assert left.mean() > 0.1 if name == "gpt-oss" else np.allclose(left, 0, atol=1e-5)


# ---- policies


@pytest.mark.parametrize("prefill", ["token-by-token", "one-shot"])
@pytest.mark.parametrize(("key", "budget"), [("tova", 5), ("h2o", 6), ("caote", 6)])
@pytest.mark.parametrize("name", TODAY)
def test_generation_agrees_with_the_oracle(tiny, name, key, budget, prefill):
    for seed in range(30):
        prompt = distinct(seed)[:13]
        trace = generate(
            tiny(name).lm, prompt, make_policy(key, budget), max_new_tokens=9, chunk=4, prefill=prefill
        )  # fmt: skip
        oracle = Oracle(key, budget, one_shot=13 if prefill == "one-shot" else 0)
        oracle.read(tiny(name).reference("oracle"), trace.tokens.ids.tolist())
        if oracle.closest > EXACT_MARGIN:
            break
    assert oracle.closest > EXACT_MARGIN, "choose other texts: rounding could decide in all of these"
    check_against(oracle, trace)
    assert [int(logits.argmax()) for logits in oracle.logits[12:-1]] == trace.tokens.ids[13:].tolist()


@pytest.mark.parametrize("prefill", ["token-by-token", "one-shot"])
@pytest.mark.parametrize("name", ["gpt-oss", "deepseek", "llama-gqa"])
def test_policies_in_lockstep_give_the_traces_they_give_alone(tiny, name, prefill):
    lm, how = tiny(name).lm, {"max_new_tokens": 8, "prefill": prefill, "chunk": 5}
    policies = [policy_of(*one) for one in SEVERAL]
    together = generate(lm, distinct(7)[:14], policies, **how)
    for policy, trace in zip(policies, together, strict=True):
        check_equal(trace, generate(lm, distinct(7)[:14], policy, **how))
    assert len({tuple(trace.tokens.ids) for trace in together}) > 1


def test_a_row_is_as_large_as_its_key_and_its_value(tiny):
    lm, ids = tiny("deepseek").lm, distinct(8)
    assert compare(lm, ids, [make_policy("tova", 5)]).row_bytes == 3 * 4 * (12 + 6) * 4


def test_where_a_sink_takes_everything_no_policy_divides_by_nothing(tiny):
    """In float32 the rows' attention is then zero, and the oldest goes."""
    lm = tiny("gpt-oss").load()
    for layer in lm.model.model.layers:
        layer.self_attn.sinks.data += 500
    for key in ("tova", "h2o", "observed", "snapkv", "decay", "raas", "rkv", "caote"):
        for options in ({}, {"every": 3}, {"chunk": 1}):
            trace = replay(lm, distinct(9), make_policy(key, 9), **options)
            assert np.isfinite(trace.nll[1:]).all()
            assert (trace.attention_received == 0).all()


# ---- windows in some layers


@pytest.mark.parametrize("key", ["full", "tova", "h2o", "knorm"])
@pytest.mark.parametrize("name", ["gpt-oss", "gemma2", "gemma3"])
def test_a_row_is_in_sight_if_and_only_if_it_gets_attention(tiny, name, key):
    lm, ids, policy = tiny(name).lm, distinct(10), policy_of(key, None if key == "full" else 9)
    trace = replay(lm, ids, policy)
    assert trace.sliding_windows == (6, 0, 6)
    for layer, group in np.ndindex(trace.evicted_at.shape[:2]):
        paid = attention_of(lm, ids, policy, layer, group)
        seen = np.stack([trace.in_sight(step)[layer, group] for step in range(N)])
        np.testing.assert_array_equal(seen, paid > 0)
        held = np.stack([trace.attended(step)[layer, group] for step in range(N)])
        assert (held & ~seen).any() == (layer != 1)


# ---- by hand


def test_a_soft_cap_and_sinks_by_hand():
    of = LayerAttention(scaling=0.5, softcap=2.0, sinks=torch.tensor([math.log(3), -math.inf]))
    query, key = torch.tensor([[[[2.0], [2.0]]]]), torch.tensor([[[[4.0], [-4.0]]]])
    logits = of.logits(query, key, torch.tensor([[0.0, -math.inf], [0.0, 0.0]]))
    cap = 2 * math.tanh(2)
    torch.testing.assert_close(logits[0, 0], torch.tensor([[cap, -math.inf], [cap, -cap]]))
    shares = of.shares(torch.tensor([[[[[0.0, 0.0]], [[0.0, 0.0]]]]]))
    torch.testing.assert_close(shares.attention.flatten(), torch.tensor([0.2, 0.2, 0.5, 0.5]))
    torch.testing.assert_close(shares.to_sinks.flatten(), torch.tensor([0.6, 0.0]))


def test_caote_counts_what_the_sink_gets_among_the_rest():
    attention, to_sink, values = np.array([0.1, 0.2, 0.3]), 0.4, np.array([[1.0, 0], [0, 1], [3, 2]])
    step = Step(
        np.zeros((1, 1), int), 2, np.arange(3)[None], None, np.log(attention)[None, None].astype(np.float32),
        sinks=np.log([[to_sink]]).astype(np.float32),
    )  # fmt: skip
    found = make_policy("caote", 2).importance(step, values[None])[0]
    for gone in range(3):
        others = np.arange(3) != gone
        without = attention[others] @ values[others] / (1 - attention[gone])
        assert found[gone] == pytest.approx(np.linalg.norm(without - attention @ values), rel=1e-5)


@pytest.mark.parametrize("keyword", REFUSED_KEYWORDS)
def test_what_only_a_long_text_would_show_is_refused_by_its_keyword(tiny, keyword):
    lm = tiny("llama-gqa").lm
    module = lm.model.model.layers[0].self_attn
    rows = torch.zeros(1, 2, 3, 8)
    with pytest.raises(UnsupportedModel, match=keyword):
        multi_state_attention(module, rows, rows, rows, None, multi_state=object(), **{keyword: torch.zeros(1)})
