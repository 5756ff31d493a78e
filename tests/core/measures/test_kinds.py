"""Kinds of token, told from texts in several languages, and their lives."""

import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.measures import kinds, survival, tables
from core.measures.kinds import (
    CAPITALISED,
    CLOSING_BRACKET,
    CLOSING_QUOTE,
    COMMA,
    CURRENCY,
    FUNCTION_WORD,
    KINDS,
    NEWLINE,
    NUMBER,
    OTHER_SIGN,
    OTHER_WORD,
    POSSESSIVE,
    SENTENCE_END,
    SPECIAL,
)
from core.trace import NEVER
from tests.traces import HOSTILE, random_trace, tokens_of, trace_of


def kinds_of(pieces: list[str]) -> list[str]:
    return [KINDS[kind] for kind in kinds.kinds_of(tokens_of(tuple(pieces)))]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # the text in tokens, and the kind of the marked one
        ("The| keeper|*'s| lamp", POSSESSIVE),
        ("The| keeper|*'|s| lamp", POSSESSIVE),
        ("The| keeper|’|*s| lamp", POSSESSIVE),
        ("the| sailors|*'| boats", POSSESSIVE),
        ("It|*'s| late", FUNCTION_WORD),
        ("She| was|n|*'t| there", FUNCTION_WORD),
        ("'|The| sailors|*'| she| said", CLOSING_QUOTE),
        ('"|Go|,|*"| he| said', CLOSING_QUOTE),
        ('*"|Go|,|"| he| said', OTHER_SIGN),
        ('He| said|:| "|Go|*."|\n', CLOSING_QUOTE),
        ("Er| sagt|:| „|Ja|*“|.", CLOSING_QUOTE),
        ("Er| sagt|:| »|Ja|*«|.", CLOSING_QUOTE),
        ("Er| sagt|:| *»|Ja|«|.", OTHER_SIGN),
        ("«|\xa0Oui|\xa0*»|,| dit|-elle", CLOSING_QUOTE),
        ("他|问|：|“|走|？|*”|我", CLOSING_QUOTE),
        ("他|问|：|*“|走|？|”|我", OTHER_SIGN),
        ("彼|は|「|はい|*」|と", CLOSING_QUOTE),
        ("It| costs| *$|5", CURRENCY),
        ("5| *€", CURRENCY),
        ("(|so|*)", CLOSING_BRACKET),
        ("He| slept|*.", SENTENCE_END),
        ("He| slept|*...", SENTENCE_END),
        ("睡|了|*。", SENTENCE_END),
        ("क्या| है|*।", SENTENCE_END),
        ("e|.|g|*.| this", OTHER_SIGN),
        ("Soup|.|\n|2|*.| Stir", OTHER_SIGN),
        ("the| fox|'s|*.", SENTENCE_END),
        ("red|*,| blue", COMMA),
        ("红|*，|蓝", COMMA),
        ("أحمر|*،", COMMA),
        ("one|*\n|two", NEWLINE),
        ("in| *1990", NUMBER),
        ("3|*.|14", NUMBER),
        ("१|*२", NUMBER),
        ("The| ship| *Or|rin", CAPITALISED),
        ("The| ship| Or|*rin", CAPITALISED),
        ("It| sank|.| *Orr|in", OTHER_WORD),
        ('He| said|,| "|*Boats', OTHER_WORD),
        ("Then| *I| slept", FUNCTION_WORD),
        ("The| light| *of| day", FUNCTION_WORD),
        ("Das| Licht| *des| Tages| und| der| Nacht", FUNCTION_WORD),
        ("They| saw| the| *war| of| it", OTHER_WORD),
        ("Он| пошёл| *в| лес", FUNCTION_WORD),
        ("山|里|*的|茶", FUNCTION_WORD),
        ("山|里|的|*茶", OTHER_WORD),
        ("a| *lamp", OTHER_WORD),
        ("wait| *—| no", OTHER_SIGN),
        ("🦊| *🦊", OTHER_SIGN),
        ("a|*  |b", OTHER_SIGN),
    ],
)
def test_the_kind_of_a_token(text: str, expected: str) -> None:
    pieces = text.split("|")
    [marked] = [position for position, piece in enumerate(pieces) if "*" in piece]
    assert kinds_of([piece.replace("*", "") for piece in pieces])[marked] == expected


def test_a_forgotten_quotation_mark_does_not_turn_the_next_paragraph_around() -> None:
    paragraph = ['"', "Go", ',"', " he", " said", ".", "\n"]
    assert kinds_of(['"', "Go", ",", " he", " said", ".", "\n", *paragraph])[9] == CLOSING_QUOTE


def test_special_tokens_and_parts_of_characters() -> None:
    tokens = tokens_of(("<s>", "Orrin", " ", "茶", "", "", "<|im_end|>", "Orrin"))
    special = np.array([piece.startswith("<") for piece in tokens.pieces])
    found = [KINDS[kind] for kind in kinds.kinds_of(replace(tokens, special=special))]
    assert found == [SPECIAL, OTHER_WORD, OTHER_SIGN, OTHER_WORD, OTHER_WORD, OTHER_WORD, SPECIAL, OTHER_WORD]


def test_a_word_has_one_kind_however_it_is_cut() -> None:
    text = "The harbour of Orrin had one keeper (since 1990). \"All well, isn't it?\" said Maud's sister.\n"
    words = re.findall(r"\s?\w+|[^\w\s]|\s", text)
    expected, letters = [], []
    for word, kind in zip(words, kinds_of(words), strict=True):
        cut = re.findall(r"\s?\S|\s", word)
        letters += cut
        expected += [kind] * len(cut)
    assert len(letters) > 1.5 * len(words)
    assert kinds_of(letters) == expected


@given(st.lists(st.one_of(st.text(max_size=4), st.sampled_from([*HOSTILE, "'s", '."', " I", "1.", "“"])), max_size=20))
def test_every_text_has_kinds(pieces: list[str]) -> None:
    assert len(kinds_of(pieces)) == len(pieces)


def test_lives_by_hand() -> None:
    trace = trace_of(
        [[[NEVER, 2, 3, 4, NEVER]], [[2, 3, NEVER, 4, NEVER]]], ("The", " harbour", " light", ",", " the"), budget=2
    )
    lives = kinds.lives_of_kinds(trace)
    # lifespans 5 1 1 1 1 and 2 2 3 1 1
    assert lives == [
        kinds.KindLife(COMMA, 1, 1.0, 0.0),
        kinds.KindLife(FUNCTION_WORD, 2, 2.25, 0.75),
        kinds.KindLife(OTHER_WORD, 2, 1.75, 0.25),
        kinds.KindLife(kinds.ALL_TOKENS, 5, 1.8, 0.4),
    ]
    assert tables.kind_rows([trace])[1] == {
        **{"policy": "TOVA", "budget": 2, "kind": FUNCTION_WORD, "tokens": 2},
        **{"mean steps kept": 2.25, "kept to the end": 0.75},
    }
    longest = tables.longest_lived_rows(trace, 3)
    assert [row["position"] for row in longest] == [0, 2, 1]
    assert longest[1] == {
        **{"position": 2, "token": " light", "kind": OTHER_WORD, "mean steps kept": 2.0, "of steps": 3},
        **{"kept to the end by": 1, "of deciders": 2},
    }


@pytest.mark.parametrize("groups", [1, 2])
def test_lives_on_random_traces(groups: int) -> None:
    trace = random_trace(8, groups=groups)
    spans, of_kind = survival.lifespan(trace), kinds_of(list(trace.tokens.pieces))
    for life in kinds.lives_of_kinds(trace)[:-1]:
        own = [float(spans[..., p].mean()) for p, kind in enumerate(of_kind) if kind == life.kind]
        assert (life.tokens, life.steps) == (len(own), pytest.approx(np.mean(own)))
    assert sum(life.tokens for life in kinds.lives_of_kinds(trace)[:-1]) == len(trace)
