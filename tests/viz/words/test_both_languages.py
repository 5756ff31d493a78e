"""What is computed comes in English and Chinese: the same numbers, every text escaped, nothing left out."""

import ast
import asyncio
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from string import Formatter

import gradio as gr
import numpy as np
import pytest

import app
from core.policies import POLICIES, make_policy, settings_of
from core.store import TraceStore
from core.trace import NEVER, PolicySettings, Trace
from tests.traces import HOSTILE, random_trace, trace_of
from tests.visitors import asked_from
from tests.writers import writer_model
from viz.cards.markup import note, status
from viz.examples.example_texts import first_trace
from viz.page import models
from viz.page.models import ResidentModels
from viz.page.stored import BEFORE, GOING_ON, LOOKING
from viz.tabs import ask, explore, explore_run, judging, links, panels
from viz.words.findings import WORDS, findings
from viz.words.sentences import REASONS, SENTENCES, life, quoted, why
from viz.words.status_words import STATUS_WORDS

VIZ = Path(explore.__file__).parents[1]
STATUS = ("status", "line", "told")
CHINESE = re.compile(r"[\u4e00-\u9fff]")
BEGINNING = re.compile(r'<(?:div|span) class="in-(en|zh)" lang="(?:en|zh-CN)">')


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


def holes(template: str) -> list[str]:
    return sorted(f"{name}:{form}" for _, name, form, _ in Formatter().parse(template) if name)


def numbers(text: str) -> list[str]:
    return sorted(re.findall(r"\d+(?:[.,]\d+)*%?", text))


def same_in_both(english: str, chinese: str) -> None:
    assert numbers(english) == numbers(chinese), (english, chinese)
    assert CHINESE.search(chinese) and not CHINESE.search(english)


def in_each(html: str) -> dict[str, str]:
    """What a text says in each language."""
    _, *parts = BEGINNING.split(html)
    ended = (words.removesuffix("</p>").removesuffix("</span>").removesuffix("</div>") for words in parts[1::2])
    return dict(zip(parts[::2], ended, strict=True))


@pytest.mark.parametrize("words", [SENTENCES, REASONS], ids=["sentences", "reasons"])
def test_templates_have_the_same_holes(words: dict[str, dict[str, str]]) -> None:
    assert words["en"].keys() == words["zh"].keys()
    for key, english in words["en"].items():
        assert holes(english) == holes(words["zh"][key]), key


def test_templates_of_findings_and_status_lines_have_the_same_holes() -> None:
    assert WORDS["en"].keys() == WORDS["zh"].keys()
    for key, english in WORDS["en"].items():
        chinese = WORDS["zh"][key]
        assert holes(english.value + english.meaning) == holes(chinese.value + chinese.meaning), key
    for english, chinese in STATUS_WORDS.items():
        assert holes(english) == holes(chinese) and CHINESE.search(chinese), english


@pytest.mark.parametrize("trace", runs(), ids=lambda trace: f"{trace.policy} {trace.prefill}")
@pytest.mark.parametrize("full", [None, 12.3])
def test_findings_have_the_same_numbers(trace: Trace, full: float | None) -> None:
    english, chinese = findings(trace, full), findings(trace, full, "zh")
    assert len(english) == len(chinese) >= 3
    for a, b in zip(english, chinese, strict=True):
        same_in_both(f"{a.value} {a.meaning}", f"{b.value} {b.meaning}")


@pytest.mark.parametrize("trace", runs(), ids=lambda trace: f"{trace.policy} {trace.prefill}")
def test_sentences_have_the_same_numbers(trace: Trace) -> None:
    groups = trace.evicted_at.shape[1]
    for position in range(len(trace)):
        same_in_both(life(trace, position), life(trace, position, "zh"))
        for group in range(groups):
            same_in_both(why(trace, 0, group, position), why(trace, 0, group, position, "zh"))


def test_every_policy_has_its_own_reason() -> None:
    assert POLICIES.keys() - {"full"} <= REASONS["en"].keys()


def test_sentences_by_hand() -> None:
    trace = trace_of([[[NEVER, 2, 3, 3]], [[2, 3, NEVER, NEVER]]], ("The", " harbour", " light", ","))
    assert why(trace, 0, 0, 1, "zh") == (
        "第 0 层在读“ light”时（第 2 步）淘汰了“ harbour”：在 3 行中得到的注意力最少，只有 0.12；次少的是 0.25。"
    )
    assert why(trace, 0, 0, 3, "zh").startswith("第 0 层一读到“,”（第 3 步）就把它淘汰了：")
    assert why(trace, 0, 0, 0, "zh") == "第 0 层到最后（第 3 步）仍保留着“The”，距读入已有 3 步。"
    assert life(trace, 0, "zh") == ("词元 0，“The”：在 4 步中平均保留 3 步；到最后，2 层中仍有 1 层保留着它。")
    cut = trace_of([[[NEVER, NEVER]]], ("x", ""))
    assert (quoted(cut, 1), quoted(cut, 1, "zh")) == ("a part of “x”", "“x”的一部分")


def hostile() -> Trace:
    return trace_of([[[2, 3, NEVER, 4, NEVER, 5, NEVER, NEVER]]], ("a", "b", "c", "d", *HOSTILE[:4]), budget=3)


@pytest.mark.parametrize(("locale", "is_chinese"), [("en-US,en;q=0.9", False), ("zh-CN,zh;q=0.9", True)])
def test_what_is_computed_comes_in_the_language_of_whoever_asks(locale: str, is_chinese: bool) -> None:
    class Click:
        position, layer, group = 4, 0, 0

    with asked_from(locale):
        pages = (panels.what_to_see(hostile()), panels.panels(hostile(), (0, 0))[2])
        pages += (panels.show_token(hostile(), Click())[1], note(judging.NO_PAIR), status("Press Ask."))
        failed = status("The document is empty. Paste or upload a text first.", "error")
        mixed = status(["Waiting for the model …", "Not said."])
    for page in (*pages, failed):
        assert bool(CHINESE.search(page)) is is_chinese and "in-zh" not in page, page
    for page in (pages[0], pages[2]):
        assert "<img" not in page and "&lt;/script&gt;&lt;img" in page
    assert mixed == '<p class="status info" role="status">Waiting for the model … Not said.</p>'


def test_a_page_is_made_in_both_languages_for_whoever_opens_it(tmp_path: Path) -> None:
    page = app.build(TraceStore(tmp_path / "runs", 10), votes=tmp_path / "votes.db")
    shown = [block.value for block in page.blocks.values() if isinstance(block, gr.HTML) and block.value]
    assert len(shown) >= 7  # status lines, what is marked, what waits to be judged, the limits
    for each in map(in_each, shown):
        assert each.keys() == {"en", "zh"} and CHINESE.search(each["zh"]) and not CHINESE.search(each["en"])


def test_the_users_text_is_escaped_in_both() -> None:
    line = status("Opened: {policy}, {tokens:,} tokens, read by {model}.", "done", policy="<b>", tokens=3, model="{x}")
    assert in_each(line) == {
        "en": "Opened: &lt;b&gt;, 3 tokens, read by {x}.",
        "zh": "已打开：&lt;b&gt;，3 个词元，由 {x} 读入。",
    }


def test_a_status_that_has_no_chinese_stays_as_it_is() -> None:
    assert status("{what} is <no> template", "error") == (
        '<p class="status error" role="alert">{what} is &lt;no&gt; template</p>'
    )
    assert status(["Waiting for the model …", "Not said."]) == (
        '<p class="status info" role="status">Waiting for the model … Not said.</p>'
    )


def said_in(module: Path) -> set[str]:
    """The texts that are written as what a status line says, in this module."""
    written: set[str] = set()
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in STATUS:
            texts = [inner.value for arg in node.args for inner in ast.walk(arg) if isinstance(inner, ast.Constant)]
            assert not any(isinstance(inner, ast.JoinedStr) for arg in node.args for inner in ast.walk(arg)), (
                f"{module.name}, line {node.lineno}: give the template and its values, so that it can be translated"
            )
            written |= {text for text in texts if isinstance(text, str)}
    return written - {"error", "done", "info", ""}


def test_every_status_line_has_chinese() -> None:
    lines = set().union(*map(said_in, [*VIZ.glob("tabs/*.py"), *VIZ.glob("page/*.py")]))
    named = {LOOKING, GOING_ON, BEFORE, links.LOST, explore_run.NOTHING_EVICTED, explore_run.READING}
    assert len(lines) >= 25
    assert lines | named | {explore_run.WRITING, ask.READING, ask.ANSWERING} <= STATUS_WORDS.keys()


def test_a_run_tells_how_it_goes_in_both(tiny: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = writer_model(tiny("llama-gqa").directory, tmp_path / "model")
    monkeypatch.setattr(models, "resident", ResidentModels((model,)))
    store = TraceStore(tmp_path / "runs")
    text = "w1 w2 w3 w4 w5 w6"

    def told(budget: int, new_tokens: int) -> list[str]:
        steps = explore_run.run(store, (0, 0), model, "tova", budget, new_tokens, text, "original", 4, 0)
        return [step[2] for step in steps]

    async def looked() -> list[str]:
        return [step[2] async for step in explore_run.look(store, (0, 0), model, "tova", 4, 9, text, "original", 4, 0)]

    first_trace().save(tmp_path / "tova.npz")
    full = replace(random_trace(2), policy=settings_of(make_policy("full")))
    full.save(tmp_path / "full.npz")
    opened = [explore.open_run(str(tmp_path / f"{name}.npz"), (0, 0))[2] for name in ("tova", "full")]
    lines = [*told(4, 9), *told(4, 9), *told(64, 0), *told(64, 0), *opened]
    with ThreadPoolExecutor() as apart:  # tests of the browser leave a loop running in this thread
        lines += apart.submit(asyncio.run, looked()).result()
    said = [in_each(line) for line in lines]

    assert all(each.keys() == {"en", "zh"} for each in said), lines
    for each in said:
        same_in_both(each["en"], each["zh"])
    english = " ".join(each["en"] for each in said)
    for part in ("Loading", "Writing", "Comparing", "nothing had to be evicted. This was", "Looking", "budget 64, 326"):
        assert part in english, part
