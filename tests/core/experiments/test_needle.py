"""The fact hidden in a text, and who still knows it when the question comes."""

import re

import pytest

from core import load_model, make_policy
from core.errors import BadInput
from core.experiments.ask import ask, prompt_of
from core.experiments.haystack import CHRONICLE, FACT, NEEDLE, QUESTION, contains_fact, hide
from core.experiments.needle import iter_needle, needle
from core.measures.evidence import fate
from tests.talkers import make_talker

TEXT = CHRONICLE.read_text(encoding="utf-8")
DEPTHS, LENGTHS = [0.6, 0], [300, 210]


@pytest.fixture(scope="module")
def lm(tmp_path_factory):
    return load_model(make_talker(tmp_path_factory.mktemp("talker"), chats=True), dtype="float32")


# ---- the text


def test_the_chronicle_is_long_and_does_not_give_the_fact_away(smollm2):
    assert len(smollm2.encode(TEXT)) >= 1500
    assert FACT in NEEDLE and FACT not in TEXT + QUESTION
    assert "clockmaker" not in TEXT.lower()
    paragraphs = TEXT.split("\n\n")
    assert len(paragraphs) == len(set(paragraphs)) > 10


@pytest.mark.parametrize("length", [210, 300, 1000, 5000, 9000])
def test_the_text_is_the_chronicle_with_the_needle_in_it(lm, length):
    for depth in (0, 0.25, 0.5, 0.9, 1):
        text = hide(lm, depth, length)
        assert text.document[text.start : text.stop] == NEEDLE
        before, after = text.document[: text.start], text.document[text.stop :].removeprefix(" ")
        assert TEXT.startswith((before + after).rstrip())
        assert before + after and (before + after).rstrip()[-1] in '.!?"'
        assert before == "" or before.rstrip()[-1] in '.!?"', "the needle stands between two sentences"
        size = len(lm.encode(text.document))
        assert length - 420 < size <= length, "the next sentence would not have fitted"
        longest = max(len(sentence) for sentence in TEXT.split("."))
        assert abs(len(before) - depth * len(before + after)) <= longest
    assert hide(lm, 0, length).start == 0
    assert hide(lm, 1, length).document.endswith(NEEDLE)


def test_texts_that_there_are_not_are_refused(lm):
    for depth in (-0.1, 1.1, float("nan")):
        with pytest.raises(BadInput, match="from 0"):
            hide(lm, depth, 500)
    for length in (0, 100, 10**6):
        with pytest.raises(BadInput, match="tokens, not") as refused:
            hide(lm, 0.5, length)
    shortest, longest, _ = (int(number.replace(",", "")) for number in re.findall(r"[\d,]*\d", str(refused.value)))
    assert hide(lm, 0.5, shortest) and hide(lm, 0.5, longest)
    for length in (shortest - 1, longest + 1):
        with pytest.raises(BadInput):
            hide(lm, 0.5, length)


@pytest.mark.parametrize("number", ["7394", "7,394", "7.394", "7'394", "7’394", "7 394", "7\u00a0394", "7\u202f394"])
def test_the_fact_is_found_as_people_write_it(number):
    for answer in ("{}", "It is {}.", "“{}”", "No.{}, of course", "5 or {}, 100 or 6", "密码是{}。", "{}입니다"):
        assert contains_fact(answer.format(number)), answer
        for zero in "٠۰०０":  # the digits of other scripts stand in a row, too
            there = str.maketrans({str(i): chr(ord(zero) + i) for i in range(10)})
            assert contains_fact(answer.format(number.translate(there))), answer
    for answer in ("٧٬٣٩٤", "٧،٣٩٤", "۷،۳۹۴", "７，３９４", "7,394.00", "7394.00", "7.394,00", "7 394,00"):
        assert contains_fact(answer), answer
    for answer in ("7{,}394", "7\\,394", "7\u2007394", "7ʼ394", "7·394", "号码是7394，2024年", "1890，7394是号码"):
        assert contains_fact(answer), answer


@pytest.mark.parametrize(
    "answer",
    [
        *("73945", "73941", "17394", "17,394", "1.7394", "7,394,000", "7394,000", "7394.5", "7.394,50", "7 394 000"),
        *("17 394", "7,39,4", "73,94", "7,3940", "7 3940", "7 , 394", "7,\n394", "7  394", "x7394", "7394b", "7_394"),
        *("٧٬٣٩٤٬٠٠٠", "１７３９４", "7395", "", "7.394 million", ".7394", "1/7394", "½7394", "7394²", "7394万"),
    ],
)
def test_another_number_is_not_the_fact(answer):
    assert not contains_fact(answer)


# ---- the test


def test_every_policy_reads_every_text(lm):
    reports = list(
        iter_needle(lm, [make_policy("window", 24), make_policy("full"), make_policy("tova", 24)], DEPTHS, LENGTHS)
    )
    done = [report.done for report in reports]
    assert done == sorted(done) and done[-1] == reports[-1].total
    assert [len(report.results) for report in reports] == sorted(len(report.results) for report in reports)
    results = reports[-1].results
    cells = [(depth, length) for length in LENGTHS for depth in DEPTHS]
    assert [(r.depth, r.length, r.policy.key) for r in results] == [
        (*cell, key) for cell in cells for key in ("full", "window", "tova")
    ]
    for depth, length in cells:
        text = hide(lm, depth, length)
        prompt = prompt_of(lm, text.document, QUESTION)
        answers = ask(lm, prompt, [make_policy("window", 24), make_policy("tova", 24)], max_new_tokens=24)
        own = [result for result in results if (result.depth, result.length) == (depth, length)]
        for result, answer in zip(own, answers, strict=True):
            passage = prompt.passage(text.start, text.stop)
            assert "".join(prompt.tokens.pieces[passage.start : passage.stop]) == NEEDLE
            assert result.answer == answer.text
            assert result.found == contains_fact(answer.text)
            assert result.fate == fate(answer.trace, passage, prompt.question.start)
        full, window, _ = own
        assert full.fate.at_question == 1.0 and full.fate.half_lost_at is None
        if depth == 0:
            assert window.fate.at_question == 0.0


def test_a_test_that_cannot_be_made_is_refused_before_anything_is_read(lm):
    tova = make_policy("tova", 24)
    for depths, lengths in (([], [300]), ([0.5], []), ([0.5, 2], [300]), ([0.5], [300, 3])):
        with pytest.raises(BadInput):
            next(iter_needle(lm, [tova], depths, lengths))


def test_smollm2_finds_the_fact_and_tova_with_a_small_budget_has_lost_it(smollm2):
    full, tova = needle(smollm2, [make_policy("tova", 16)], [0.3], [110])
    assert full.found and FACT in full.answer
    assert not tova.found
    assert tova.fate.at_question < 0.3 < 0.9 < full.fate.at_question
    assert tova.fate.half_lost_at is not None
