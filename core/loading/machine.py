"""What this machine has for a model: a device, the number format that it is fast in, and memory."""

from pathlib import Path

import psutil
import torch

from core.errors import BadInput
from core.model.registry import ModelSpec

CGROUP = Path("/sys/fs/cgroup")  # a container's own limit, which the machine's free memory does not tell


def device_of(device: str) -> str:
    """The best device that there is for ``"auto"``; else the one asked for.

    Raises:
        BadInput: this machine has no such device.
    """
    available = ["cpu"]
    if torch.backends.mps.is_available():
        available.insert(0, "mps")
    if torch.cuda.is_available():
        available.insert(0, "cuda")
    if device != "auto" and device not in available:
        raise BadInput(
            "device must be one of auto, {known} on this machine, not {device!r}.",
            known=", ".join(available),
            device=device,
        )
    return available[0] if device == "auto" else device


def fast_dtype(device: str) -> torch.dtype:
    """The number format in which weights are loaded if none is asked for."""
    if device == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    if device == "mps":
        return torch.float16
    able = torch.cpu.get_capabilities()
    return torch.bfloat16 if able.get("avx512_bf16") or able.get("amx_bf16") else torch.float32


def weight_bytes(spec: ModelSpec) -> int:
    """How much memory the weights of a model take here."""
    return spec.parameters * fast_dtype(device_of("auto")).itemsize


def free_bytes() -> int:
    """How much memory is free for weights: of all GPUs, if there are any, else of the machine or its container."""
    if device_of("auto") == "cuda":
        return sum(torch.cuda.mem_get_info(gpu)[0] for gpu in range(torch.cuda.device_count()))
    return min(int(psutil.virtual_memory().available), _left_in_container())


def _left_in_container() -> int:
    """What its memory limit leaves; cached files can make room, so they count as free."""
    try:
        limit = int((CGROUP / "memory.max").read_text())  # "max" if there is none
        used = int((CGROUP / "memory.current").read_text())
        lines = (CGROUP / "memory.stat").read_text().splitlines()
        files = sum(int(line.split()[1]) for line in lines if line.startswith(("inactive_file ", "active_file ")))
    except (OSError, ValueError):
        return int(psutil.virtual_memory().total)
    return limit - used + files
