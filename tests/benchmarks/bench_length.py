"""A text far beyond the model's context: speed, perplexity and memory, at its beginning and at its end.

``python -m tests.benchmarks.bench_length 5000`` reads a shorter one.
"""

import json
import resource
import subprocess
import sys
from time import perf_counter

import numpy as np

from core import Trace, make_policy
from core.engine.options import ReadOptions
from core.engine.reading import LONGEST_CHUNK, read_chunks, start_reading
from tests.benchmarks.timing import long_text, smollm2, table

TOVA = make_policy("tova", budget=64)
LENGTH = 20_000  # 100,000 take a quarter of an hour on two slow cores


def measure(n: int) -> None:
    """Print, as JSON, what reading n tokens takes in a process of its own."""
    lm = smollm2()
    tokens = long_text(lm, n)
    batch = start_reading(lm, tokens, [TOVA], ReadOptions(positions="in-cache", chunk=LONGEST_CHUNK))
    times, stops = [perf_counter()], [0]
    for read, _ in read_chunks(batch, tokens):
        times.append(perf_counter())
        stops.append(read.stop)
    trace = batch.runs[0].trace(lm.model_id, tokens)
    tenth = n // 10
    seconds = np.interp([0, tenth, n - tenth, n], stops, times)
    found = {
        "speed": [tenth / (seconds[1] - seconds[0]), tenth / (seconds[3] - seconds[2])],
        "perplexity": [float(np.exp(np.nanmean(part))) for part in (trace.nll[:tenth], trace.nll[-tenth:])],
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "record": megabytes_of_record(trace),
        "seconds": times[-1] - times[0],
    }
    print(json.dumps(found))


def megabytes_of_record(trace: Trace) -> float:
    """Of the arrays (layers, groups, n), which must grow: those of the run, which the trace takes over but for one."""
    return trace.evicted_at.size * (20 + 4) / 1e6


def main(n: int) -> None:
    found = {}
    for length in (n // 10, n):
        command = [sys.executable, "-m", "tests.benchmarks.bench_length", str(length), "measure"]
        found[length] = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
    rows = {}
    for length, own in found.items():
        rows[f"{length:,} tokens, in all"] = f"{own['seconds']:.0f} s"
        rows[f"{length:,} tokens, peak memory (of it the record)"] = f"{own['peak']:.0f} MB ({own['record']:.0f} MB)"
    first, last = found[n]["speed"]
    rows |= {
        "speed of the first tenth and of the last": f"{first:.0f} and {last:.0f} tokens/s",
        "the last relative to the first (at least 0.8)": f"{last / first:.2f}",
        "perplexity of the first tenth and of the last": "{:.1f} and {:.1f}".format(*found[n]["perplexity"]),
    }
    table("replay beyond the model's context, TOVA, budget 64, in-cache positions", rows)


if __name__ == "__main__":
    length = int(sys.argv[1]) if len(sys.argv) > 1 else LENGTH
    if "measure" in sys.argv:
        measure(length)
    else:
        main(length)
