"""Threads that compute: the app alone beside torch's default, and two replicas beside one app.

Threads of one computation wait for each other actively. Alone that is the fastest; but where more threads compute
than there are cores, those that wait keep the others from working. So one app takes all cores, and replicas share
them out by OMP_NUM_THREADS, as the README's section on reverse proxies has it.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from tests.benchmarks.timing import long_text, medians, smollm2, table

READING, WRITING = "256 tokens read under TOVA", "8 tokens written by five policies in lockstep"
ROUNDS = 7


def work(as_app: bool) -> None:
    """Do a piece of work for every line of the input, and answer with a line."""
    if as_app:
        import app  # noqa: F401, PLC0415 (for what it sets up before torch is loaded)
    from core import generate, make_policy, replay  # noqa: PLC0415

    lm = smollm2()
    tokens, tova = long_text(lm, 256), make_policy("tova", budget=64)
    five = [tova, *(make_policy(key, budget=64) for key in ("window", "window+i", "h2o", "random"))]
    for line in sys.stdin:
        if line.strip() == READING:
            replay(lm, tokens, tova)
        else:
            generate(lm, tokens[:64], five, max_new_tokens=8)
        print("done", flush=True)


Process = subprocess.Popen[str]


@contextmanager
def worker(*arguments: str, **environment: str) -> Iterator[Process]:
    own = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    command = [sys.executable, "-m", "tests.benchmarks.bench_threads", "work", *arguments]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=own | environment,
    ) as process:
        yield process
        process.stdin.close()


def do(task: str, *workers: Process) -> None:
    """Let all workers do it at the same time."""
    for process in workers:
        print(task, file=process.stdin, flush=True)
    for process in workers:
        assert process.stdout.readline() == "done\n"


def main() -> None:
    cores = os.cpu_count() or 2
    with ExitStack() as open_:
        default, app = (open_.enter_context(worker(*arguments)) for arguments in ((), ("as-app",)))
        replicas = [open_.enter_context(worker("as-app", OMP_NUM_THREADS=str(cores // 2))) for _ in range(2)]
        for task in (READING, WRITING):
            contenders = {
                "torch's default": lambda task=task: do(task, default),
                "the app": lambda task=task: do(task, app),
                "two replicas, each": lambda task=task: do(task, *replicas),
            }
            medians(contenders, rounds=1)  # what is done only once
            taken = medians(contenders, ROUNDS)
            alone, own, both = taken.values()
            table(
                f"threads on {cores} cores, {task} (medians of {ROUNDS})",
                {name: f"{seconds:.2f} s" for name, seconds in taken.items()}
                | {
                    "the app, speed of torch's default (at least 95 %)": f"{alone / own:.0%}",
                    "two replicas together, speed of one app (at least 100 %)": f"{2 * own / both:.0%}",
                },
            )


if __name__ == "__main__":
    if sys.argv[1:2] == ["work"]:
        work(as_app="as-app" in sys.argv)
    else:
        main()
