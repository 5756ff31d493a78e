"""F1 and ROUGE against values computed by hand."""

import math

import pytest

from core.errors import BadInput
from core.experiments.answers import Rouge, f1, rouge, words


def test_words_are_squads():
    assert words("The  Clock-maker's an  AXE; a\nnumber: 7,394.") == ["clockmakers", "axe", "number", "7394"]
    assert words("Theatre another") == ["theatre", "another"], "articles are whole words"
    assert words("“quoted” — the") == ["“quoted”", "—"], "only ASCII punctuation goes, as in SQuAD"


@pytest.mark.parametrize(
    ("answer", "references", "expected"),
    [
        ("the red house", ["A red house!"], 1.0),
        ("red house on hill", ["red boat"], 2 * (1 / 4) * (1 / 2) / (1 / 4 + 1 / 2)),
        ("red red red", ["red red boat"], 2 / 3),  # counted as often as both have it
        ("boat", ["red house"], 0.0),
        ("", ["red house"], 0.0),
        ("the", ["the"], 0.0),  # no words at all
        ("green door", ["blue wall", "a green door on the left", "green"], 2 * 2 / (2 + 4)),
        ("green door", ["green", "door green"], 1.0),  # order does not matter; the best counts
    ],
)
def test_f1_by_hand(answer, references, expected):
    assert f1(answer, references) == pytest.approx(expected)


def test_rouge_by_hand():
    # words: 3 of 4 and 3 of 6; pairs: "the cat" of 3 and 5; the longest common subsequence: the cat … mat
    found = rouge("The cat, the mat", ["the cat sat on a mat"])
    same = 3  # the, cat, mat: the second "the" has no partner
    assert found.rouge1 == pytest.approx(2 * same / (4 + 6))
    assert found.rouge2 == pytest.approx(2 * 1 / (3 + 5))
    assert found.rouge_l == pytest.approx(2 * 3 / (4 + 6))
    assert found.geometric_mean == pytest.approx((0.6 * 0.25 * 0.6) ** (1 / 3))


def test_rouge_takes_the_best_reference_for_each_measure():
    # the first has the words, the second fewer words but a pair
    many, pair = "mat cat the sat", "the cat ran away at once"
    found = rouge("the cat sat mat", [many, pair])
    assert found == Rouge(
        rouge("the cat sat mat", [many]).rouge1,
        rouge("the cat sat mat", [pair]).rouge2,
        max(rouge("the cat sat mat", [one]).rouge_l for one in (many, pair)),
    )
    assert found.rouge1 == 1.0 and found.rouge2 == pytest.approx(2 / (3 + 5))


def test_rouge_has_no_stemmer_and_nothing_in_common_is_zero():
    assert rouge("cats", ["cat"]) == Rouge(0.0, 0.0, 0.0)
    assert rouge("", ["cat"]).geometric_mean == 0.0
    assert math.isclose(rouge("one two", ["One two!"]).geometric_mean, 1.0)


def test_no_reference_is_refused():
    for measure in (f1, rouge):
        with pytest.raises(BadInput, match="at least one"):
            measure("answer", [])
