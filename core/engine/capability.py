"""Checks, on a few tokens, that a model gives the same output under our attention as under its own."""

from typing import Any
from weakref import WeakKeyDictionary

import torch
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
)

from core.engine.attention import ATTENTION
from core.engine.batch import Batch
from core.engine.layer_attention import LayerAttention
from core.engine.multi_state import Run
from core.engine.rotation import LateRotation, Rotary
from core.errors import DamagedModel, NumericalError, UnsupportedModel, UserError
from core.model.language_model import LanguageModel
from core.policies import Full

# Larger numbers in a configuration are mistakes, which would otherwise show only after hours or when memory is full.
MOST = {
    "num_hidden_layers": 1_000,
    "num_attention_heads": 10_000,
    "num_key_value_heads": 10_000,
    "hidden_size": 1_000_000,
    "vocab_size": 10_000_000,
}

TRIES, SHAKINESS = 4, 2.0  # of `_shakiness`, and how many times as far an output may be off


def class_for(config: Any) -> Any:
    """The class of transformers that loads such a model to write text, or text about images; None if there is none."""
    if type(config) in MODEL_FOR_CAUSAL_LM_MAPPING:
        return AutoModelForCausalLM
    return AutoModelForImageTextToText if type(config) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING else None


def check_layers(config: Any) -> None:
    """Refuse a configuration, before its weights are loaded, that cannot be that of a model we support.

    Raises:
        UnsupportedModel: no decoder-only language model, an impossible size, or layers without keys and values.
    """
    if getattr(config, "is_encoder_decoder", False) or class_for(config) is None:
        raise UnsupportedModel(
            "transformers has no decoder-only language model of the type {type}. Choose a model of another "
            "architecture.",
            type=config.model_type,
        )
    text = config.get_text_config()
    if not hasattr(text, "num_attention_heads"):
        raise UnsupportedModel(
            "The configuration of this {type} model names no attention heads, so it holds no multi-state as the "
            "policies need. Choose a model of another architecture.",
            type=config.model_type,
        )
    for name, most in MOST.items():
        said = getattr(text, name, None)
        if said is not None and not 1 <= said <= most:
            raise UnsupportedModel(
                "The configuration of this {type} model says that {name} is {said}; from 1 to {most} is possible. "
                "Take the config.json that came with the weights.",
                type=config.model_type,
                name=name,
                said=said,
                most=most,
            )
    strange = set(getattr(text, "layer_types", None) or ()) - {"full_attention", "sliding_attention"}
    if strange:
        raise UnsupportedModel(
            "This {type} model has layers of the kind {kinds}, which hold no multi-state of keys and values as the "
            "policies need. Choose a model of another architecture.",
            type=config.model_type,
            kinds=", ".join(sorted(strange)),
        )


def check_attention(lm: "LanguageModel") -> None:
    """Refuse a model unless, under the full policy, our attention gives what its own eager attention gives.

    Our attention reads the text in two chunks, the model's own in one. So the outputs also differ if the model hands on
    anything but keys and values from one chunk to the next.

    Raises:
        UnsupportedModel: the outputs differ, or the model cannot read a text at all.
        NumericalError: the model's numbers overflow in float16.
        DamagedModel: the model's output is not a number.
    """
    ids = _probe(lm, 9)
    states = _Witness(lm, ids.shape[1])
    try:
        lm.model.set_attn_implementation("eager")
        with torch.inference_mode():
            expected = lm.model(ids, use_cache=False).logits.float()
        lm.model.set_attn_implementation(ATTENTION)
        found = _output(states, ids, [range(8), range(8, 9)])
    except (UserError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as e:  # an unsupported architecture may raise anything
        raise UnsupportedModel(
            "{model} cannot read a text under our attention ({kind}: {why}). Choose another architecture.",
            model=_named(lm),
            kind=type(e).__name__,
            why=str(e),
        ) from e
    if not (expected.logsumexp(dim=-1).isfinite().all() and found.logsumexp(dim=-1).isfinite().all()):
        raise not_numbers(lm.model.dtype)
    # they need not be equal: eager attention has its logits in the model's precision, ours in float32
    off = (found - expected).abs().max().item()
    if not off <= _tolerance(lm, expected) and not off <= SHAKINESS * _shakiness(lm, ids, expected):
        raise UnsupportedModel(
            "{model} does not give the same output under our attention as under its own (they differ by {off:.2g}), "
            "so a picture of it would be fiction. Choose another architecture.",
            model=_named(lm),
            off=off,
        )
    _check_windows(lm, states.windows)


def _check_windows(lm: "LanguageModel", told: list[int | None]) -> None:
    """Refuse a model that has sliding windows but does not pass them to our attention, which would look beyond them.

    The output shows this only for a text longer than the window, which would take long to read.

    Args:
        lm: the model.
        told: for every layer, the window that was passed to our attention.

    Raises:
        UnsupportedModel: a window was not passed.
    """
    window, limit = getattr(lm.config, "sliding_window", None), lm.context_length
    if not window or (limit is not None and window >= limit):
        return
    kinds = getattr(lm.config, "layer_types", None) or ["sliding_attention"] * lm.n_layers
    if any(kind == "sliding_attention" and own is None for kind, own in zip(kinds, told, strict=True)):
        raise UnsupportedModel(
            "{model} has a sliding window of {window:,} tokens that it does not tell its attention, so a picture of "
            "a longer text would be fiction. Choose another architecture.",
            model=_named(lm),
            window=window,
        )


class _Witness(Batch):
    """A batch of one run under the full policy that records the sliding window of every layer in `windows`."""

    def __init__(self, lm: "LanguageModel", tokens: int, late: LateRotation | None = None) -> None:
        run = Run(Full(), layers=lm.n_layers, kv_heads=lm.n_kv_heads, capacity=tokens, prompt_length=tokens)
        super().__init__(lm, [run], late=late)
        self.windows: list[int | None] = []

    def attend(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, of: LayerAttention
    ) -> torch.Tensor:
        if len(self.windows) < self.layers:
            self.windows.append(of.window)
        return super().attend(layer, query, key, value, of)


_checked: WeakKeyDictionary[LanguageModel, Rotary] = WeakKeyDictionary()


def checked_rotary(lm: LanguageModel) -> Rotary:
    """The model's rotary embedding, for late rotation, after a test; the result is cached.

    The test: under the full policy, original and in-cache positions must give the same output for a text that starts
    at position 5. In-cache numbers start at 0, so this holds only if nothing counts but how far apart rows are.

    Raises:
        UnsupportedModel: the model has no rotary embedding, or one that cannot be applied late.
    """
    if lm in _checked:
        return _checked[lm]
    rotary = Rotary(lm)
    ids = _probe(lm, 8)
    chunks = [range(5, 13)]
    expected = _output(_Witness(lm, 13), ids, chunks)
    found = _output(_Witness(lm, 13, LateRotation(rotary, "in-cache")), ids, chunks)
    off = (found - expected).abs().max().item()
    if not off <= _tolerance(lm, expected):
        raise UnsupportedModel(
            "{model} does not give the same output when its rows are numbered in the multi-state and none is evicted "
            '(it differs by {off:.2g}), so a picture of it would be fiction. Use positions="original", or choose '
            "another architecture.",
            model=_named(lm),
            off=off,
        )
    _checked[lm] = rotary
    return rotary


def _probe(lm: "LanguageModel", count: int) -> torch.Tensor:
    """(1, count) ids, evenly spread over the vocabulary.

    Neighbouring ids would not do: the first are often reserved, and after several tokens that it was never trained on,
    the output of SmolLM2 changes greatly with rounding.
    """
    ids = (2 * torch.arange(count, device=lm.device) + 1) * lm.vocabulary_size // (2 * count)
    return ids[None]


def _output(states: Batch, ids: torch.Tensor, chunks: list[range]) -> torch.Tensor:
    """The logits of these ids, read into empty multi-states in these chunks."""
    first = chunks[0].start
    read = (states.read(ids[:, chunk.start - first : chunk.stop - first], chunk) for chunk in chunks)
    return torch.cat(list(read), dim=1).float()


def _named(lm: "LanguageModel") -> str:
    return f"{lm.model_id} ({lm.model.config.model_type})"


def _shakiness(lm: "LanguageModel", ids: torch.Tensor, logits: torch.Tensor) -> float:
    """How far these logits of the model's own attention move if the embeddings are off by a rounding or two.

    0 in float32 and float64. In half precision a layer with experts may send a token to others because of a rounding,
    and then the output moves more than `_tolerance` without any fiction.
    """
    if lm.model.dtype not in (torch.bfloat16, torch.float16):
        return 0.0
    generator, most = torch.Generator().manual_seed(0), 0.0

    def shake(module: Any, args: Any, output: torch.Tensor) -> torch.Tensor:
        by = torch.randint(-1, 2, output.shape, generator=generator) * 2 * torch.finfo(output.dtype).eps
        return output * (1 + by.to(output))

    lm.model.set_attn_implementation("eager")
    hook = lm.model.get_input_embeddings().register_forward_hook(shake)
    try:
        with torch.inference_mode():
            for _ in range(TRIES):
                shaken = lm.model(ids, use_cache=False).logits.float()
                most = max(most, (shaken - logits).abs().max().item())
    finally:
        hook.remove()
        lm.model.set_attn_implementation(ATTENTION)
    return most


def _tolerance(lm: "LanguageModel", logits: torch.Tensor) -> float:
    relative = {torch.float64: 1e-6, torch.float32: 1e-4}.get(lm.model.dtype, 5e-2)
    return relative * max(1.0, logits.abs().max().item())


def not_numbers(dtype: torch.dtype) -> NumericalError | DamagedModel:
    """The error for output that is infinite or NaN: float16 overflows above 65,504, other types only if damaged."""
    if dtype == torch.float16:
        return NumericalError("The model's numbers overflow in float16. Load it in bfloat16 or float32.")
    return DamagedModel("The model's output is not a number, so its weights are damaged. Download them again.")
