"""Whether the weights in a model's files are whole, and are those that its class needs.

transformers fills whatever a file lacks with random numbers and leaves out whatever its class does not know: the
model then runs, but it is not what its files say.
"""

import json
import math
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from core.engine.capability import not_numbers
from core.errors import DamagedModel, UnsupportedModel
from core.messages import Message

INDEX = "model.safetensors.index.json"
MASK = ".masked_bias"  # how the name ends of what hides later tokens; GPT-2's class does not say that it has no use


def check_files(directory: Path) -> None:
    """Refuse a directory unless every file of its safetensors weights is there and whole.

    Raises:
        UnsupportedModel: it has no safetensors weights, or an adapter beside them.
        DamagedModel: a file is missing or broken.
    """
    if (directory / "adapter_config.json").is_file():
        raise UnsupportedModel(
            "There is an adapter beside the weights (adapter_config.json), which would be left out. Merge it into the "
            "weights first, or take its files out of the directory."
        )
    for name in _shards(directory):
        file = directory / name
        if not file.is_file():
            raise DamagedModel(
                "The file {file} is missing, which {index} names. Download the model again.", file=name, index=INDEX
            )
        try:
            with safe_open(file, "pt"):
                pass
        except (SafetensorError, OSError) as e:
            raise DamagedModel(
                "The file {file} is not a whole safetensors file ({reason}). Download the model again.",
                file=name,
                reason=str(e),
            ) from e


def _shards(directory: Path) -> list[str]:
    """The names of the files that hold the weights."""
    if (directory / "model.safetensors").is_file():
        return ["model.safetensors"]
    if not (directory / INDEX).is_file():
        raise UnsupportedModel(
            "There is no model.safetensors. Weights must be safetensors or GGUF: convert them, or choose a model that "
            "comes with such."
        )
    try:
        names = json.loads((directory / INDEX).read_text(encoding="utf-8"))["weight_map"].values()
        return sorted({str(name) for name in names})
    except (ValueError, LookupError, TypeError, AttributeError) as e:
        raise DamagedModel(
            "The file {file} does not say which file holds which tensor. Download it again.", file=INDEX
        ) from e


def check_whole(model: Any, info: dict[str, Any]) -> None:
    """Refuse a model unless all its tensors, and no others, came from its files, and in the right shape.

    Args:
        model: transformers' own.
        info: what its loading says of missing, unexpected and mismatched tensors, after it has left out those that
            are tied, that are no weights, and that the class declares to be of no use.

    Raises:
        DamagedModel: they do not match, or hold a number that is none.
        NumericalError: they hold a number too great for float16.
    """
    said = model.config.architectures
    kind, saved_as = type(model).__name__, said[0] if isinstance(said, list) and said else Message("an unknown class")
    if missing := info["missing_keys"]:
        raise DamagedModel(
            "The weights lack {tensors} of {kind}; they were saved as {saved}. Download the model again, or choose "
            "one that was saved whole and to write text.",
            tensors=_named(missing),
            kind=kind,
            saved=saved_as,
        )
    if mismatched := info["mismatched_keys"]:
        name, found, expected = min(mismatched)
        raise DamagedModel(
            "The tensor {name} has the shape {found} where config.json says {expected}. Take the config.json that "
            "came with the weights.",
            name=name,
            found=tuple(found),
            expected=tuple(expected),
        )
    if unexpected := [name for name in info["unexpected_keys"] if not name.endswith(MASK)]:
        raise DamagedModel(
            "The weights have {tensors}, which {kind} does not use; they were saved as {saved}. Download the model "
            "again, or choose one that was saved to write text.",
            tensors=_named(unexpected),
            kind=kind,
            saved=saved_as,
        )
    _check_numbers(model)


def _named(tensors: Collection[str]) -> Message:
    """How many they are, and the first three."""
    some = ", ".join(sorted(tensors)[:3]) + (", …" if len(tensors) > 3 else "")
    return Message.counted("{n:,} tensor ({names})", "{n:,} tensors ({names})", n=len(tensors), names=some)


def _check_numbers(model: Any) -> None:
    broken = list(_not_finite(model))
    if any(weight.isnan().any() for _, weight in broken) or (broken and model.dtype != torch.float16):
        raise DamagedModel(
            "The weights have {tensors} with NaN or infinite numbers, so they are damaged. Download them again.",
            tensors=_named([name for name, _ in broken]),
        )
    if broken:
        raise not_numbers(model.dtype)


def _not_finite(model: Any) -> Iterator[tuple[str, torch.Tensor]]:
    for name, parameter in model.named_parameters():
        weight = parameter.detach()
        if weight.is_meta or not weight.is_floating_point() or weight.element_size() < 2:
            continue  # on disk for want of memory, or quantized
        # a sum is many times as fast, and finite unless a number is not, or the sum itself is too great
        if not math.isfinite(weight.sum(dtype=torch.float32)) and not weight.isfinite().all():
            yield name, weight
