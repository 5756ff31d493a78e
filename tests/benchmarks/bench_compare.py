"""Five policies read beside the full model against one replay, five write in lockstep, and the speed of a sweep."""

from time import perf_counter

from core import compare, generate, make_policy, replay, sweep
from tests.benchmarks.timing import long_text, medians, smollm2, table

FIVE = [make_policy(key, budget=64) for key in ("tova", "window", "window+i", "h2o", "random")]
NEW = 128


def reading() -> None:
    lm = smollm2()
    tokens = long_text(lm, 512)
    replay(lm, tokens, FIVE[0])
    taken = medians(
        {
            "replay, TOVA": lambda: replay(lm, tokens, FIVE[0]),
            "compare, TOVA alone": lambda: compare(lm, tokens, FIVE[:1]),
            "compare, five policies": lambda: compare(lm, tokens, FIVE),
        },
        rounds=3,
    )
    one, alone, five = taken.values()
    table(
        "read and compare, budget 64, 512 tokens, float32 (medians of 3)",
        {name: f"{seconds:.2f} s" for name, seconds in taken.items()}
        | {
            "what KL and ΔNLL cost, in replays (at most 1)": f"{alone / one - 1:.2f}",
            "five policies and the full model, in replays (at most 6)": f"{five / one:.2f}",
        },
    )


def writing() -> None:
    lm = smollm2()
    lm.model.generation_config.eos_token_id = None  # all write to the end, so that all do the same work
    tokens = long_text(lm, 128)
    taken = medians(
        {
            "TOVA": lambda: generate(lm, tokens, FIVE[0], max_new_tokens=NEW),
            "five policies": lambda: generate(lm, tokens, FIVE, max_new_tokens=NEW),
        },
        rounds=3,
    )
    one, five = taken.values()
    table(
        f"write and compare, prompt 128, {NEW} new tokens, float32 (medians of 3)",
        {name: f"{seconds:.2f} s" for name, seconds in taken.items()}
        | {"cost of five relative to one (at most 1.4)": f"{five / one:.2f}"},
    )


def sweeping() -> None:
    lm = smollm2()
    tokens = long_text(lm, 2048)
    started = perf_counter()
    records = sweep(lm, tokens, ["tova", "h2o", "window", "window+i"], [16, 32, 64, 128, 256, 512])
    seconds = perf_counter() - started
    read = sum(record.tokens for record in records)
    speeds = {
        f"{key}, all budgets": f"{sum(r.tokens for r in own) / sum(r.seconds for r in own):.0f} tokens/s"
        for key in dict.fromkeys(record.policy for record in records)
        if (own := [record for record in records if record.policy == key])
    }
    table(
        f"sweep, 4 policies × 6 budgets, the full model and the baseline, 2,048 tokens ({seconds:.0f} s)",
        speeds | {"altogether": f"{read / seconds:.0f} tokens/s"},
    )


if __name__ == "__main__":
    reading()
    writing()
    sweeping()
