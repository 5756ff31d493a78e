"""What the README shows of kvpress runs as it stands there."""

import re
from pathlib import Path

import core
from tests.record.models import IDS, N, model_of, tokenizer_of

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
SNIPPETS = [snippet for snippet in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "kvpress" in snippet]


def test_snippets_run(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (snippet,) = SNIPPETS
    named = {"model": model_of("llama"), "tokenizer": tokenizer_of(), "inputs": {"input_ids": IDS}}
    exec(compile(snippet, "README.md", "exec"), named)
    trace = core.Trace.load("run.npz")
    assert trace.policy.label == "SnapKV, half"
    assert (trace.kept(N - 1).sum(axis=-1) == N // 2).all()
