"""Replay in chunks against replay token by token, and its speed and memory at length."""

import resource
import subprocess
import sys

from core import make_policy, replay
from tests.benchmarks.timing import long_text, medians, smollm2, table

TOVA = make_policy("tova", budget=64)


def chunks() -> None:
    lm = smollm2()
    tokens = long_text(lm, 512)
    replay(lm, tokens, TOVA)
    taken = medians(
        {
            "chunk=256": lambda: replay(lm, tokens, TOVA),
            "chunk=1": lambda: replay(lm, tokens, TOVA, chunk=1),
        },
        rounds=3,
    )
    ratio = taken["chunk=1"] / taken["chunk=256"]
    table(
        "replay, TOVA, budget 64, 512 tokens, float32 (medians of 3)",
        {name: f"{seconds:.2f} s" for name, seconds in taken.items()} | {"ratio (at least 14)": f"{ratio:.1f}"},
    )


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
