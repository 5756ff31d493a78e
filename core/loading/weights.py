"""Checks that a model's weight files are complete and match its class.

transformers fills missing tensors with random numbers and ignores tensors that its class does not know. The model then
runs, but it is not the model that was saved.
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
MASK = ".masked_bias"  # names of unused buffers in old GPT-2 files; GPT-2's class does not declare them unused


def check_files(directory: Path) -> None:
    """Refuse a directory unless all files of its safetensors weights are there and complete.

    Raises:
        UnsupportedModel: there are no safetensors weights, or there is an adapter beside them.
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
    """Refuse a model unless its files have exactly its tensors, in the right shapes and with finite numbers.

    Args:
        model: the model of transformers.
        info: the loading info of transformers, with the names of missing, unexpected and mismatched tensors. Tied
            tensors, and those that the class declares unused, are not among them.

    Raises:
        DamagedModel: tensors do not match, or contain NaN or infinite numbers.
        NumericalError: tensors contain infinite numbers, and the model was loaded in float16.
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
    """How many tensors these are, and the names of the first three."""
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
            continue  # offloaded to disk, or quantized
        # the sum is many times as fast, and it is never finite if one of the numbers is not
        if not math.isfinite(weight.sum(dtype=torch.float32)) and not weight.isfinite().all():
            yield name, weight
