"""`core.record` with the transformers that kvpress wants, which the app does not have."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import core
from tests.record.models import IDS, NEW, WINDOW, N, model_of, tokenizer_of

LAST = N + NEW - 2


@pytest.mark.parametrize("implementation", ["dynamic", "static"])
def test_caches_of_transformers(implementation: str, tmp_path: Path) -> None:
    for name in ("llama", "qwen3", "mistral"):
        model = model_of(name)
        with core.record(model) as recording:
            model.generate(IDS, max_new_tokens=NEW, do_sample=False, cache_implementation=implementation)
        recording.trace().save(tmp_path / "run.npz")
        trace, position = core.Trace.load(tmp_path / "run.npz"), np.arange(LAST + 1)
        expected = np.full(LAST + 1, core.NEVER)
        if name == "mistral":  # the dynamic cache drops a row early that the static one writes over late
            gone = LAST + 1 - WINDOW + (implementation == "dynamic")
            expected[:gone] = np.maximum(position + WINDOW - 1, N - 1)[:gone]
        assert (trace.evicted_at == expected).all()
        assert trace.sliding_windows == ((WINDOW,) * 3 if name == "mistral" else ())


def test_texts_of_tokens() -> None:
    model = model_of("llama")
    with core.record(model) as recording, torch.no_grad():
        model(IDS, use_cache=True)
    text = "".join(recording.trace(tokenizer_of()).tokens.pieces)
    assert text.split() == [f"w{id_}" for id_ in IDS[0].tolist()]


def test_what_the_app_needs_besides_is_not_imported() -> None:
    check = (
        "import sys, core; core.record; print({'gradio', 'plotly', 'gguf', 'bm25s', 'diskcache'} & set(sys.modules))"
    )
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", check], cwd=root, stdout=subprocess.PIPE).stdout == b"set()\n"
