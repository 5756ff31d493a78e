"""What a recording cannot tell is refused with the reason, and the run goes on undisturbed."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import DynamicCache, QuantizedCache, T5Config, T5ForConditionalGeneration

import core
from core.errors import BadInput, CannotRecord
from tests.conftest import text

N = 10
IDS = torch.tensor([text("llama-gqa", N)])
MORE = torch.tensor([[5]])


class Changing(DynamicCache):
    """Does something to the keys and values of layer 1 after they were put in."""

    def __init__(self, change: Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]) -> None:
        super().__init__()
        self.change = change

    def update(self, key_states, value_states, layer_idx, *more, **named):
        returned = super().update(key_states, value_states, layer_idx, *more, **named)
        if layer_idx == 1:
            layer = self.layers[1]
            layer.keys, layer.values = self.change(layer.keys.clone(), layer.values.clone())
        return returned


def rotated(keys, values):
    return torch.stack([-keys[..., 1], keys[..., 0], *keys[..., 2:].unbind(-1)], dim=-1), values


def merged(keys, values):
    values[:, :, 3] += values[:, :, 2]
    return keys[:, :, 3:], values[:, :, 3:]


def doubled(keys, values):
    return keys[:, :, [0, 0, 1]], values[:, :, [0, 0, 1]]


class Forgetful(DynamicCache):
    """Gives back the newest rows only, of the prompt, too."""

    def update(self, *args, **named):
        keys, values = super().update(*args, **named)
        return keys[:, :, -4:], values[:, :, -4:]


class Returning(DynamicCache):
    """Leaves out a row of layer 2 now and then."""

    def update(self, key_states, value_states, layer_idx, *more, **named):
        keys, values = super().update(key_states, value_states, layer_idx, *more, **named)
        if layer_idx == 2 and keys.shape[2] == N + 1:
            return torch.cat([keys[:, :, :3], keys[:, :, 4:]], 2), torch.cat([values[:, :, :3], values[:, :, 4:]], 2)
        return keys, values


def steps(model: Any, cache: Any = None, n: int = 3) -> None:
    cache = model(IDS, past_key_values=cache, use_cache=True).past_key_values
    for _ in range(n - 1):
        model(MORE, past_key_values=cache)


def repeated(keys, values):
    return keys.repeat_interleave(2, 1), values.repeat_interleave(2, 1)


class Odd(DynamicCache):
    """Gives back rows in a form of its own."""

    def __init__(self, form: Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]) -> None:
        super().__init__()
        self.form = form

    def update(self, *args, **named):
        return self.form(*super().update(*args, **named))


def embedded(model: Any) -> None:
    model(IDS, use_cache=False)
    model(inputs_embeds=torch.ones(1, N, model.config.hidden_size), use_cache=True)


def without_texts(keys, values):
    return keys[0], values[0]


def filled(model: Any) -> DynamicCache:
    return model(IDS, use_cache=True).past_key_values


def twice(model: Any) -> None:
    steps(model)
    steps(model)


def padded(model: Any) -> None:
    mask = torch.ones_like(IDS)
    mask[0, :2] = 0
    model.generate(IDS, attention_mask=mask, max_new_tokens=2, do_sample=False, pad_token_id=0)


def stopped(where: Callable[[Any], Any], passes: int) -> Callable[[Any], None]:
    """Stopped after that part of the model, in the last of so many passes."""

    def run(model: Any) -> None:
        cache = DynamicCache()
        for _ in range(passes - 1):
            model(IDS, past_key_values=cache)

        def stop(*_: Any) -> None:
            raise RuntimeError("in the middle")

        hook = where(model).register_forward_hook(stop)
        with pytest.raises(RuntimeError, match="in the middle"):
            model(IDS, past_key_values=cache)
        hook.remove()

    return run


def without_a_layer(model: Any) -> None:
    cache = filled(model)
    model.config.num_hidden_layers, all_layers = 2, model.config.num_hidden_layers
    model(MORE, past_key_values=cache)
    model.config.num_hidden_layers = all_layers
    model(MORE, past_key_values=cache)


def quantized(model: Any) -> None:
    steps(model, QuantizedCache("fp8", model.config), 1)


REFUSED: dict[str, tuple[Callable[[Any], Any], str]] = {
    "rotated": (lambda model: steps(model, Changing(rotated)), "layer 1, 10 rows have none of the keys"),
    "rotated at the end": (lambda model: steps(model, Changing(rotated), 1), "none of the keys that were put in"),
    "merged": (lambda model: steps(model, Changing(merged)), "layer 1, 1 rows have other values .* merges"),
    "doubled": (lambda model: steps(model, Changing(doubled)), "a row twice"),
    "quantized": (quantized, "Layer 0 holds its keys quantized"),
    "returning": (lambda model: steps(model, Returning()), "layer 2, token 3 was evicted and came back"),
    "never seen": (lambda model: steps(model, Forgetful()), "the row of token 0 to its own query"),
    "two texts": (lambda model: model(IDS.repeat(2, 1), use_cache=True), "2 texts were run at once"),
    "beams": (lambda model: model.generate(IDS, num_beams=3, max_new_tokens=4), "3 texts .* without beam search"),
    "two caches": (twice, "second cache"),
    "embeddings": (
        lambda model: model(inputs_embeds=torch.ones(1, 4, model.config.hidden_size), use_cache=True),
        "4 rows for tokens whose ids it did not embed",
    ),
    "embeddings after ids": (embedded, "10 rows for tokens whose ids it did not embed"),
    "several rows a head": (lambda model: steps(model, Odd(repeated), 1), r"keys \(1, 4, 10, 8\)"),
    "another form": (lambda model: steps(model, Odd(without_texts), 1), r"keys \(2, 10, 8\)"),
    "padded": (padded, "padded"),
    "stopped": (stopped(lambda model: model.model.layers[1], 1), "in the middle of a step"),
    "stopped later": (stopped(lambda model: model.model.layers[0], 2), "in the middle of a step"),
    "stopped inside": (stopped(lambda model: model.model.layers[2].self_attn.k_proj, 1), "in the middle of a step"),
    "without a layer": (without_a_layer, "Layer 2 left out some of the tokens"),
}


@pytest.fixture
def model(tiny):
    return tiny("llama-gqa").reference("sdpa", torch.float32)


@pytest.mark.parametrize("what", REFUSED)
def test_refused_with_the_reason(model, what: str) -> None:
    run, why = REFUSED[what]
    with core.record(model) as recording, torch.no_grad():
        run(model)
    with pytest.raises(CannotRecord, match=why):
        recording.trace()


def test_a_cache_that_is_not_empty_at_first(model) -> None:
    with torch.no_grad():
        cache = filled(model)
        with core.record(model) as recording:
            model(MORE, past_key_values=cache)
    with pytest.raises(CannotRecord, match="held 10 rows before the recording began"):
        recording.trace()
    assert "update" not in vars(cache)


def test_the_run_goes_on_as_without_a_recording(model) -> None:
    def run() -> list[int]:
        cache = Changing(rotated)
        return model.generate(IDS, past_key_values=cache, max_new_tokens=6, do_sample=False)[0].tolist()

    expected = run()
    with core.record(model):
        assert run() == expected


def test_nothing_recorded(model) -> None:
    with core.record(model) as recording, torch.no_grad():
        with pytest.raises(BadInput, match="still goes on"):
            recording.trace()
        model(IDS, use_cache=False)
    with pytest.raises(BadInput, match="no cache was used"):
        recording.trace()


def test_models_that_are_no_decoders() -> None:
    t5 = T5ForConditionalGeneration(T5Config(d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2, vocab_size=20))
    for model in (t5, torch.nn.Linear(2, 2), "a name"):
        with pytest.raises(BadInput, match=rf"{type(model).__name__} is no decoder"), core.record(model):
            pass
