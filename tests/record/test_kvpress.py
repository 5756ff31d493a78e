"""What `core.record` finds under presses of kvpress is what their own scores say they keep."""

from collections import defaultdict
from typing import Any

import numpy as np
import pytest
import torch
from kvpress import (
    AdaKVPress,
    DecodingPress,
    DMSPress,
    KeyRerotationPress,
    KnormPress,
    MergingPress,
    PrefillDecodingPress,
    SnapKVPress,
    StreamingLLMPress,
    ThinKPress,
    TOVAPress,
)
from transformers import DynamicCache

import core
from core.errors import CannotRecord
from tests.record.models import HEADS, IDS, LAYERS, NEW, N, model_of

LAST = N + NEW - 2  # the last token that is written is not read


class Scores:
    """Of a press: all that its `score` gave, by layer, in order; each (KV heads, rows)."""

    def __init__(self, press: Any) -> None:
        self.of_layer: dict[int, list[np.ndarray]] = defaultdict(list)
        scores_of = press.score

        def score(module: Any, *args: Any, **named: Any) -> torch.Tensor:
            scores = scores_of(module, *args, **named)
            self.of_layer[module.layer_idx].append(scores[0].double().numpy().copy())
            return scores

        press.score = score


def recorded(model: Any, press: Any) -> core.Trace:
    with core.record(model) as recording, press(model):
        out = model.generate(IDS, max_new_tokens=NEW, do_sample=False)
    trace = recording.trace()
    assert trace.tokens.ids.tolist() == out[0, :-1].tolist()
    assert (trace.prompt_length, trace.prefill) == (N, "one-shot")
    return trace


def nothing_evicted() -> np.ndarray:
    return np.full((LAYERS, HEADS, LAST + 1), core.NEVER)


@pytest.mark.parametrize("name", ["llama", "qwen3"])
@pytest.mark.parametrize(
    "press",
    [
        KnormPress(0.5),
        SnapKVPress(0.6, window_size=4, kernel_size=3),
        StreamingLLMPress(0.5, n_sink=3),
        TOVAPress(0.7),
    ],
    ids=lambda press: type(press).__name__,
)
def test_prompts(name: str, press: Any) -> None:
    scores = Scores(press)
    trace = recorded(model_of(name), press)
    kept = int(N * (1 - press.compression_ratio))
    expected = nothing_evicted()
    for layer in range(LAYERS):
        (of_layer,) = scores.of_layer[layer]
        for head in range(HEADS):
            expected[layer, head, np.argsort(of_layer[head], kind="stable")[: N - kept]] = N - 1
    if isinstance(press, StreamingLLMPress):  # its scores are equal among those that stay, and among those that go
        expected[:] = core.NEVER
        expected[..., 3 : 3 + N - kept] = N - 1
    assert (trace.evicted_at == expected).all()


@pytest.mark.parametrize("name", ["llama", "qwen3"])
def test_heads_that_compete_are_read_by_their_mask(name: str) -> None:
    """AdaKV masks rows and leaves them in the cache, where its attention writes over their keys."""
    press = AdaKVPress(KnormPress(0.5), alpha_safeguard=0.4)
    scores = Scores(press.press)
    trace = recorded(model_of(name), press)
    kept, safe = N // 2, int(N // 2 * 0.4)
    expected, uneven = nothing_evicted(), 0
    for layer in range(LAYERS):
        (of_layer,) = scores.of_layer[layer]
        order = np.argsort(-of_layer, axis=1)
        np.put_along_axis(of_layer, order[:, :safe], np.inf, axis=1)
        head, position = np.divmod(np.argsort(of_layer.ravel())[: HEADS * (N - kept)], N)
        expected[layer, head, position] = N - 1
        uneven += np.ptp(np.bincount(head, minlength=HEADS))
    assert uneven  # heads do have different numbers of rows
    assert (trace.evicted_at == expected).all()


class Book:
    """Which positions each layer's KV heads hold, as presses that share it write it down.

    Attributes:
        held: by layer, (KV heads, rows) in the order of the cache.
        evicted_at: (layers, KV heads, n), as in a trace.
    """

    def __init__(self) -> None:
        self.held = {layer: np.zeros((HEADS, 0), int) for layer in range(LAYERS)}
        self.evicted_at = nothing_evicted()
        self.read = dict.fromkeys(range(LAYERS), 0)

    def cut(self, layer: int, scores: np.ndarray, kept: int) -> None:
        """Only the rows with the highest scores stay, the highest first."""
        held, rows = self.held[layer], scores.shape[1]
        new = np.arange(self.read[layer], self.read[layer] + rows - held.shape[1])
        held = np.concatenate([held, np.broadcast_to(new, (HEADS, len(new)))], axis=1)
        self.read[layer] += len(new)
        order = np.argsort(-scores, axis=1, kind="stable")
        for head in range(HEADS):
            self.evicted_at[layer, head, held[head, order[head, kept:]]] = self.read[layer] - 1
        self.held[layer] = np.take_along_axis(held, order[:, :kept], axis=1)


class Booked(KnormPress):
    """Knorm, with a book."""

    book: Book

    def compress(self, module, hidden_states, keys, values, attentions, kwargs):
        scores = self.score(module, hidden_states, keys, values, attentions, kwargs)[0].double().numpy()
        self.book.cut(module.layer_idx, scores, int(keys.shape[2] * (1 - self.compression_ratio)))
        return super().compress(module, hidden_states, keys, values, attentions, kwargs)


@pytest.mark.parametrize("name", ["llama", "qwen3"])
@pytest.mark.parametrize("at_prefill", [0.5, 0])
def test_decoding(name: str, at_prefill: float) -> None:
    prefill, decode = Booked(at_prefill), Booked()
    prefill.book = decode.book = book = Book()
    press: Any = DecodingPress(decode, compression_interval=3, target_size=10)
    if at_prefill:
        press = PrefillDecodingPress(prefill, press)
    trace = recorded(model_of(name), press)
    assert set(np.unique(book.evicted_at)) == {*([N - 1] if at_prefill else []), N + 2, N + 5, core.NEVER}
    assert (trace.evicted_at == book.evicted_at).all()
    assert (trace.kept(N + 5).sum(axis=-1) == 10).all()


def test_a_threshold_at_prefill_and_at_decode() -> None:
    """DMS masks a row as soon as it is out of a window, if its score is low."""
    window, threshold = 5, -4.5
    press = DMSPress(KnormPress(), threshold=threshold, sliding_window_size=window, decoding=True)
    scores = Scores(press.press)
    trace = recorded(model_of("llama"), press)
    position = np.arange(LAST + 1)
    leaves = np.maximum(position + window, N - 1)
    low = np.stack([np.concatenate(scores.of_layer[layer], axis=1) < threshold for layer in range(LAYERS)])
    assert 0.1 < low.mean() < 0.9
    assert (trace.evicted_at == np.where(low & (leaves <= LAST), leaves, core.NEVER)).all()


def test_a_prompt_that_the_model_without_its_head_has_read() -> None:
    """As the pipeline of kvpress does it: the context under the press, then the question without."""
    model, cache, press = model_of("llama"), DynamicCache(), KnormPress(0.5)
    scores = Scores(press)
    with core.record(model) as recording, torch.no_grad():
        with press(model):
            model.model(input_ids=IDS[:, :20], past_key_values=cache)
        model(IDS[:, 20:], past_key_values=cache, position_ids=torch.arange(20, N)[None])
    trace = recording.trace()
    expected = nothing_evicted()[..., :N]
    for layer in range(LAYERS):
        order = np.argsort(scores.of_layer[layer][0], axis=1)
        np.put_along_axis(expected[layer], order[:, :10], 19, axis=1)
    assert (trace.evicted_at == expected).all()
    assert np.flatnonzero(~np.isnan(trace.nll)).tolist() == list(range(21, N))


@pytest.mark.parametrize(
    ("press", "why"),
    [
        (KeyRerotationPress(KnormPress(0.5)), "none of the keys that were put in"),
        (ThinKPress(0.5), "none of the keys that were put in"),
        (MergingPress(KnormPress(0.5)), "other values than were put in"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_keys_or_values_that_are_changed_are_refused(press: Any, why: str) -> None:
    model = model_of("llama")
    with press(model):
        expected = model.generate(IDS, max_new_tokens=NEW, do_sample=False)
    with core.record(model) as recording, press(model):
        out = model.generate(IDS, max_new_tokens=NEW, do_sample=False)
    assert torch.equal(out, expected)
    with pytest.raises(CannotRecord, match=why):
        recording.trace()
