"""Numbers out of their range, or none at all, are refused in words wherever a number is taken."""

import io
import math
import resource
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import core
from core.errors import BadInput, OutOfMemory
from core.experiments.evaluate import iter_evaluate
from core.experiments.haystack import hide
from core.experiments.writing import iter_stories
from core.experiments.zeroscrolls import Example
from core.policies import POLICIES, make_policy
from core.store import TraceStore
from core.trace import Trace
from core.whole_numbers import MOST_SEED, MOST_TOKENS
from viz.page import limits
from viz.page.uploads import trace_of

NO_WHOLE_NUMBERS = [None, "8", 8.0, 8.5, math.nan, math.inf, True, [8], np.float32(8), 10**5000, -(10**5000)]
SETTINGS = [(key, setting) for key, policy in POLICIES.items() for setting in fields(policy) if setting.metadata]
IDS = [1, 2, 3, 4, 5]
TOVA = make_policy("tova", 4)


@pytest.fixture(scope="module")
def lm(tiny: Callable[[str], Any]) -> core.LanguageModel:
    return tiny("llama-gqa").lm


def made(key: str, name: str, value: Any) -> core.policies.Policy:
    return make_policy(key, **{"budget": MOST_TOKENS} | {name: value})


@pytest.mark.parametrize(("key", "setting"), SETTINGS, ids=[f"{key}-{setting.name}" for key, setting in SETTINGS])
def test_every_setting_has_a_least_and_a_greatest_value(key, setting):
    least, most = setting.metadata["minimum"], setting.metadata["maximum"]
    if key in ("window+i", "expected"):  # the sink tokens leave room for one recent row
        least += 4 if setting.name == "budget" else 0
        most -= 1 if (key, setting.name) == ("window+i", "n_sink") else 0
    if setting.name == "kernel":
        assert most % 2 == 1
    for value in (least, most, np.int64(least), np.uint64(most)):
        kept = getattr(made(key, setting.name, value), setting.name)
        assert kept == value and type(kept) is int
    least, most = setting.metadata["minimum"], setting.metadata["maximum"]
    for wrong in (least - 1, most + 1, 2**64, *NO_WHOLE_NUMBERS):
        with pytest.raises(BadInput, match=f"^{setting.name} must be a whole number from {least:,} to {most:,}"):
            made(key, setting.name, wrong)


@pytest.mark.parametrize("key", POLICIES)
def test_the_greatest_values_run_and_are_saved(lm, key):
    own = {setting.name: setting.metadata["maximum"] for owner, setting in SETTINGS if owner == key}
    if key == "window+i":
        own["n_sink"] -= 1
    file = io.BytesIO()
    trace = core.replay(lm, IDS, make_policy(key, **own))
    trace.save(file)
    file.seek(0)
    assert Trace.load(file).policy == trace.policy
    assert not (trace.evicted_at < len(trace)).any(), "everything fits"


def test_the_seed_with_the_most_bits_draws(lm):
    traces = [core.replay(lm, IDS, make_policy("random", 2, seed=seed)) for seed in (MOST_SEED, MOST_SEED, 0)]
    assert (traces[0].evicted_at == traces[1].evicted_at).all()
    assert (traces[0].evicted_at != traces[2].evicted_at).any()


TAKERS: dict[str, Callable[[core.LanguageModel, Any], Any]] = {
    "chunk of replay": lambda lm, n: core.replay(lm, IDS, TOVA, chunk=n),
    "chunk of generate": lambda lm, n: core.generate(lm, IDS, TOVA, max_new_tokens=1, chunk=n),
    "new tokens": lambda lm, n: core.generate(lm, IDS, TOVA, max_new_tokens=n),
    "new tokens without end": lambda lm, n: core.generate(lm, IDS, TOVA, max_new_tokens=n, positions="in-cache"),
    "seed": lambda lm, n: core.generate(lm, IDS, TOVA, max_new_tokens=1, seed=n),
    "seed of stories": lambda lm, n: list(iter_stories(lm, ["w1 w2", "w3"], [TOVA], max_new_tokens=1, seed=n)),
    "window of a sweep": lambda lm, n: core.sweep(lm, IDS, ["tova"], [2], window=n),
    "budget of a sweep": lambda lm, n: core.sweep(lm, IDS, ["tova"], [n]),
    "budget of the oracle": lambda lm, n: core.foresee(lm, IDS, n),
    "tokens of a text": lambda lm, n: hide(lm, 0.5, n),
    "new tokens of answers": lambda lm, n: list(
        iter_evaluate(lm, "qasper", [Example("a", "w1 w2", ("w3",))], ["tova"], [2], new_tokens=n)
    ),
    "new tokens on the page": lambda lm, n: limits.current.check_new_tokens(n),
}


@pytest.mark.parametrize("take", TAKERS.values(), ids=TAKERS)
def test_what_is_no_such_number_is_refused(lm, take):
    by_none = ("window of a sweep", "new tokens of answers", "chunk of replay", "chunk of generate")
    usual = take in [TAKERS[name] for name in by_none]  # as many as is usual, if None is given
    for wrong in [-1, MOST_SEED + 1, *NO_WHOLE_NUMBERS[usual:]]:
        with pytest.raises(BadInput, match="must be a whole number from"):
            take(lm, wrong)


def test_more_new_tokens_than_the_memory_holds_are_refused(lm):
    before = resource.getrlimit(resource.RLIMIT_AS)
    in_use = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (in_use + 2**30, before[1]))
    try:
        with pytest.raises(OutOfMemory, match=f"Reading {MOST_TOKENS + len(IDS):,} tokens"):
            TAKERS["new tokens without end"](lm, MOST_TOKENS)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def test_numpys_whole_numbers_are_whole_numbers(lm):
    four, one = np.int64(4), np.uint8(1)
    trace = core.generate(lm, np.array(IDS), make_policy("tova", four), max_new_tokens=four, seed=one, chunk=one)
    same = core.generate(lm, IDS, TOVA, max_new_tokens=4)
    assert (trace.evicted_at == same.evicted_at).all()
    trace.save(io.BytesIO())


@pytest.mark.parametrize("wrong", [-1, 1e-30, 1e-320, 1e39, 10**400, math.nan, math.inf, None, "1", True, [1.0]])
def test_temperatures_that_are_none(lm, wrong):
    with pytest.raises(BadInput, match="temperature must be 0"):
        core.generate(lm, IDS, TOVA, max_new_tokens=1, temperature=wrong)


@pytest.mark.parametrize("temperature", [0, 1e-6, 1, np.float32(0.5), 1e6])
def test_temperatures_that_are(lm, temperature):
    assert len(core.generate(lm, IDS, TOVA, max_new_tokens=3, temperature=temperature, top_p=np.float32(0.9))) == 8


@pytest.mark.parametrize("wrong", [0, -1, 1.5, math.nan, math.inf, None, "1", True, [0.5]])
def test_shares_that_are_none(lm, wrong):
    with pytest.raises(BadInput, match="top_p must be"):
        core.generate(lm, IDS, TOVA, max_new_tokens=1, temperature=1.0, top_p=wrong)


@pytest.mark.parametrize("wrong", [-0.1, 1.1, math.nan, None, "0.5"])
def test_depths_that_are_none(lm, wrong):
    with pytest.raises(BadInput, match="depth must be"):
        hide(lm, wrong, 100)


@pytest.mark.parametrize("wrong", [0, -5, math.nan, math.inf, 1e300])
def test_sizes_of_a_store_that_are_none(tmp_path, wrong):
    with pytest.raises(BadInput, match="from 1 to 1,000,000,000 MB"):
        TraceStore(tmp_path, wrong)


@pytest.mark.parametrize(("key", "own"), [("window+i", {"n_sink": 40}), ("random", {"seed": 2**62})])
def test_runs_that_the_sliders_cannot_ask_for_open_on_the_page(lm, tmp_path, key, own):
    file = str(tmp_path / "run.npz")
    core.replay(lm, IDS, make_policy(key, 64, **own)).save(file)
    assert dict(trace_of(file).policy.settings) == own
