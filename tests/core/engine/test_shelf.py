"""Policies beyond the paper's, budgets that are shared out, rows that go in batches: the engine against the oracle."""

from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from core import Trace, make_policy, replay
from core.errors import BadInput, UnsupportedModel
from core.policies import POLICIES
from tests.conftest import TINY, TODAY, VOCABULARY, N
from tests.oracle import PER_KV_HEAD, Oracle

CHUNKS = (1, 3, N)
EXACT_MARGIN = 3e-5  # no test may hinge on something decided by less, see `tests.oracle_policies.margin`
N_TEXTS = 60


@dataclass(frozen=True)
class Case:
    """A policy and the options with which a tiny model's text is read."""

    name: str
    key: str
    budget: int
    settings: tuple[tuple[str, int], ...] = ()
    budgets: str = "uniform"
    every: int = 1
    beta: int = 3
    positions: str = "original"
    one_shot: int = 0
    chunk: int = field(default=N, compare=False)  # the oracle has none

    def __str__(self) -> str:
        of_policy = "-".join(f"{name}{value}" for name, value in self.settings)
        return (
            f"{self.name}-{self.key}-{of_policy}-{self.budget}-{self.budgets}-every{self.every}-{self.positions}"
            f"-{'one-shot-' if self.one_shot else ''}chunk{self.chunk}"
        )


def distinct(seed: int, n: int = N) -> list[int]:
    """A text with no token twice: in the first layer two rows of one token have keys of exactly one length."""
    return torch.randperm(VOCABULARY, generator=torch.Generator().manual_seed(seed))[:n].tolist()


@pytest.fixture(scope="module")
def truth(tiny):
    """`truth(case)`: the oracle's run, and the text: the first in which nothing is decided by a narrow margin."""

    @cache
    def read(case: Case) -> tuple[Oracle, list[int]]:
        reference = tiny(case.name).reference("oracle")
        for seed in range(N_TEXTS):
            oracle = Oracle(
                case.key,
                case.budget,
                one_shot=case.one_shot,
                positions=case.positions,
                settings=dict(case.settings),
                budgets=case.budgets,
                every=case.every,
                beta=case.beta,
            ).read(reference, distinct(seed))
            if oracle.closest > EXACT_MARGIN:
                return oracle, distinct(seed)
        raise AssertionError("choose other texts: rounding could decide in all of these")

    return read


def read_by_the_engine(lm: Any, ids: list[int], case: Case) -> Trace:
    policy = make_policy(case.key, case.budget, **dict(case.settings))
    prefill = "one-shot" if case.one_shot else "token-by-token"
    return replay(
        lm, ids, policy, chunk=case.chunk, prefill=prefill, positions=case.positions, budgets=case.budgets,
        every=case.every, beta=case.beta,
    )  # fmt: skip


def check_against(oracle: Oracle, trace: Trace) -> None:
    np.testing.assert_array_equal(trace.evicted_at, oracle.lives("evicted_at"))
    np.testing.assert_allclose(trace.nll, oracle.nll(trace.tokens.ids), atol=2e-5, rtol=1e-6)
    for name, of_row in [("importance_at_eviction", "importance"), ("runner_up_importance", "runner_up")]:
        np.testing.assert_allclose(getattr(trace, name), oracle.lives(of_row), atol=1e-5, rtol=1e-4, err_msg=name)


# A new policy comes last: what each is combined with, and so whether its texts are clear of ties, depends on its place.
SHELF: list[tuple[str, int, dict[str, int]]] = [
    ("knorm", 5, {}),
    ("knorm", 10, {}),
    ("keydiff", 5, {}),
    ("keydiff", 10, {}),
    ("observed", 5, {}),
    ("observed", 10, {}),
    ("snapkv", 7, {"window": 2, "kernel": 3}),
    ("snapkv", 10, {"window": 4, "kernel": 5}),
    ("decay", 5, {"alpha": 80}),
    ("decay", 9, {"alpha": 30}),
    ("raas", 5, {"share": 50}),
    ("raas", 9, {"share": 20}),
    ("rkv", 7, {"mix": 7, "window": 2, "kernel": 3}),
    ("rkv", 10, {"mix": 50, "window": 4, "kernel": 5}),
    ("caote", 5, {}),
    ("caote", 10, {}),
    ("expected", 9, {"n_sink": 4, "future": 512}),
    ("expected", 5, {"n_sink": 0, "future": 20}),
    ("own", 6, {"gamma": 50, "w_attention": 2, "w_recent": 1, "w_keys": 0, "n_sink": 1, "n_recent": 2, "per_head": 1}),
    ("own", 9, {"gamma": 90, "w_attention": 3, "w_recent": 1, "w_keys": 2, "n_sink": 0, "n_recent": 0, "per_head": 0}),
]


def can(name: str, key: str) -> bool:
    """Learned positions are added to the tokens: queries cannot be moved to positions to come.

    Gemma 3's layers have two kinds of rotary embedding, of which the engine knows one only.
    """
    return key != "expected" or name not in ("gpt2", "gemma3")


def in_turn(i: int, *choices: Any) -> Any:
    return choices[i % len(choices)]


def kinds(key: str, settings: dict[str, int]) -> list[str]:
    """Heads compete only where they decide."""
    whole = key not in PER_KV_HEAD and not settings.get("per_head")
    return ["uniform", "pyramid"] if whole else ["uniform", "pyramid", "adaptive"]


# One model meets all kinds with both batches at each policy's second settings; elsewhere it is one of them in turn.
CASES = [
    Case(name, key, budget, tuple(settings.items()), of_kind, every, chunk=in_turn(i + j + k, *CHUNKS))
    for i, name in enumerate(TINY)
    for j, (key, budget, settings) in enumerate(SHELF)
    for k, (of_kind, every) in enumerate((kind, every) for kind in kinds(key, settings) for every in (1, 3))
    if can(name, key)
    if (name == "llama-gqa" and j % 2) or k == (i + j) % (2 * len(kinds(key, settings)))
]
ONE_SHOT = [
    Case(
        name, key, budget, tuple(settings.items()), in_turn(i + j, *kinds(key, settings)), in_turn(i, 1, 3), one_shot=N,
        chunk=in_turn(i + j, *CHUNKS),
    )
    for i, name in enumerate(TINY)
    for j, (key, budget, settings) in enumerate(SHELF)
    if (i + j) % 2 and can(name, key)
]  # fmt: skip
LATE = [
    Case(
        name, key, budget, tuple(settings.items()), in_turn(i + j, *kinds(key, settings)), in_turn(j, 1, 3),
        positions=in_turn(i + j, "in-cache", "log-gap", "in-cache"), chunk=in_turn(i + j, *CHUNKS),
    )
    for i, name in enumerate(["llama-gqa", "gpt-neox"])
    for j, (key, budget, settings) in enumerate(SHELF)
    if key != "expected"
]  # fmt: skip
# what the policies of the paper do with the same options
PAPER = [
    Case(name, key, budget, (), of_kind, every, chunk=in_turn(i + j, *CHUNKS), one_shot=in_turn(i + j, 0, 0, N))
    for i, name in enumerate(["llama-gqa", "gpt2"])
    for j, (key, budget) in enumerate([("window", 5), ("h2o", 6), ("tova", 5), ("tova-head", 10)])
    for of_kind in kinds(key, {})
    if key in POLICIES and (of_kind != "adaptive" or POLICIES[key].scope == "kv_head")
    for every in (1, 3)
    if (of_kind, every) != ("uniform", 1)
]

OF_THE_PAPER: list[tuple[str, int, dict[str, int]]] = [
    ("window", 5, {}),
    ("window+i", 6, {"n_sink": 2}),
    ("h2o", 6, {}),
    ("h2o", 1, {}),
    ("tova", 5, {}),
    ("tova", 12, {}),
    ("tova-head", 4, {}),
    ("tova-head", 9, {}),
]
# Every policy as the paper has it, and with one of the options in turn: those of the shelf so with one of their two
# settings each, and the other way round with the next model.
TODAYS = [
    Case(
        name, key, budget, tuple(settings.items()), *option, chunk=in_turn(i + j + k, *CHUNKS),
        one_shot=in_turn(i + 2 * j + k, 0, 0, 0, N),
    )
    for i, name in enumerate(TODAY)
    for j, (key, budget, settings) in enumerate(OF_THE_PAPER + SHELF)
    for k, option in enumerate(
        [("uniform", 1), in_turn((i + j) // 2, *((kind, every) for kind in kinds(key, settings) for every in (3, 1)))]
    )
    if can(name, key) and (j < len(OF_THE_PAPER) or (i + j + k) % 2)
]  # fmt: skip
TODAYS_LATE = [
    Case(
        name, key, budget, tuple(settings.items()), in_turn(i + j, *kinds(key, settings)), in_turn(i + j // 2, 1, 3),
        positions=in_turn(j // 2, "in-cache", "log-gap"), chunk=in_turn(i + j, *CHUNKS),
    )
    for i, name in enumerate(["gpt-oss", "gemma2", "deepseek"])
    for j, (key, budget, settings) in enumerate(OF_THE_PAPER + SHELF)
    if (i + j) % 2 and key != "expected"
]  # fmt: skip


@pytest.mark.parametrize("case", TODAYS, ids=str)
def test_attention_that_is_not_the_plain_one_agrees_with_the_oracle(tiny, truth, case):
    oracle, ids = truth(case)
    trace = read_by_the_engine(tiny(case.name).lm, ids, case)
    check_against(oracle, trace)
    np.testing.assert_allclose(trace.attention_received, oracle.lives("received"), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("case", TODAYS_LATE, ids=str)
def test_where_it_is_told_late_where_rows_stand_it_agrees_as_well(tiny, truth, case):
    oracle, ids = truth(case)
    check_against(oracle, read_by_the_engine(tiny(case.name).lm, ids, case))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_replay_agrees_with_the_oracle(tiny, truth, case):
    oracle, ids = truth(case)
    check_against(oracle, read_by_the_engine(tiny(case.name).lm, ids, case))


@pytest.mark.parametrize("case", ONE_SHOT, ids=str)
def test_one_shot_replay_agrees_with_the_oracle(tiny, truth, case):
    oracle, ids = truth(case)
    check_against(oracle, read_by_the_engine(tiny(case.name).lm, ids, case))


@pytest.mark.parametrize("case", LATE, ids=str)
def test_rows_that_are_told_late_where_they_stand_agree_with_the_oracle(tiny, truth, case):
    oracle, ids = truth(case)
    check_against(oracle, read_by_the_engine(tiny(case.name).lm, ids, case))


@pytest.mark.parametrize("case", PAPER, ids=str)
def test_the_papers_policies_with_these_options_agree_with_the_oracle(tiny, truth, case):
    oracle, ids = truth(case)
    check_against(oracle, read_by_the_engine(tiny(case.name).lm, ids, case))


def test_expected_is_refused_where_queries_cannot_be_moved(tiny):
    for name, why in [("gpt2", "learned positions"), ("gemma3", "rotary embedding")]:
        with pytest.raises(UnsupportedModel, match=why):
            replay(tiny(name).lm, distinct(0), make_policy("expected", 5))
    for positions in ("in-cache", "log-gap"):
        with pytest.raises(BadInput):
            replay(tiny("llama-gqa").lm, distinct(0), make_policy("expected", 5), positions=positions)


def test_every_policy_of_the_shelf_is_here():
    assert {key for key, _, _ in SHELF} | {"full", "window", "window+i", "h2o", "tova", "tova-head", "random"} == set(
        POLICIES
    )
