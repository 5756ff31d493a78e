"""How much memory a model of the menu needs here, and how much there is."""

from pathlib import Path

import psutil
import pytest

from core import MODELS, free_bytes, load_model, weight_bytes
from core.loading import machine


def test_weights_take_what_a_loaded_model_has() -> None:
    lm = load_model()
    assert sum(weight.numel() * weight.element_size() for weight in lm.model.parameters()) == weight_bytes(lm.spec)


def test_a_number_takes_as_many_bytes_as_its_format(monkeypatch: pytest.MonkeyPatch) -> None:
    for dtype, size in (("float32", 4), ("bfloat16", 2)):
        monkeypatch.setattr(machine, "fast_dtype", lambda device, dtype=dtype: getattr(machine.torch, dtype))
        assert weight_bytes(MODELS["llama-3.1-8b-instruct"]) == 8_030_261_248 * size


def container(directory: Path, limit: str) -> Path:
    (directory / "memory.max").write_text(f"{limit}\n")
    (directory / "memory.current").write_text("700000\n")
    (directory / "memory.stat").write_text("anon 400000\nfile 300000\ninactive_file 100000\nactive_file 50000\n")
    return directory


@pytest.mark.skipif(machine.device_of("auto") == "cuda", reason="the memory of GPUs counts")
def test_free_memory_is_that_of_the_machine_or_of_its_container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "CGROUP", container(tmp_path, "1000000"))
    assert free_bytes() == 1_000_000 - 700_000 + 150_000
    for none in (container(tmp_path, "max"), tmp_path / "not there"):
        monkeypatch.setattr(machine, "CGROUP", none)
        assert free_bytes() == pytest.approx(psutil.virtual_memory().available, rel=0.2)
