"""What `core.record` finds is what the caches themselves know that they have kept."""

import copy
import threading

import numpy as np
import pytest
import torch
from transformers import BloomConfig, BloomForCausalLM, DynamicCache, Qwen2Config, Qwen2ForCausalLM, StaticCache
from transformers.cache_utils import Cache, DynamicSlidingWindowLayer

import core
from core.errors import BadInput
from core.trace import NEVER, Trace
from tests.conftest import TINY, VOCABULARY, text
from tests.core.recording.caches import ScriptedCache, at_random
from tests.writers import writer_model

N, NEW = 12, 9


@pytest.fixture
def model(tiny):
    return tiny("llama-gqa").reference("sdpa", torch.float32)


def ids_of(name: str = "llama-gqa", n: int = N) -> torch.Tensor:
    return torch.tensor([text(name, n)])


def written(model, cache=None, ids: torch.Tensor | None = None, **more) -> tuple[Trace, torch.Tensor]:
    """The recorded trace of a model that writes on, and all that it wrote."""
    ids = ids_of() if ids is None else ids
    with core.record(model) as recording:
        out = model.generate(ids, past_key_values=cache, max_new_tokens=NEW, do_sample=False, **more)
    return recording.trace(), out[0]


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize("implementation", ["dynamic", "static"])
def test_a_plain_cache_keeps_all(tiny, name: str, implementation: str) -> None:
    if name == "mistral-sliding":
        pytest.skip("it has a window")
    model = tiny(name).reference("sdpa", torch.float32)
    trace, out = written(model, ids=ids_of(name), cache_implementation=implementation)
    heads = getattr(model.config, "num_key_value_heads", model.config.num_attention_heads)
    assert trace.evicted_at.shape == (model.config.num_hidden_layers, heads, N + NEW - 1)
    assert (trace.evicted_at == NEVER).all()
    assert trace.tokens.ids.tolist() == out[:-1].tolist()
    assert (trace.prompt_length, trace.prefill, trace.policy.budget) == (N, "one-shot", None)
    assert trace.model_id == str(tiny(name).directory)


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("before", [False, True])
def test_ones_own_cache(model, ordered: bool, before: bool) -> None:
    cache = ScriptedCache(3, at_random(6, ordered), before)
    trace, _ = written(model, cache)
    assert np.unique(cache.evicted_at).size >= NEW  # something to find
    assert (trace.evicted_at == cache.evicted_at).all()
    assert trace.attended(N + 3).sum(axis=-1).min() == 7
    assert trace.kept(len(trace) - 1).sum(axis=-1).max() == 6 + before


def test_a_text_in_pieces_of_any_length(model) -> None:
    cache, ids = ScriptedCache(3, at_random(5)), ids_of(n=20)
    with core.record(model) as recording, torch.no_grad():
        at = 0
        for length in (4, 1, 7, 1, 1, 6):
            model(ids[:, at : at + length], past_key_values=cache)
            at += length
    trace = recording.trace()
    assert (trace.evicted_at == cache.evicted_at).all()
    assert trace.tokens.ids.tolist() == ids[0].tolist()
    assert trace.prompt_length == 4


def test_sliding_windows_of_the_model(tiny) -> None:
    model, window = tiny("mistral-sliding").reference("sdpa", torch.float32), 6
    position = np.arange(N + NEW - 1)
    last = np.maximum(position + window - 1, N - 1)  # what the prompt's pass drops goes at its end
    for cache in (DynamicCache(config=model.config), StaticCache(model.config, max_cache_len=40)):
        trace, _ = written(model, cache, ids_of("mistral-sliding"))
        held = cache.layers[0].keys.shape[2]  # the dynamic layer drops a row early that the static one drops late
        assert held == (window if isinstance(cache, StaticCache) else window - 1)
        expected = np.where(position >= len(trace) - held, NEVER, last)
        assert (trace.evicted_at == expected).all()
        assert trace.sliding_windows == (window,) * 3
        assert trace.in_sight(N - 1).sum(axis=-1).max() == window


def test_a_window_in_some_layers_only() -> None:
    kinds = ["full_attention", "sliding_attention", "full_attention"]
    sizes = TINY["qwen2"].to_dict() | {"use_sliding_window": True, "sliding_window": 6, "layer_types": kinds}
    trace, _ = written(Qwen2ForCausalLM(Qwen2Config(**sizes)).eval())
    assert trace.sliding_windows == (0, 6, 0)
    assert trace.kept(len(trace) - 1).sum(axis=-1).tolist() == [[20, 20], [5, 5], [20, 20]]
    assert trace.in_sight(N).sum(axis=-1).tolist() == [[N + 1, N + 1], [6, 6], [N + 1, N + 1]]


def test_empty_slots_are_no_rows(model) -> None:
    cache = StaticCache(model.config, max_cache_len=64)
    trace, _ = written(model, cache)
    assert cache.layers[0].keys.shape[2] == 64
    assert trace.attended(len(trace) - 1).all() and trace.kept(len(trace) - 1).all()


@pytest.mark.parametrize("budget", [5, 9])
def test_window_in_a_cache_is_window_in_the_engine(tiny, model, budget: int) -> None:
    cache = Cache(layers=[DynamicSlidingWindowLayer(budget + 1) for _ in range(3)])
    trace, out = written(model, cache)
    ours = core.generate(
        tiny("llama-gqa").lm,
        text("llama-gqa", N),
        core.make_policy("window", budget),
        max_new_tokens=NEW,
        prefill="one-shot",
    )
    assert out.tolist() == ours.tokens.ids.tolist()
    n = len(trace)
    cut = ours.evicted_at[:, :, :n]
    assert (trace.evicted_at == np.where(cut < n, cut, NEVER)).all()
    assert np.isnan(trace.nll[:N]).all()  # generate asks for the logits of the last token of the prompt only
    assert trace.nll[N:] == pytest.approx(ours.nll[N:n], abs=1e-4)


def test_the_engine_repeats_what_was_recorded_with_the_same_nats(tiny, model) -> None:
    cache = ScriptedCache(3, at_random(6))
    trace, _ = written(model, cache)
    again = core.replay(tiny("llama-gqa").lm, trace.tokens, core.scripted(trace))
    assert (again.evicted_at == cache.evicted_at).all()
    assert again.nll[N:] == pytest.approx(trace.nll[N:], abs=1e-4)


def test_nll_is_known_where_there_are_logits(model) -> None:
    ids, cache = ids_of(n=20), DynamicCache()
    with torch.no_grad():
        expected = torch.nn.functional.cross_entropy(model(ids).logits[0, :-1], ids[0, 1:], reduction="none").numpy()
        with core.record(model) as recording:
            model(ids[:, :8], past_key_values=cache)
            model(ids[:, 8:14], past_key_values=cache, logits_to_keep=2)
            model.model(ids[:, 14:16], past_key_values=cache)  # without a head
            model(ids[:, 16:17], past_key_values=cache)
            model(ids[:, 17:20], past_key_values=cache, logits_to_keep=torch.tensor([1, 0]))
    trace = recording.trace()
    known = [*range(1, 9), 13, 14, 17]
    assert np.flatnonzero(~np.isnan(trace.nll)).tolist() == known
    assert trace.nll[known] == pytest.approx(expected[np.array(known) - 1], abs=1e-4)


def test_logits_of_another_text_are_not_taken(model) -> None:
    cache = DynamicCache()
    with core.record(model) as recording, torch.no_grad():
        model.model(ids_of(n=8), past_key_values=cache)
        model(ids_of(n=20)[:, 12:], use_cache=False)
        model(ids_of(n=20)[:, 8:12], past_key_values=cache)
    trace = recording.trace()
    assert trace.tokens.ids.tolist() == text("llama-gqa", 20)[:12]
    assert np.flatnonzero(~np.isnan(trace.nll)).tolist() == [9, 10, 11]


def test_drafts_that_are_taken_back_were_read_and_go(model) -> None:
    ids, cache = ids_of(n=20), DynamicCache()
    with core.record(model) as recording, torch.no_grad():
        model(ids[:, :8], past_key_values=cache)
        model(ids[:, 8:12], past_key_values=cache)
        cache.crop(-2)
        model(ids[:, 15:18], past_key_values=cache)
    trace = recording.trace()
    assert trace.tokens.ids.tolist() == ids[0, [*range(12), 15, 16, 17]].tolist()
    assert [trace.evicted_at[..., 10:12].tolist(), (trace.evicted_at != NEVER).sum()] == [[[[11, 11]] * 2] * 3, 2 * 6]
    assert np.flatnonzero(np.isnan(trace.nll)).tolist() == [0, 12]  # token 11 is not what 12 comes after


def test_equal_keys_are_told_apart_by_order() -> None:
    torch.manual_seed(0)
    config = BloomConfig(hidden_size=32, n_layer=2, n_head=4, vocab_size=VOCABULARY, eos_token_id=None)
    model = BloomForCausalLM(config).eval()  # it puts no positions into its keys: the first layer's are all equal
    cache = Cache(layers=[DynamicSlidingWindowLayer(5) for _ in range(2)])
    with core.record(model) as recording, torch.no_grad():
        for _ in range(10):
            model(torch.tensor([[3]]), past_key_values=cache, attention_mask=torch.ones(1, 1))
    first = cache.layers[0].keys[0, 0]
    assert (first == first[0]).all()
    assert (recording.trace().evicted_at == [4, 5, 6, 7, 8, 9, *[NEVER] * 4]).all()


def test_rows_that_a_mask_hides_are_gone(model) -> None:
    """As kvpress marks them; its own attention then writes over them."""
    ids, cache = ids_of(n=16), DynamicCache()
    attention = [layer.self_attn for layer in model.model.layers]
    with core.record(model) as recording, torch.no_grad():
        attention[1].masked_key_indices = tuple(map(torch.tensor, ([0, 0], [0, 1], [2, 5])))
        model(ids[:, :10], past_key_values=cache)  # kvpress masks nothing where queries and keys are equally many
        model(ids[:, 10:11], past_key_values=cache)
        cache.layers[1].keys[0, [0, 1], [2, 5]] = 1e5
        model(ids[:, 11:12], past_key_values=cache)
        attention[1].masked_key_indices = tuple(map(torch.tensor, ([0, 0, 0], [0, 1, 1], [2, 5, 11])))
    del attention[1].masked_key_indices
    expected = np.full((3, 2, 12), NEVER)
    expected[1, 0, 2] = expected[1, 1, 5] = 9
    expected[1, 1, 11] = 11
    assert (recording.trace().evicted_at == expected).all()


def test_the_tokens_are_those_of_the_language_model(tiny, tmp_path) -> None:
    lm = core.load_model(writer_model(tiny("llama-gqa").directory, tmp_path / "model"))
    with core.record(tiny("llama-gqa").reference("sdpa", torch.float32)) as recording, torch.no_grad():
        tiny("llama-gqa").reference("sdpa", torch.float32)(ids := torch.arange(10, 40)[None], use_cache=True)
    tokens, expected = recording.trace(lm.tokenizer).tokens, lm.as_tokens(ids[0].tolist())
    assert tokens.pieces == expected.pieces
    for name in ("ids", "offsets", "special", "continued"):
        ours, theirs = getattr(tokens, name), getattr(expected, name)
        assert ours.dtype == theirs.dtype and (ours == theirs).all()
    unnamed, expected = recording.trace().tokens, tiny("llama-gqa").lm.as_tokens(ids[0].tolist())
    assert (unnamed.pieces, unnamed.offsets.tolist()) == (expected.pieces, expected.offsets.tolist())


def test_a_recorded_trace_is_saved_and_read_again(model, tmp_path) -> None:
    with core.record(model) as recording, torch.no_grad():
        model.generate(ids_of(), past_key_values=ScriptedCache(3, at_random(6)), max_new_tokens=NEW)
    trace = recording.trace(name="<b>at random</b>")
    trace.save(tmp_path / "run.npz")
    again = Trace.load(tmp_path / "run.npz")
    assert again.policy == trace.policy and again.policy.label == "<b>at random</b>"
    assert again.policy.is_recorded and not again.policy.keeps_all
    assert (again.evicted_at == trace.evicted_at).all()
    for unknown in (again.importance_at_eviction, again.runner_up_importance, again.attention_received):
        assert np.isnan(unknown).all()
    assert recording.trace().policy.label == "Recorded"
    with pytest.raises(BadInput, match="61 characters"):
        recording.trace(name="x" * 61)


# -- the run is not disturbed --


def hooks(model) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


def test_nothing_of_the_run_changes(model) -> None:
    def run() -> torch.Tensor:
        torch.manual_seed(1)
        return model.generate(ids_of(), max_new_tokens=NEW, do_sample=True, temperature=2.0)

    expected = run()
    with core.record(model):
        assert torch.equal(run(), expected)


def test_all_is_as_it_was_afterwards_also_after_an_exception(model) -> None:
    cache, before = DynamicCache(), hooks(model)
    with pytest.raises(KeyboardInterrupt), core.record(model) as recording, torch.no_grad():
        model(ids_of(), past_key_values=cache)
        assert hooks(model) > before and "update" in vars(cache)
        raise KeyboardInterrupt
    assert hooks(model) == before and "update" not in vars(cache)
    assert len(recording.trace()) == N
    with core.record(model) as again, torch.no_grad():
        model(ids_of(), past_key_values=DynamicCache())
    assert len(again.trace()) == N


def test_an_update_that_the_cache_object_has_itself_is_there_again(model) -> None:
    cache, calls = DynamicCache(), []
    original = cache.update
    cache.update = own = lambda *args, **named: (calls.append(args[2]), original(*args, **named))[1]
    with core.record(model) as recording, torch.no_grad():
        model(ids_of(), past_key_values=cache)
    assert cache.update is own and calls == [0, 1, 2]
    assert (recording.trace().evicted_at == NEVER).all()


def test_a_copy_of_the_cache_is_a_cache_of_its_own(model) -> None:
    """Such as one that is copied to go on from the same prompt several times."""
    cache = DynamicCache()
    with core.record(model) as recording, torch.no_grad():
        model(ids_of(), past_key_values=cache)
        other = copy.deepcopy(cache)
        keys = torch.ones(1, 2, 1, 8)
        assert other.update(keys, keys, 0)[0].shape[2] == N + 1
    assert (cache.get_seq_length(), other.get_seq_length()) == (N, N + 1)
    assert len(recording.trace()) == N


def test_only_the_thread_that_records_is_recorded(model) -> None:
    own, go, gone = DynamicCache(), threading.Event(), threading.Event()

    def elsewhere() -> None:
        go.wait()
        with torch.no_grad():
            model(ids_of(n=20), past_key_values=DynamicCache())
        gone.set()

    thread = threading.Thread(target=elsewhere)
    thread.start()
    with core.record(model) as recording, torch.no_grad():
        model(ids_of(), past_key_values=own)
        go.set()
        gone.wait()
        model(torch.tensor([[5]]), past_key_values=own)
    thread.join()
    assert recording.trace().tokens.ids.tolist() == [*text("llama-gqa", N), 5]


def test_two_recordings_at_once_are_refused(model, tiny) -> None:
    with core.record(model) as recording:
        for same in (model, model.model):
            with pytest.raises(BadInput, match="recorded already"), core.record(same):
                pass
        with core.record(tiny("qwen2").reference("sdpa", torch.float32)) as other, torch.no_grad():
            other_ids = ids_of("qwen2", 5)
            tiny("qwen2").reference("sdpa", torch.float32)(other_ids, use_cache=True)
            model(ids_of(), use_cache=True)
    assert (len(recording.trace()), len(other.trace())) == (N, 5)


def test_a_cache_that_the_model_makes_itself(model) -> None:
    with core.record(model) as recording, torch.no_grad():
        cache = model(ids_of(), use_cache=True).past_key_values
        model(torch.tensor([[5]]), past_key_values=cache)
    assert len(recording.trace()) == N + 1 and "update" not in vars(cache)


def test_a_model_that_is_compiled(model) -> None:
    compiled, cache = torch.compile(model, backend="eager"), StaticCache(model.config, max_cache_len=32)
    ids = ids_of(n=20)
    with core.record(model) as recording, torch.no_grad():
        compiled(ids[:, :17], past_key_values=cache)
        for at in range(17, 20):
            compiled(ids[:, at : at + 1], past_key_values=cache)
    torch.compiler.reset()
    trace = recording.trace()
    assert trace.tokens.ids.tolist() == ids[0].tolist()
    assert (trace.evicted_at == NEVER).all() and not np.isnan(trace.nll[1:]).any()


def test_a_run_of_another_kind_does_not_matter(model) -> None:
    with core.record(model) as recording, torch.no_grad():
        model(ids_of(n=20), use_cache=False)
        model(ids_of(), use_cache=True)
    assert len(recording.trace()) == N
