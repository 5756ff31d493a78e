"""Replay in chunks against replay token by token, and its speed and memory at length."""

import resource
import subprocess
import sys
import time

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


def length(n: int) -> None:
    """Print seconds and the peak memory in MB of replaying n tokens in a process of its own."""
    lm = smollm2()
    tokens = long_text(lm, n)
    replay(lm, tokens[:256], TOVA)
    started = time.perf_counter()
    replay(lm, tokens, TOVA)
    print(time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def lengths() -> None:
    rows = {}
    for n in (512, 1024, 4096):
        command = [sys.executable, "-m", "tests.benchmarks.bench_replay", str(n)]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        seconds, megabytes = map(float, output.split())
        rows[f"{n} tokens"] = f"{n / seconds:.0f} tokens/s, peak {megabytes:.0f} MB"
    table("replay by length, TOVA, budget 64 (one process each)", rows)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        length(int(sys.argv[1]))
    else:
        chunks()
        lengths()
