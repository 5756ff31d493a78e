"""What is computed comes in English and Chinese: the same numbers, every text escaped, nothing left out."""

import asyncio
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gradio.i18n import I18nData

import app
from core.policies import POLICIES, make_policy, settings_of
from core.store import TraceStore
from core.trace import NEVER, PolicySettings, Trace
from tests.pages import values_of, watch_page
from tests.traces import HOSTILE, random_trace, trace_of
from tests.writers import writer_model
from viz.cards.fates import fates_html
from viz.cards.markup import status
from viz.examples.example_texts import first_run
from viz.page import models
from viz.page.asked import Asked, Chosen
from viz.page.models import ResidentModels
from viz.page.runs import a_run
from viz.tabs.panel import MapRow, fates
from viz.words.catalogue import language, speaking
from viz.words.headlines import headline
from viz.words.sentences import life, quoted, why

CHINESE = re.compile(r"[\u4e00-\u9fff]")


def runs() -> list[Trace]:
    """One of every policy, cut at once and not, and of one that a newcomer adds; the last has evicted nothing."""
    found = []
    for key, policy in POLICIES.items():
        trace = random_trace(1, groups=2 if policy.scope == "kv_head" else 1)
        settings = settings_of(make_policy(key, None if key == "full" else 8))
        found.append(replace(trace, policy=settings, tokens=replace(trace.tokens, pieces=("x",) * len(trace))))
    at_once = replace(found[-1], prefill="one-shot", prompt_length=20)
    spared = replace(found[-1], runner_up_importance=np.full_like(found[-1].runner_up_importance, np.inf))
    newcomer = replace(found[-1], policy=PolicySettings("mine", "Mine", "layer", 8))
    return [*found, at_once, spared, newcomer, trace_of([[[NEVER] * 4]], ("x",) * 4, budget=8)]


def numbers(text: str) -> list[str]:
    return sorted(re.findall(r"\d+(?:[.,]\d+)*%?", text))


def same_in_both(english: str, chinese: str) -> None:
    assert numbers(english) == numbers(chinese), (english, chinese)
    assert CHINESE.search(chinese) and not CHINESE.search(english)


def in_each(make: Callable[[], Any]) -> list[Any]:
    """In English and in Chinese."""
    made = []
    for own in ("en", "zh_CN"):
        with speaking(own):
            made.append(make())
    return made


@pytest.mark.parametrize("trace", runs(), ids=lambda trace: f"{trace.policy} {trace.prefill}")
def test_headlines_have_the_same_numbers(trace: Trace) -> None:
    same_in_both(*in_each(partial(headline, trace)))


@pytest.mark.parametrize("trace", runs(), ids=lambda trace: f"{trace.policy} {trace.prefill}")
def test_sentences_have_the_same_numbers(trace: Trace) -> None:
    groups = trace.evicted_at.shape[1]
    for position in range(len(trace)):
        same_in_both(*in_each(partial(life, trace, position)))
        for group in range(groups):
            same_in_both(*in_each(partial(why, trace, 0, group, position)))


def test_sentences_by_hand() -> None:
    trace = trace_of([[[NEVER, 2, 3, 3]], [[2, 3, NEVER, NEVER]]], ("The", " harbour", " light", ","))
    cut = trace_of([[[NEVER, NEVER]]], ("x", ""))
    with speaking("zh_CN"):
        assert why(trace, 0, 0, 1) == (
            "第 0 层在读“ light”时（第 2 步）淘汰了“ harbour”：在 3 行中得到的注意力最少，只有 0.12；次少的是 0.25。"
        )
        assert why(trace, 0, 0, 3).startswith("第 0 层一读到“,”（第 3 步）就把它淘汰了：")
        assert why(trace, 0, 0, 0) == (
            "第 0 层到最后（第 3 步）仍保留着“The”，距读入已有 3 步。"
            "此后它淘汰了另外 3 行，每一行在当时对该策略都最不重要。"
        )
        assert life(trace, 0) == "词元 0，“The”：在 4 步中平均保留 3 步；到最后，2 层中仍有 1 层保留着它。"
        assert quoted(cut, 1) == "“x”的一部分"
    assert quoted(cut, 1) == "a part of “x”"


def hostile() -> Trace:
    return trace_of([[[2, 3, NEVER, 4, NEVER, 5, NEVER, NEVER]]], ("a", "b", "c", "d", *HOSTILE[:4]), budget=3)


def test_the_texts_of_users_are_escaped_in_both() -> None:
    english, chinese = in_each(lambda: fates_html(fates([hostile()], 4, MapRow(0, 0, 0))))
    assert CHINESE.search(chinese) and not CHINESE.search(english)
    for page in (english, chinese):
        assert "<img" not in page and "&lt;/script&gt;&lt;img" in page
    assert status("{what} is <no> template", "error") == (
        '<p class="status error" role="alert">{what} is &lt;no&gt; template</p>'
    )


def test_a_page_is_made_once_and_told_to_each_in_their_language(tmp_path: Path) -> None:
    page = app.build(TraceStore(tmp_path / "runs", 10), votes=tmp_path / "votes.db")
    english, chinese = in_each(lambda: page.config["i18n_translations"]["en"])
    names = [
        text.key
        for block in page.blocks.values()
        for text in (getattr(block, "label", None), getattr(block, "value", None))
        if isinstance(text, I18nData)
    ]
    assert len(names) > 80 and english.keys() == chinese.keys() >= {*names}
    same = {name for name in names if english[name] == chinese[name]}
    assert all(not re.search("[a-z]{2,}", english[name]) for name in same), [english[name] for name in same]
    values = {value for block in page.blocks.values() for _shown, value in getattr(block, "choices", None) or []}
    assert values.isdisjoint(english), "the browser would translate it and send back what nobody knows"


def test_a_run_tells_how_it_goes_in_both(tiny: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = writer_model(tiny("llama-gqa").directory, tmp_path / "model")
    monkeypatch.setattr("core.engine.generate.REPORT_EVERY", 0)  # a report after every token
    monkeypatch.setattr(models, "resident", ResidentModels((model,)))
    text = "w1 w2 w3 w4 w5 w6"
    first_run().traces[1].save(tmp_path / "tova.npz")
    full = replace(random_trace(2), policy=settings_of(make_policy("full")))
    full.save(tmp_path / "full.npz")

    def told() -> list[str]:
        watch = watch_page(TraceStore(tmp_path / language()))
        line = watch.sidebar.status

        def asked(budget: int, new_tokens: int) -> list[Any]:
            return values_of(Asked(model, text, (Chosen("tova", budget),), new_tokens=new_tokens))

        def run(*wanted: int) -> list[str]:
            return [step[line] for step in a_run("watch", line, watch.read)(*asked(*wanted)) if line in step]

        async def looked() -> list[str]:
            return [step[line] async for step in watch.look(*asked(4, 9)) if line in step]

        opened = [watch.open_files([str(tmp_path / f"{name}.npz")])[line] for name in ("tova", "full")]
        lines = [*run(4, 9), *run(4, 9), *run(64, 0), *run(64, 0), *opened]
        with ThreadPoolExecutor() as apart:  # tests of the browser leave a loop running in this thread
            return lines + apart.submit(copy_context().run, asyncio.run, looked()).result()

    said = in_each(told)
    assert all(CHINESE.search(line) for line in said[1]) and not any(CHINESE.search(line) for line in said[0])
    ends = [[re.sub(r"\d+[.]\d (s|秒)", "", line) for line in lines if "done" in line] for lines in said]
    assert [numbers(line) for line in ends[0]] == [numbers(line) for line in ends[1]] != []
    english = " ".join(said[0])
    for part in ("Loading", "Writing", "nothing had to be evicted. This was", "tova.npz, 326 tokens"):
        assert part in english, part
