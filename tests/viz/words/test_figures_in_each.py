"""Figures, tables and cards in a Chinese browser: no English is left over, and the numbers are the same."""

import html
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import gradio as gr
import numpy as np
import pytest

from core.experiments.records import POINT_COLUMNS, Point
from core.experiments.stories import Telling
from core.measures import kinds, paper
from core.measures.costs import ForgottenAttention
from core.measures.evidence import fate
from core.measures.tables import COST_COLUMNS
from core.policies import POLICIES, make_policy, settings_of
from tests.core.measures.test_survival import full_of, window_of
from tests.traces import random_trace, tokens_of
from tests.viz.figures.test_answer_figures import PASSAGE, QUESTION, result
from tests.viz.figures.test_losses import COMPARED
from tests.viz.figures.test_story_figures import BY_MODEL, TALLY, story_of
from tests.viz.words.test_both_languages import in_each
from tests.writers import pair_of
from viz.cards.answer_cards import Given, answers_html
from viz.cards.lives import lives_html
from viz.cards.story_cards import pair_html, telling_html
from viz.figures.early_tokens import early_figure, early_layers_figure
from viz.figures.evidence import evidence_figure, evidence_layers_figure
from viz.figures.kinds import kinds_figure
from viz.figures.life import LONGEST_LIFE, head_figure, token_figure
from viz.figures.losses import losses_figure
from viz.figures.needle import needle_figure
from viz.figures.overlap import head_overlap_figure, layer_overlap_figure, trace_overlap_figure
from viz.figures.recency import age_figure, recency_by_layer_figure, recency_figure
from viz.figures.survival import survival_figure, survival_layers_figure
from viz.figures.sweep import paper_sweep_figure, sweep_figure
from viz.figures.tables import table_of
from viz.figures.tally import tally_figure
from viz.tabs import write
from viz.tabs.budget import BudgetLens
from viz.tabs.tokens import LIFE, RUNS_OVERLAP, TABLES, TokensLens, table_rows
from viz.words.answer_sentences import fate_sentence, needle_sentences
from viz.words.catalogue import speaking
from viz.words.cost_sentences import cost_sentences, missed_sentences
from viz.words.names import NAMES, named
from viz.words.policies import policy_name
from viz.words.run_sentence import run_sentence

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
MISSED = ForgottenAttention(RUN.policy, 8, np.full((3, 9), 0.05, np.float32))
GIVEN = [Given(WHOLE, "海", True, 1.0), Given(RUN.policy, "海", False, 0.5), Given(RUN.policy, "", False, None)]

FIGURES: dict[str, Callable[[], Any]] = {
    "head": lambda: head_figure(PER_HEAD, 1, 1),
    "attention": lambda: head_figure(RUN, 1, 0, np.ones((40, 40), np.float32)),
    "head of a long text": lambda: head_figure(LONG, 0),
    "token": lambda: token_figure(RUN, 3),
    "token per head": lambda: token_figure(PER_HEAD, 3),
    "sweep": lambda: sweep_figure(POINTS),
    "the paper's sweep": paper_sweep_figure,
    "recency": lambda: recency_figure(TWICE),
    "recency of one run": lambda: recency_figure([RUN]),
    "recency by layer": lambda: recency_by_layer_figure(TWICE),
    "ages": lambda: age_figure(TWICE),
    "early": lambda: early_figure(TWICE),
    "early by layer": lambda: early_layers_figure(RUN),
    "survival": lambda: survival_figure(TWICE),
    "survival by layer": lambda: survival_layers_figure(RUN),
    "losses": lambda: losses_figure(COMPARED),
    "kinds": lambda: kinds_figure([replace(random_trace(4, n=len(ALL_KINDS)), tokens=ALL_KINDS)]),
    "overlap of layers": lambda: layer_overlap_figure(RUN),
    "overlap of many layers": lambda: layer_overlap_figure(random_trace(5, layers=12)),
    "overlap of heads": lambda: head_overlap_figure(PER_HEAD, 1),
    "overlap of runs": lambda: trace_overlap_figure([RUN, replace(TWICE[1], tokens=RUN.tokens), RUN]),
    "evidence": lambda: evidence_figure(TWICE, PASSAGE, QUESTION),
    "evidence of one run": lambda: evidence_figure([RUN], PASSAGE, QUESTION),
    "evidence by layer": lambda: evidence_layers_figure(RUN, PASSAGE, QUESTION),
    "needle": lambda: needle_figure(NEEDLES),
    "tally": lambda: tally_figure([TALLY, replace(BY_MODEL, judge="GPT", model="smollm2/13")]),
}
PAGES: dict[str, Callable[[], str]] = {
    "answers": lambda: answers_html(GIVEN, "海", True),
    "answers that grow": lambda: answers_html(GIVEN, "", False),
    "stories": lambda: telling_html(Telling("海", 0, STORIES), True),
    "stories that grow": lambda: telling_html(Telling("海", 0, STORIES), False),
    "a pair": lambda: pair_html(pair_of("p", full="海", story="海", prompt="海"), "v"),
    "a pair with names": lambda: pair_html(pair_of("p", full="海", story=" ", prompt="海"), "v", True),
    "lives": lambda: lives_html(PER_HEAD, 0),
    "runs": lambda: "<br>".join(run_sentence(run) for run in (RUN, PER_HEAD, full_of(5), LONG)),
    "costs": lambda: "<br>".join([*cost_sentences(COMPARED, ["TOVA", "Window"]), *missed_sentences(RUN, 9, MISSED)]),
    "evidence": lambda: "<br>".join(
        fate_sentence(run, fate(run, PASSAGE, QUESTION)) for run in (RUN, window_of(40, 8), full_of(40))
    ),
    "needle": lambda: "<br>".join(needle_sentences(NEEDLES)),
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
def test_a_figure_leaves_no_english_over_and_says_the_same(draw: Callable[[], Any]) -> None:
    english, chinese = (told(figure) for figure in in_each(draw))
    assert len(english) == len(chinese) and any(OURS.search(text) for text in chinese)
    for one, other in zip(english, chinese, strict=True):
        assert left_in_english(other) == []
        assert numbers(one) == numbers(other), (one, other)
        assert sorted(FILLED_IN.findall(one)) == sorted(FILLED_IN.findall(other)), (one, other)


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
def test_words_and_cards_leave_no_english_over_and_say_the_same(page: Callable[[], str]) -> None:
    without_pictures = [re.sub('src="[^"]*"', "", text) for text in in_each(page)]
    english, chinese = (html.unescape(OF_USERS.sub("", text)) for text in without_pictures)
    hints = " ".join(re.findall('title="([^"]*)"', chinese))
    assert left_in_english(chinese + hints) == [] and OURS.search(chinese.replace("海", ""))
    assert numbers(english) == numbers(chinese)
    assert not OURS.search(english.replace("海", ""))
    tags = [re.findall("<[^>]*>", re.sub(' title="[^"]*"', "", text)) for text in (english, chinese)]
    assert tags[0] == tags[1]


def columns_of_tokens() -> set[str]:
    runs = [PER_HEAD, RUN]
    found = {column for name in TABLES for row in table_rows(name, runs, RUN, 0) for column in row}
    for name in (RUNS_OVERLAP, LIFE):
        same = [RUN, replace(TWICE[1], tokens=RUN.tokens)]
        found |= {column for row in table_rows(name, same, RUN, 0) for column in row}
    return found


def test_every_name_has_chinese_and_none_is_left_over() -> None:
    of_kinds = {*kinds.KINDS, kinds.ALL_TOKENS, *paper.LIVES}
    columns = {*COST_COLUMNS, *POINT_COLUMNS, *write.COLUMNS, *columns_of_tokens()}
    same = {"$", "distinct-1", "distinct-2", "distinct-3"}
    assert of_kinds | columns == NAMES.keys() | same
    with speaking("zh_CN"):
        assert len({named(kind) for kind in (*kinds.KINDS, kinds.ALL_TOKENS)}) == len(kinds.KINDS) + 1
        assert [name for name in NAMES if left_in_english(OF_USERS.sub("", named(name)))] == []


def test_a_policy_is_called_in_english_as_the_code_calls_it() -> None:
    english, chinese = in_each(lambda: [policy_name(policy) for policy in EVERYTHING])
    assert english == [str(policy) for policy in EVERYTHING]
    assert chinese[0] == "完整模型" and "TOVA，预算 8" in chinese


# Tables


@pytest.mark.parametrize("name", [*TABLES, LIFE])
def test_a_table_leaves_no_english_over_but_tokens(name: str) -> None:
    run = replace(random_trace(4, n=len(ALL_KINDS), groups=2), tokens=ALL_KINDS, policy=PER_HEAD.policy)
    rows = table_rows(name, [run, replace(run, policy=RUN.policy)], run, 0)
    english, chinese = in_each(lambda: table_of(rows, [run.policy]))
    assert english["headers"] == list(rows[0])
    words = [*chinese["headers"], *(str(cell) for row in chinese["data"] for cell in row)]
    tokens = {*ALL_KINDS.pieces, "None"}
    assert [word for word in words if word not in tokens and left_in_english(word)] == []
    for row, other in zip(english["data"], chinese["data"], strict=True):
        assert [cell for cell in row if not isinstance(cell, str)] == [x for x in other if not isinstance(x, str)]


def test_a_token_of_the_text_is_no_word_of_ours() -> None:
    row = {"policy": "Full", "token": "comma", "kind": "comma", "mean steps kept": 1.23456}
    english, chinese = in_each(lambda: table_of([row], [WHOLE])["data"])
    assert english == [["Full", "comma", "comma", 1.235]]
    assert chinese == [["完整模型", "comma", "逗号", 1.235]]


# In an event


def everything(outputs: list[Any]) -> str:
    shown = [getattr(each, "value", each) for each in outputs]
    shown = [
        each | {"metadata": each["metadata"]["display_value"]}
        if isinstance(each, dict) and "metadata" in each
        else each
        for each in shown
    ]
    shown = [each.get("value", "") if isinstance(each, dict) and "headers" not in each else each for each in shown]
    return "\n".join(
        "\n".join(told(each)) if hasattr(each, "to_json") and hasattr(each, "data") else str(each) for each in shown
    )


def test_a_tab_shows_its_figures_in_the_language_of_whoever_asks() -> None:
    run = replace(PER_HEAD, tokens=replace(PER_HEAD.tokens, pieces=("海",) * len(PER_HEAD)))

    with gr.Blocks():
        lens, sweep = TokensLens(), BudgetLens()

    def seen() -> str:
        updates = lens.at_first([run, run]) | lens.of_all_runs([run, run]) | lens.look_closer([run, run], 1, 1, LIFE)
        updates |= sweep.example(False)
        shown = [value for component, value in updates.items() if not isinstance(component, gr.State)]
        return re.sub('src="[^"]*"|/[^ ]*csv', "", everything(shown))

    english, chinese = in_each(seen)
    assert "存活" in chinese and "Survival" in english
    assert left_in_english(re.sub(r"'(headers|data|metadata)'|None|nan", "", chinese)) == []
    assert not OURS.search(english.replace("海", ""))
