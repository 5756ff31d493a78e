"""Whether a model's attention can be replaced faithfully, tried on a few tokens: else a picture would be fiction."""

from typing import TYPE_CHECKING, Any

import torch

from core import batch
from core.errors import UnsupportedModel
from core.policies import Full
from core.rotary import LateRotation, Rotary
from core.run import Run

if TYPE_CHECKING:
    from core.models import LanguageModel


def check_layers(config: Any) -> None:
    """Refuse a configuration with layers that hold no multi-state.

    Raises:
        UnsupportedModel: it has.
    """
    strange = set(getattr(config, "layer_types", None) or ()) - {"full_attention", "sliding_attention"}
    if strange:
        raise UnsupportedModel(
            f"This {config.model_type} model has layers of the kind {', '.join(sorted(strange))}, which hold no "
            "multi-state of keys and values as the policies need. Choose a model of another architecture."
        )


def check_attention(lm: "LanguageModel") -> None:
    """Refuse a model unless, under the full policy, our attention gives what its own eager attention gives.

    Raises:
        UnsupportedModel: it does not.
    """
    ids = _probe(lm)
    count = ids.shape[1]
    lm.model.set_attn_implementation("eager")
    with torch.inference_mode():
        expected = lm.model(ids, use_cache=False).logits.float()
    lm.model.set_attn_implementation(batch.ATTENTION)
    found = _output(lm, ids, range(count))
    # eager attention takes its softmax in float32 and its logits in the model's own precision
    off = (found - expected).abs().max().item()
    if not off <= _tolerance(lm, expected):
        raise UnsupportedModel(
            f"{lm.model_id} ({lm.model.config.model_type}) does not give the same output under our attention as under "
            f"its own (they differ by {off:.2g}), so a picture of it would be fiction. Choose another architecture."
        )


def check_rotary(lm: "LanguageModel", rotary: Rotary) -> None:
    """Refuse a model unless, under the full policy, its output is the same when rows are numbered from 0 at every step.

    The text does not start at 0, so that the output is the same only if nothing counts but how far apart rows are.

    Raises:
        UnsupportedModel: it is not.
    """
    ids = _probe(lm)
    chunk = range(5, 5 + ids.shape[1])
    expected = _output(lm, ids, chunk)
    off = (_output(lm, ids, chunk, LateRotation(rotary, "in-cache")) - expected).abs().max().item()
    if not off <= _tolerance(lm, expected):
        raise UnsupportedModel(
            f"{lm.model_id} ({lm.model.config.model_type}) does not give the same output when its rows are numbered "
            f"in the multi-state and none is evicted (it differs by {off:.2g}), so a picture of it would be fiction. "
            'Use positions="original", or choose another architecture.'
        )


def _probe(lm: "LanguageModel") -> torch.Tensor:
    """(1, 8) ids from all over the vocabulary.

    Neighbours would not do: the first of a vocabulary are often reserved, and from a run of tokens that it was never
    trained on SmolLM2 makes something else at every rounding.
    """
    ids = (2 * torch.arange(8, device=lm.device) + 1) * lm.vocabulary_size // 16
    return ids[None]


def _output(lm: "LanguageModel", ids: torch.Tensor, chunk: range, late: LateRotation | None = None) -> torch.Tensor:
    """The logits of tokens at these positions, with nothing before them, under the full policy."""
    run = Run(Full(), layers=lm.n_layers, kv_heads=lm.n_kv_heads, capacity=chunk.stop, prompt_length=chunk.stop)
    return batch.Batch(lm, [run], late=late).read(ids, chunk).float()


def _tolerance(lm: "LanguageModel", logits: torch.Tensor) -> float:
    relative = {torch.float64: 1e-6, torch.float32: 1e-4}.get(lm.model.dtype, 5e-2)
    return relative * max(1.0, logits.abs().max().item())
