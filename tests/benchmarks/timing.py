"""Side-by-side timing: contenders take turns, so that whatever else the machine does hits all of them alike."""

import statistics
import time
from collections.abc import Callable

from core import LanguageModel, Tokens, load_model
from viz.examples.example_texts import EXAMPLES


def medians(contenders: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each contender over the rounds."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, contender in contenders.items():
            started = time.perf_counter()
            contender()
            seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(taken) for name, taken in seconds.items()}


def table(title: str, rows: dict[str, str]) -> None:
    """Print rows of a name and what was found."""
    print(f"\n{title}")
    for name, found in rows.items():
        print(f"  {name:<58} {found}", flush=True)


def smollm2() -> LanguageModel:
    return load_model("smollm2-135m-instruct", dtype="float32", device="cpu")


def long_text(lm: LanguageModel, n: int) -> Tokens:
    """N tokens: our example texts, again and again."""
    text = "\n\n".join(example.text for example in EXAMPLES)
    tokens = lm.encode(text)
    while len(tokens) < n:
        text += "\n\n" + text
        tokens = lm.encode(text)
    return tokens[:n]
