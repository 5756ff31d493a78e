"""Figures, tables and cards in a Chinese browser: no English is left over, and the numbers are the same."""

import ast
import html
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from pathlib import Path
from string import Formatter
from typing import Any

import numpy as np
import pytest

import viz
from core.experiments.records import LABELS, POINT_COLUMNS, Point
from core.experiments.stories import Telling
from core.measures import kinds, paper
from core.measures.evidence import fate
from core.measures.tables import COST_COLUMNS
from core.policies import POLICIES, make_policy, settings_of
from tests.core.measures.test_survival import full_of, window_of
from tests.traces import random_trace, tokens_of
from tests.visitors import asked_from
from tests.viz.figures.test_answer_figures import PASSAGE, QUESTION, result
from tests.viz.figures.test_story_figures import BY_MODEL, TALLY, story_of
from tests.writers import pair_of
from viz.cards.answer_cards import Given, answers_html
from viz.cards.lives import lives_html
from viz.cards.story_cards import pair_html, telling_html
from viz.figures.early_tokens import early_figure, early_layers_figure
from viz.figures.evidence import evidence_figure, evidence_layers_figure
from viz.figures.kinds import kinds_figure
from viz.figures.life import LONGEST_LIFE, head_figure, token_figure
from viz.figures.needle import needle_figure
from viz.figures.overlap import head_overlap_figure, layer_overlap_figure, trace_overlap_figure
from viz.figures.recency import age_figure, recency_by_layer_figure, recency_figure
from viz.figures.survival import survival_figure, survival_layers_figure
from viz.figures.sweep import paper_sweep_figure, sweep_figure
from viz.figures.tables import table_of
from viz.figures.tally import tally_figure
from viz.page.limits import Limits
from viz.tabs import budget, measure, write
from viz.words.answer_sentences import fate_sentence, needle_sentences
from viz.words.figure_words import FIGURE_WORDS, NAMES
from viz.words.lesson_words import Language
from viz.words.run_sentence import run_sentence
from viz.words.say import amount, named, policy_name
from viz.words.status_words import STATUS_WORDS

ENGLISH = re.compile("[A-Za-z]{2,}")
OURS = re.compile("[\u4e00-\u9fff]")
PROPER = re.compile(
    r"TOVA( per head)?|Window\+i|Window|H2O|Random|KV|F1|NLL|KL|MB|Jaccard|GPT|LLaMA|PG-19|smollm2|distinct|log₁₀"
)
OF_USERS = re.compile("“[^”]*”")
FILLED_IN = re.compile(r"%\{[^}]*\}")
SHOWN = {"text", "name", "title", "hovertemplate", "ticktext", "customdata", "x", "y"}
"""The attributes of a figure that hold texts which people read."""

WHOLE = settings_of(make_policy("full"))
RUN, PER_HEAD = random_trace(1), random_trace(2, groups=2)
TWICE = [RUN, random_trace(3), RUN]
EVERYTHING = [WHOLE, *(settings_of(make_policy(key, 8)) for key in POLICIES if key != "full")]
ALL_KINDS = tokens_of(("<s>", "The", " fox", "’s", " $", "5", ",", " (", "he", ")", " Paris", "“", "x", "”", "\n", "."))
POINTS = [Point(key, None if key == "full" else 8, 9, 20.0, 1.0) for key in ("full", "baseline", "tova", "window+i")]
NEEDLES = [result(key, depth, 1256, depth > 0, depth, "7394") for key in ("full", "tova") for depth in (0.0, 0.5)]
LONG = window_of(LONGEST_LIFE + 9, 400)
STORIES = (
    story_of("海", "海", "海", policy="full", budget=None),
    story_of("海", "海", left=1, ended=False),
    story_of("海", left=1),
    story_of("海"),
)
GIVEN = [Given(WHOLE, "海", True, 1.0), Given(RUN.policy, "海", False, 0.5), Given(RUN.policy, "", False, None)]

FIGURES: dict[str, Callable[[Language], Any]] = {
    "head": lambda of: head_figure(PER_HEAD, 1, 1, language=of),
    "attention": lambda of: head_figure(RUN, 1, 0, np.ones((40, 40), np.float32), of),
    "head of a long text": lambda of: head_figure(LONG, 0, language=of),
    "token": lambda of: token_figure(RUN, 3, of),
    "token per head": lambda of: token_figure(PER_HEAD, 3, of),
    "sweep": lambda of: sweep_figure(POINTS, language=of),
    "the paper's sweep": paper_sweep_figure,
    "recency": lambda of: recency_figure(TWICE, of),
    "recency of one run": lambda of: recency_figure([RUN], of),
    "recency by layer": lambda of: recency_by_layer_figure(TWICE, of),
    "ages": lambda of: age_figure(TWICE, of),
    "early": lambda of: early_figure(TWICE, of),
    "early by layer": lambda of: early_layers_figure(RUN, of),
    "early per head": lambda of: early_layers_figure(PER_HEAD, of),
    "survival": lambda of: survival_figure(TWICE, of),
    "survival by layer": lambda of: survival_layers_figure(RUN, of),
    "kinds": lambda of: kinds_figure([replace(random_trace(4, n=len(ALL_KINDS)), tokens=ALL_KINDS)], of),
    "overlap of layers": lambda of: layer_overlap_figure(RUN, of),
    "overlap of many layers": lambda of: layer_overlap_figure(random_trace(5, layers=12), of),
    "overlap of heads": lambda of: head_overlap_figure(PER_HEAD, 1, of),
    "overlap of runs": lambda of: trace_overlap_figure([RUN, replace(TWICE[1], tokens=RUN.tokens), RUN], of),
    "evidence": lambda of: evidence_figure(TWICE, PASSAGE, QUESTION, of),
    "evidence of one run": lambda of: evidence_figure([RUN], PASSAGE, QUESTION, of),
    "evidence by layer": lambda of: evidence_layers_figure(RUN, PASSAGE, QUESTION, of),
    "needle": lambda of: needle_figure(NEEDLES, of),
    "tally": lambda of: tally_figure([TALLY, replace(BY_MODEL, judge="GPT", model="smollm2/13")], of),
}
PAGES: dict[str, Callable[[Language], str]] = {
    "answers": lambda of: answers_html(GIVEN, "海", True, of),
    "answers that grow": lambda of: answers_html(GIVEN, "", False, of),
    "stories": lambda of: telling_html(Telling("海", 0, STORIES), True, of),
    "stories that grow": lambda of: telling_html(Telling("海", 0, STORIES), False, of),
    "a pair": lambda of: pair_html(pair_of("p", full="海", story="海", prompt="海"), "v", language=of),
    "a pair with names": lambda of: pair_html(pair_of("p", full="海", story=" ", prompt="海"), "v", True, of),
    "lives": lambda of: lives_html(PER_HEAD, 0, of),
    "runs": lambda of: "<br>".join(run_sentence(run, of) for run in (RUN, PER_HEAD, full_of(5), LONG)),
    "evidence": lambda of: "<br>".join(
        fate_sentence(run, fate(run, PASSAGE, QUESTION), of) for run in (RUN, window_of(40, 8), full_of(40))
    ),
    "needle": lambda of: "<br>".join(needle_sentences(NEEDLES, of)),
}


def texts(node: Any, shown: bool = False) -> Iterator[str]:
    """The texts of a figure that people read, in order."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key != "template":
                yield from texts(value, key in SHOWN)
    elif isinstance(node, list):
        for value in node:
            yield from texts(value, shown)
    elif isinstance(node, str) and shown:
        yield node


def told(figure: Any) -> list[str]:
    """What a figure says, without the texts of users and what plotly fills in."""
    return [OF_USERS.sub("", text) for text in texts(json.loads(figure.to_json()))]


def left_in_english(text: str) -> list[str]:
    return ENGLISH.findall(PROPER.sub("", FILLED_IN.sub("", re.sub("<[^>]*>", "", text))))


def numbers(text: str) -> list[str]:
    return sorted(re.findall(r"\d+(?:[.,]\d+)*", text))


@pytest.mark.parametrize("draw", FIGURES.values(), ids=FIGURES)
def test_a_figure_leaves_no_english_over_and_says_the_same(draw: Callable[[Language], Any]) -> None:
    english, chinese = told(draw("en")), told(draw("zh"))
    assert len(english) == len(chinese) and any(OURS.search(text) for text in chinese)
    for one, other in zip(english, chinese, strict=True):
        assert left_in_english(other) == []
        assert numbers(one) == numbers(other), (one, other)
        assert sorted(FILLED_IN.findall(one)) == sorted(FILLED_IN.findall(other)), (one, other)


def test_unless_asked_for_otherwise_a_figure_is_english() -> None:
    assert not any(OURS.search(text.replace("海", "")) for draw in FIGURES.values() for text in told(draw("en")))
    assert token_figure(RUN, 3) == FIGURES["token"]("en")


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
def test_words_and_cards_leave_no_english_over_and_say_the_same(page: Callable[[Language], str]) -> None:
    without_pictures = [re.sub('src="[^"]*"', "", page(language)) for language in ("en", "zh")]
    english, chinese = (html.unescape(OF_USERS.sub("", text)) for text in without_pictures)
    hints = " ".join(re.findall('title="([^"]*)"', chinese))
    assert left_in_english(chinese + hints) == [] and OURS.search(chinese.replace("海", ""))
    assert numbers(english) == numbers(chinese)
    assert not OURS.search(english.replace("海", ""))
    tags = [re.findall("<[^>]*>", re.sub(' title="[^"]*"', "", text)) for text in (english, chinese)]
    assert tags[0] == tags[1]


# The table of the words


def test_no_word_is_left_over() -> None:
    tables = {"figure_words.py", "status_words.py"}
    modules = [file for file in Path(viz.__file__).parent.rglob("*.py") if file.name not in tables]
    nodes = [node for file in modules for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))]
    written = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    of_limits = {f"At most {{n:,}} {limit.metadata['says']}" for limit in fields(Limits)}
    assert FIGURE_WORDS.keys() | STATUS_WORDS.keys() <= written | of_limits


def test_templates_have_the_same_holes() -> None:
    for english, chinese in FIGURE_WORDS.items():
        holes = [
            sorted(f"{name}:{form}" for _, name, form, _ in Formatter().parse(text) if name)
            for text in (english, chinese)
        ]
        assert holes[0] == holes[1], english
        assert left_in_english(re.sub(r"\{[^}]*\}", "", chinese)) == [], english


def columns_of_measure() -> set[str]:
    runs = [PER_HEAD, RUN]
    found = {column for name in measure.TABLES for row in measure.table_rows(name, runs, RUN, 0) for column in row}
    for name in (measure.RUNS_OVERLAP, measure.LIFE):
        same = [RUN, replace(TWICE[1], tokens=RUN.tokens)]
        found |= {column for row in measure.table_rows(name, same, RUN, 0) for column in row}
    return found


def test_every_name_has_chinese_and_none_is_left_over() -> None:
    of_kinds = {*kinds.KINDS, kinds.ALL_TOKENS, *paper.LIVES}
    columns = {*COST_COLUMNS, *POINT_COLUMNS, *write.COLUMNS, *columns_of_measure()}
    same = {"$", "distinct-1", "distinct-2", "distinct-3"}
    labels = {label for label in LABELS.values() if left_in_english(label)}
    assert (of_kinds | columns | labels) - same == NAMES.keys() - {"evidence", "question"}
    assert len({named(kind, "zh") for kind in (*kinds.KINDS, kinds.ALL_TOKENS)}) == len(kinds.KINDS) + 1
    for chinese in NAMES.values():
        assert OURS.search(chinese) and left_in_english(OF_USERS.sub("", chinese)) == []


def test_a_policy_is_called_in_english_as_the_code_calls_it() -> None:
    assert [policy_name(policy, "en") for policy in EVERYTHING] == [str(policy) for policy in EVERYTHING]
    assert [policy_name(policy, "zh") for policy in (WHOLE, RUN.policy)] == ["完整模型", "TOVA，预算 8"]
    assert [amount("en", n, "vote") for n in (0, 1, 2000)] == ["0 votes", "1 vote", "2,000 votes"]
    assert amount("zh", 2000, "vote") == "2,000 票"


# Tables


@pytest.mark.parametrize("name", [*measure.TABLES, measure.LIFE])
def test_a_table_leaves_no_english_over_but_tokens(name: str) -> None:
    run = replace(random_trace(4, n=len(ALL_KINDS), groups=2), tokens=ALL_KINDS, policy=PER_HEAD.policy)
    rows = measure.table_rows(name, [run, replace(run, policy=RUN.policy)], run, 0)
    english, chinese = (table_of(rows, [run.policy], language) for language in ("en", "zh"))
    assert english["headers"] == list(rows[0])
    words = [*chinese["headers"], *(str(cell) for row in chinese["data"] for cell in row)]
    tokens = {*ALL_KINDS.pieces, "None"}
    assert [word for word in words if word not in tokens and left_in_english(word)] == []
    for row, other in zip(english["data"], chinese["data"], strict=True):
        assert [cell for cell in row if not isinstance(cell, str)] == [x for x in other if not isinstance(x, str)]


def test_a_token_of_the_text_is_no_word_of_ours() -> None:
    row = {"policy": "Full", "token": "comma", "kind": "comma", "mean steps kept": 1.23456}
    assert table_of([row], [], "zh")["data"] == [["完整模型", "comma", "逗号", 1.235]]
    assert table_of([row], [], "en")["data"] == [["Full", "comma", "comma", 1.235]]


# In an event


def everything(outputs: list[Any]) -> str:
    shown = [getattr(each, "value", each) for each in outputs]
    shown = [each.get("value", "") if isinstance(each, dict) and "headers" not in each else each for each in shown]
    return "\n".join(
        "\n".join(told(each)) if hasattr(each, "to_json") and hasattr(each, "data") else str(each) for each in shown
    )


def test_each_visitor_sees_figures_in_their_own_language() -> None:
    run = replace(PER_HEAD, tokens=replace(PER_HEAD.tokens, pieces=("海",) * len(PER_HEAD)))

    def seen(locale: str) -> str:
        with asked_from(locale):
            agreement = [*measure.of_all_runs([run, run]), *measure.look_closer([run, run], 1, 1, measure.LIFE)]
            first = everything([*agreement, *budget.at_first()])
            return re.sub('src="[^"]*"|/[^ ]*csv', "", first)

    chinese, english = seen("zh-CN,zh;q=0.9"), seen("en-US")
    assert "存活" in chinese and "Survival" in english
    assert left_in_english(re.sub(r"'(headers|data)'|None|nan", "", chinese)) == []
    assert not OURS.search(english.replace("海", ""))
    assert seen("zh-CN") == chinese
