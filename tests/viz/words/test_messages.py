"""Errors, and what a sweep finds, are told in Chinese to whoever reads Chinese."""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import core
from core.engine.options import ReadOptions
from core.errors import BadInput, UserError
from core.experiments import budget_sweep
from core.experiments.records import FULL, Record, budget_sentences
from core.policies import make_policy
from tests.traces import HOSTILE, random_trace
from viz.cards.markup import status
from viz.figures.overlap import trace_overlap_figure
from viz.page.asked import Asked, Chosen
from viz.page.limits import Limits
from viz.page.models import ResidentModels
from viz.page.policy_cards import chosen_in
from viz.page.runs import referred, too_late
from viz.page.uploads import trace_of
from viz.tabs.tokens import opened
from viz.tabs.write import prompts_in
from viz.words.catalogue import speaking, told

CHINESE = re.compile(r"[\u4e00-\u9fff]")


def numbers(text: str) -> list[str]:
    return sorted(re.findall(r"\d+", text))


def refused(tiny: Callable[[str], Any], tmp_path: Path) -> Iterator[Callable[[], Any]]:
    lm = core.load_model(tiny("llama-gqa").directory, dtype="float32")
    learned = core.load_model(tiny("gpt2").directory, dtype="float32")
    tova, window = make_policy("tova", 4), make_policy("window", 4)
    ids, long = [1, 2, 3], [1] * 200
    broken, stranger, bomb = (tmp_path / f"{name}.npz" for name in ("broken", "stranger", "bomb"))
    np.savez_compressed(bomb, zeros=np.zeros(150_000_000, np.uint8))
    broken.write_bytes(b"PK\x03\x04 no trace")
    replace(random_trace(1), policy=replace(random_trace(1).policy, key="mine")).save(stranger)
    yield lambda: core.replay(lm, [], tova)
    yield lambda: core.compare(lm, [1], [tova])
    yield lambda: core.replay(learned, long, tova)
    yield lambda: core.replay(lm, long, make_policy("full"))
    yield lambda: core.replay(lm, long, tova)
    yield lambda: core.replay(lm, long, make_policy("tova", 190), positions="in-cache")
    yield lambda: make_policy("tova", 0)
    yield lambda: make_policy("tova", 1.5)
    yield lambda: make_policy("random", 2, seed=2**64)
    yield lambda: make_policy("window+i", 2, n_sink=-1)
    yield lambda: Limits().check_new_tokens(-1)
    yield lambda: core.generate(lm, ids, window, max_new_tokens=1, temperature=1e-9)
    yield lambda: make_policy("window+i", 4, n_sink=4)
    yield lambda: make_policy("own", 8, w_attention=0, w_recent=0)
    yield lambda: make_policy("own", 8, n_sink=3, n_recent=5)
    yield lambda: make_policy("snapkv", 8, kernel=4)
    yield lambda: make_policy("expected", 4)
    yield lambda: core.replay(lm, ids, make_policy("expected", 9), positions="in-cache")
    yield lambda: core.replay(lm, ids, tova, budgets="adaptive")
    schedule = core.scripted(core.replay(lm, ids, tova))
    yield lambda: core.replay(lm, ids, schedule, every=2)
    yield lambda: core.replay(lm, ids[::-1], schedule)
    yield lambda: core.replay(lm, ids[:2], core.scripted(schedule.evicted_at))
    yield lambda: core.scripted(schedule.evicted_at, budget=2)
    yield lambda: core.scripted(np.zeros((3, 2, 5), int))
    yield lambda: core.scripted(np.zeros((2, 5), int))
    yield lambda: core.generate(lm, ids, core.foresee(lm, ids, 2), max_new_tokens=1)
    yield lambda: core.foresee(lm, [1] * 100_000, 2)
    yield lambda: core.compare(lm, ids, [])
    yield lambda: core.sweep(lm, ids, ["tova"], [])
    yield lambda: core.sweep(lm, [1], ["tova"], [2])
    yield lambda: core.generate(lm, ids, [window], max_new_tokens=10**6)
    yield lambda: trace_of(str(bomb))
    yield lambda: trace_of(str(broken))
    yield lambda: trace_of(str(stranger))
    yield lambda: trace_of(str(tmp_path / "run.zip"))
    yield lambda: Asked("m", "x", ()).check()
    yield lambda: chosen_in([{"key": "tova", "budget": None, "settings": {}}])
    yield lambda: chosen_in([{"key": "nobody's", "budget": 1, "settings": {}}])
    yield lambda: Asked("m", "x", (Chosen("tova", 3),) * 2).check()
    yield lambda: opened(["x"] * 100)
    yield lambda: trace_overlap_figure([random_trace(2, n=30), random_trace(3, n=31)])
    yield lambda: prompts_in("x\n" * 1000)
    yield lambda: prompts_in("x" * 100_000)
    yield lambda: Limits(max_tokens=5).check_tokens(6)
    yield lambda: Limits(max_upload_mb=0).check_file(broken)
    yield lambda: ResidentModels().get("../etc")


def in_chinese(text: str) -> str:
    with speaking("zh_CN"):
        return told(text)


def test_what_is_refused_is_told_in_chinese(tiny: Callable[[str], Any], tmp_path: Path) -> None:
    for call in refused(tiny, tmp_path):
        with pytest.raises(UserError) as error:
            call()
        english, chinese = str(error.value), in_chinese(error.value.message)
        assert CHINESE.search(chinese) and "{" not in chinese, english
        assert numbers(chinese) == numbers(english), (english, chinese)


def test_what_a_run_says_at_its_end_is_told_in_chinese() -> None:
    for english in (too_late(), referred(ValueError("of ours"))):
        assert numbers(in_chinese(english)) == numbers(english)
        assert CHINESE.search(in_chinese(english))


def test_what_a_sweep_finds_is_told_in_chinese() -> None:
    def record(policy: str, budget: int | None, nll: float) -> Record:
        return Record(
            "m", "float32", "text", 0, "0", policy, budget, tokens=10, nll_sum=nll, perplexity=1.0, seconds=1.0
        )

    found = budget_sentences([record(FULL, None, 20), record("tova", 8, 20.1), record("h2o", 8, 40)])
    *_curves, left_out = budget_sweep._curves(["tova", "window+i"], [3, 8], ReadOptions())
    assert [in_chinese(sentence) for sentence in [*found, *left_out]] == [
        "TOVA：在试过的预算中，8 是与完整模型的困惑度相差 5% 以内的最小预算。",
        "H2O：试过的预算都达不到与完整模型的困惑度相差 5% 以内。",
        "Window+i 没有用预算 3：预算 3 放下 4 个汇点词元后，没有余地留给新近的词元：请把预算提高到 4 以上，"
        "或减少汇点词元。",
    ]


def test_nothing_that_users_say_is_markup() -> None:
    for text in filter(None, HOSTILE):
        refusal = BadInput("{file} is not a {suffix} file, and no other is opened here.", file=text, suffix=".txt")
        with speaking("zh_CN"):
            said = status(refusal.message, "error")
        assert "不是 .txt 文件" in said and "<img" not in said and "<script" not in said
