"""Replay in chunks against replay token by token and a plain forward pass, and its speed and memory at length."""

import resource
import subprocess
import sys

import torch
from transformers import DynamicCache

from core import LanguageModel, Tokens, make_policy, replay
from tests.benchmarks.timing import long_text, medians, smollm2, table

TOVA = make_policy("tova", budget=64)


def chunks() -> None:
    lm = smollm2()
    tokens = long_text(lm, 512)
    plain(lm, tokens)
    replay(lm, tokens, TOVA)
    taken = medians(
        {
            "a plain forward pass of transformers, same chunks": lambda: plain(lm, tokens),
            "chunk=256": lambda: replay(lm, tokens, TOVA),
        },
        rounds=9,
    ) | medians({"chunk=1": lambda: replay(lm, tokens, TOVA, chunk=1)}, rounds=3)
    forward, whole, single = taken.values()
    table(
        "replay, TOVA, budget 64, 512 tokens, float32 (medians)",
        {name: f"{seconds:.2f} s" for name, seconds in taken.items()}
        | {
            "chunk=256, times as fast as chunk=1 (at least 20)": f"{single / whole:.1f}",
            "chunk=256, tokens/s of the plain pass (at least 85 %)": f"{forward / whole:.0%}",
        },
    )


def plain(lm: LanguageModel, tokens: Tokens, chunk: int = 256) -> None:
    """Transformers' own attention and cache, nothing evicted, all logits made."""
    ids, cache = torch.as_tensor(tokens.ids, dtype=torch.long)[None], DynamicCache()
    with torch.inference_mode():
        for start in range(0, len(tokens), chunk):
            lm.model(ids[:, start : start + chunk], past_key_values=cache, use_cache=True)


def peak(n: int) -> None:
    """Print the peak memory in MB of replaying n tokens in a process of its own."""
    lm = smollm2()
    replay(lm, long_text(lm, n), TOVA)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def lengths() -> None:
    lm = smollm2()
    texts = {n: long_text(lm, n) for n in (1024, 4096)}
    taken = medians({str(n): lambda n=n: replay(lm, texts[n], TOVA) for n in texts}, rounds=3)
    speed = {n: n / taken[str(n)] for n in texts}
    rows = {f"{n} tokens": f"{speed[n]:.0f} tokens/s" for n in texts}
    rows["speed at 4096 relative to 1024 (at least 0.8)"] = f"{speed[4096] / speed[1024]:.2f}"
    for n in texts:
        command = [sys.executable, "-m", "tests.benchmarks.bench_replay", str(n)]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        rows[f"peak memory of a process that reads {n} tokens"] = f"{float(output):.0f} MB"
    table("replay by length, TOVA, budget 64 (medians of 3)", rows)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        peak(int(sys.argv[1]))
    else:
        chunks()
        lengths()
