"""Figures and sentences about a passage and about the needle, on traces and results small enough to check by hand."""

import json
from dataclasses import replace

import numpy as np
import pytest

from core.experiments.haystack import NeedleResult
from core.measures.evidence import Fate, fate, mean_share_kept, share_kept
from core.policies import make_policy, settings_of
from core.trace import NEVER
from tests.traces import HOSTILE, random_trace, trace_of
from viz.figures.evidence import evidence_figure, evidence_layers_figure
from viz.figures.needle import needle_figure
from viz.words.answer_sentences import fate_sentence, needle_sentences

PASSAGE, QUESTION = range(4, 9), 30


def result(key, depth, length, found, share, answer="It is 7394."):
    policy = settings_of(make_policy(key, None if key == "full" else 64))
    return NeedleResult(policy, depth, length, answer, found, Fate(None, None, share))


RESULTS = [
    result("full", 0.0, 256, True, 1.0),
    result("tova", 0.0, 256, False, 0.03),
    result("full", 0.5, 256, True, 1.0),
    result("tova", 0.5, 256, True, 0.5, "<img src=x>7394"),
    result("full", 0.5, 1024, False, 1.0),
]


def test_the_curve_is_the_share_from_the_passage_on():
    traces = [random_trace(seed) for seed in range(3)]
    lines = evidence_figure(traces, PASSAGE, QUESTION).data
    assert len(lines) == 3 and len({line.name for line in lines}) == 3
    for line, trace in zip(lines, traces, strict=True):
        assert list(line.x) == list(range(4, len(trace)))
        np.testing.assert_allclose(line.y, mean_share_kept(trace, PASSAGE)[4:])


def test_a_single_trace_shows_its_layers_too():
    trace = random_trace(0)
    *layers, mean = evidence_figure([trace], PASSAGE, QUESTION).data
    np.testing.assert_allclose([layer.y for layer in layers], share_kept(trace, PASSAGE)[:, 4:])
    assert [layer.showlegend for layer in layers] == [True, False, False]
    np.testing.assert_allclose(mean.y, np.mean([layer.y for layer in layers], axis=0), rtol=1e-5)


@pytest.mark.parametrize(
    "draw", [lambda t: evidence_figure([t], PASSAGE, QUESTION), lambda t: evidence_layers_figure(t, PASSAGE, QUESTION)]
)
def test_where_the_passage_ends_and_the_question_begins_is_marked(draw):
    trace = random_trace(1)
    figure = draw(trace)
    assert [shape.x0 for shape in figure.layout.shapes] == [8, 30, trace.prompt_length]
    assert [note.text for note in figure.layout.annotations] == ["passage read", "question", "answer"]


def test_the_heat_map_is_layers_by_steps():
    trace = random_trace(2, groups=2)
    figure = evidence_layers_figure(trace, PASSAGE, QUESTION)
    (heat,) = figure.data
    assert figure.layout.yaxis.autorange == "reversed", "the first layer is on top"
    np.testing.assert_allclose(heat.z, share_kept(trace, PASSAGE)[:, 4:])
    assert (list(heat.x), heat.zmin, heat.zmax) == (list(range(4, 40)), 0, 1)


def test_the_matrix_says_found_or_not_and_the_share():
    full, tova = needle_figure(RESULTS).data
    assert (list(tova.x), list(tova.y)) == (["256", "1,024"], ["0%", "50%"])
    assert np.asarray(tova.text).tolist() == [["✗ 3%", ""], ["✓ 50%", ""]]
    assert np.asarray(full.text).tolist() == [["✓ 100%", ""], ["✓ 100%", "✗ 100%"]]
    np.testing.assert_array_equal(np.asarray(tova.z, float), [[0.03, np.nan], [0.5, np.nan]])


def test_a_test_that_has_only_begun_can_be_drawn():
    assert len(needle_figure([]).data) == 0
    assert len(needle_figure(RESULTS[:1]).data) == 1
    assert len(needle_figure([result(key, 0.0, 9, True, 1.0) for key in ("full", "tova", "h2o", "window")]).data) == 4


def test_policies_of_one_name_with_other_settings_are_two():
    other = replace(RESULTS[1], policy=replace(RESULTS[1].policy, settings={"n_sink": 1}), found=True)
    assert len(needle_figure([RESULTS[1], other]).data) == 2
    assert [sentence.count("in 1 of") for sentence in needle_sentences([RESULTS[1], other])] == [0, 1]


def test_figures_take_no_markup_from_texts():
    trace = trace_of([[[NEVER] * len(HOSTILE)]], HOSTILE, budget=9)
    for figure in (evidence_figure([trace], range(0, 2), 3), needle_figure(RESULTS)):
        assert "<img" not in json.dumps(json.loads(figure.to_json())["data"])


def test_sentences_by_hand():
    trace = trace_of([[[NEVER, 2, 3, 4, NEVER]], [[2, 3, NEVER, 4, NEVER]]], ("a", " b", " c", " d", " e"))
    assert fate_sentence(trace, fate(trace, range(1, 3), 4)) == (
        "TOVA, budget 2: 25% of the passage was kept when the question came. Less than half of it is kept from step 3 "
        "on, reading “ d”."
    )
    assert fate_sentence(trace, fate(trace, range(1, 2), 4)) == (
        "TOVA, budget 2: 0% of the passage was kept when the question came. Less than half of it is kept from step 3 "
        "on, reading “ d”, nothing from step 3 on, reading “ d”."
    )
    assert fate_sentence(trace, fate(trace, range(4, 5), 5)) == (
        "TOVA, budget 2: 100% of the passage was kept when the question came. At least half of it is kept to the end."
    )
    assert needle_sentences(RESULTS) == [
        "Full: finds the fact in 2 of 3 texts; on average 100% of it was kept when the question came.",
        "TOVA, budget 64: finds the fact in 1 of 2 texts; on average 26% of it was kept when the question came.",
    ]
    assert needle_sentences([]) == []
