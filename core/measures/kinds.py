"""What kind of word or sign a token is, judged from the text alone, and how long each kind is kept.

The kinds are those that Oren et al. 2024 (tables 2 and 5) found to matter and that need no part-of-speech tagger.
They rest on Unicode's properties of characters, so they mean the same in other languages and scripts.
"""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import TypeAlias

import numpy as np
import regex  # type: ignore[import-untyped]
from bm25s import stopwords  # type: ignore[import-untyped]
from numpy.typing import NDArray

from core.measures.survival import kept_to_the_end, lifespan
from core.trace import Tokens, Trace

POSSESSIVE, CLOSING_QUOTE, CURRENCY = "possessive ending", "closing quote", "currency sign"
CLOSING_BRACKET, SENTENCE_END, COMMA = "closing bracket", "sentence end", "comma"
NEWLINE, NUMBER, CAPITALISED = "newline", "number", "capitalised word inside a sentence"
FUNCTION_WORD, OTHER_WORD, OTHER_SIGN, SPECIAL = "function word", "other word", "other sign", "special token"

# A token that is of several kinds, such as .” as one token, counts as the first of them in this list.
KINDS = (
    *(POSSESSIVE, CLOSING_QUOTE, CURRENCY, CLOSING_BRACKET, SENTENCE_END, COMMA, NEWLINE),
    *(NUMBER, CAPITALISED, FUNCTION_WORD, OTHER_WORD, OTHER_SIGN, SPECIAL),
)
_INDEX = {kind: index for index, kind in enumerate(KINDS)}

Kinds: TypeAlias = NDArray[np.int64]  # indices into KINDS

# A piece of a text is the first of these that matches. An apostrophe between letters splits words: it|'|s, l|'|homme.
_PIECES = regex.compile(
    r"""(?P<word>\p{L}[\p{L}\p{M}]*)
    |(?P<number>\p{N}(?:[\p{N}.,]*\p{N})?)
    |(?P<currency>\p{Sc})
    |(?P<newline>[\n\r\v\f\x85\u2028\u2029])
    |(?P<apostrophe>(?<=\p{L}\p{M}*)['’](?=\p{L}))
    |(?P<quote>\p{Quotation_Mark})
    |(?P<bracket>\p{Pe})
    |(?P<list_number>(?<=^[^\S\n]*\p{N}+)\.(?=\s))
    |(?P<abbreviation>\.(?=[\p{L}\p{N}])|(?<=(?<![\p{L}'’])\p{Latin})\.(?!\.))
    |(?P<sentence_end>[\p{Sentence_Terminal}…]+)
    |(?P<comma>[,،，、﹐､՝⹁߸])""",
    regex.VERBOSE | regex.V1 | regex.MULTILINE,
)
_WITHOUT_SPACES = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]", regex.V1)
_SPACE_AND_LETTER = regex.compile(r"\s\p{L}")

# By closing quote: the quotes that may open what it closes, in any language.
_OPENERS = {
    **{'"': '"', "'": "'", "”": "“„”", "“": "„", "’": "‘‚’", "‘": "‚"},
    **{"»": "«»", "«": "»", "›": "‹›", "‹": "›", "」": "「", "』": "『", "｣": "｢"},
}


def kinds_of(tokens: Tokens) -> Kinds:
    """(n,): the kind of every token, as an index into `KINDS`.

    All tokens of one word, or of one character, have its kind. Some kinds are wrong because the text alone does not
    tell: an 's after a noun may be a shortened “is”; a full stop after an abbreviation such as “Mr.” counts as the end
    of a sentence; a name that begins a line, a sentence or a quotation does not count as capitalised.
    """
    # A special token has no text, but like a line break it ends a word and a sentence.
    pieces = ["\n" if special else piece for piece, special in zip(tokens.pieces, tokens.special, strict=True)]
    borders = np.concatenate([[0], np.cumsum([len(piece) for piece in pieces], dtype=np.int64)])
    of_characters = _Reading("".join(pieces), borders).kinds
    kinds = np.full(len(tokens), _INDEX[OTHER_SIGN])
    for position in range(len(tokens)):
        start, stop = borders[position : position + 2]
        if tokens.special[position]:
            kinds[position] = _INDEX[SPECIAL]
        elif tokens.continued[position] and position:
            kinds[position] = kinds[position - 1]
        elif start < stop:
            kinds[position] = of_characters[start:stop].min()
    return kinds


class _Reading:
    """Writes the kind of each character of a text to `kinds`; `borders` are where its tokens begin, and its length."""

    def __init__(self, text: str, borders: NDArray[np.int64]) -> None:
        self.text, self.borders = text, borders
        self.kinds = np.full(len(text), _INDEX[OTHER_SIGN])
        pieces = list(_PIECES.finditer(text))
        self.function_words = _function_words(
            text[start:stop].casefold()
            for piece in pieces
            if piece.lastgroup == "word"
            for start, stop in self._words(*piece.span())
        )
        self.begins = True  # whether the next word begins a sentence
        self.open_quotes: list[str] = []
        for piece in pieces:
            self._read(piece.lastgroup, *piece.span())

    def _read(self, what: str, start: int, stop: int) -> None:
        match what:
            case "word":
                self._read_word(start, stop)
            case "quote":
                self._read_quote(start)
            case "number":
                self._note(start, stop, NUMBER, begins=False)
            case "currency":
                self._note(start, stop, CURRENCY)
            case "bracket":
                self._note(start, stop, CLOSING_BRACKET)
            case "comma":
                self._note(start, stop, COMMA)
            case "sentence_end":
                self._note(start, stop, SENTENCE_END, begins=True)
            case "list_number":
                self.begins = True
            case "newline":
                self._note(start, stop, NEWLINE, begins=True)
                self.open_quotes.clear()  # else one missing closing quote would swap all that follow

    def _note(self, start: int, stop: int, kind: str, begins: bool | None = None) -> None:
        self.kinds[start:stop] = _INDEX[kind]
        if begins is not None:
            self.begins = begins

    def _read_word(self, start: int, stop: int) -> None:
        after_apostrophe = start >= 2 and self.text[start - 1] in "'’" and self.text[start - 2].isalpha()
        if after_apostrophe:
            before = self.kinds[start - 2]
            if self.text[start:stop] in ("s", "S") and before != _INDEX[FUNCTION_WORD]:
                self._note(start - 1, stop, POSSESSIVE)
                return
        for first, last in self._words(start, stop):
            word = self.text[first:last]
            if word.casefold() in self.function_words:
                kind = FUNCTION_WORD
            elif (word[0].isupper() or word[0].istitle()) and not self.begins:
                kind = CAPITALISED
            else:
                kind = OTHER_WORD
            self._note(first, last, kind, begins=False)
        if after_apostrophe:
            self.kinds[start - 1] = self.kinds[start]

    def _words(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """The words in a run of letters: the whole run, or its tokens if the script puts no spaces between words."""
        if not _WITHOUT_SPACES.search(self.text, start, stop):
            yield start, stop
            return
        first, last = np.searchsorted(self.borders, [start, stop], side="right")
        inside = self.borders[first:last]
        cuts = [start, *np.unique(inside[inside < stop]).tolist(), stop]
        yield from pairwise(cuts)

    def _read_quote(self, at: int) -> None:
        mark = self.text[at]
        openers = _OPENERS.get(mark, "")
        if mark in "'’" and self.text[at - 1 : at].isalpha() and not set(openers) & set(self.open_quotes):
            # An apostrophe: the sailors' boats, or a letter left out.
            if self.text[at - 1] in "sS" and _SPACE_AND_LETTER.match(self.text, at + 1):
                self._note(at, at + 1, POSSESSIVE)
        elif self._closes(at, openers):
            self._note(at, at + 1, CLOSING_QUOTE)
            while self.open_quotes and self.open_quotes.pop() not in openers:
                pass
        else:
            self.open_quotes.append(mark)
            self.begins = True

    def _closes(self, at: int, openers: str) -> bool:
        mark, before, after = self.text[at], self.text[at - 1 : at] or " ", self.text[at + 1 : at + 2] or " "
        like_an_opening = (before.isspace() or before in "([{") and not after.isspace()
        if mark in "\"'" and like_an_opening:
            return False
        if mark in "\"'" and not before.isspace() and not after.isalnum() and after not in "([{":
            return True
        if set(openers) & set(self.open_quotes):
            return True
        return unicodedata.category(mark) in ("Pf", "Pe") and not like_an_opening


def _function_words(words: Iterable[str]) -> frozenset[str]:
    """The function words of the text's language.

    Languages in Latin letters share many words (“die”, “war”, “men”). So of these languages, only the one counts that
    has the most function words in the text. Those in other scripts share no words with it or, nearly, each other.
    """
    count = Counter(words)
    latin, others = _stop_words()
    language = max(latin, key=lambda listed: sum(count[word] for word in listed))
    return language | others


@cache
def _stop_words() -> tuple[list[frozenset[str]], frozenset[str]]:
    """One set for each language in Latin letters, and one for all other languages together."""
    latin = (
        *(stopwords.STOPWORDS_EN_PLUS, stopwords.STOPWORDS_GERMAN, stopwords.STOPWORDS_DUTCH),
        *(stopwords.STOPWORDS_FRENCH, stopwords.STOPWORDS_SPANISH, stopwords.STOPWORDS_PORTUGUESE),
        *(stopwords.STOPWORDS_ITALIAN, stopwords.STOPWORDS_SWEDISH, stopwords.STOPWORDS_NORWEGIAN),
        *(stopwords.STOPWORDS_DANISH, stopwords.STOPWORDS_TURKISH),
    )
    others = (stopwords.STOPWORDS_RUSSIAN, stopwords.STOPWORDS_CHINESE, stopwords.STOPWORDS_KOREAN)
    return [frozenset(words) for words in latin], frozenset().union(*others)


@dataclass(frozen=True)
class KindLife:
    """How long the tokens of one kind were kept.

    Attributes:
        kind: one of `KINDS`, or `ALL_TOKENS`.
        tokens: how many there are in the text.
        steps: for how many steps they were kept, averaged over tokens and deciders.
        kept_to_the_end: the share of (token, decider) pairs that were never evicted.
    """

    kind: str
    tokens: int
    steps: float
    kept_to_the_end: float


ALL_TOKENS = "all tokens"


def lives_of_kinds(trace: Trace) -> list[KindLife]:
    """One entry for each kind that occurs in the text, in the order of `KINDS`, and one for all tokens.

    As in tables 2 and 5 of Oren et al. 2024, a token still there at the end counts with the steps up to the end.
    """
    kinds = kinds_of(trace.tokens)
    steps = lifespan(trace).mean(axis=(0, 1), dtype=np.float64)
    kept = kept_to_the_end(trace).mean(axis=(0, 1))
    lives = []
    for kind in (*KINDS, ALL_TOKENS):
        of_kind = np.ones(len(kinds), bool) if kind == ALL_TOKENS else kinds == _INDEX[kind]
        if of_kind.any():
            lives.append(KindLife(kind, int(of_kind.sum()), float(steps[of_kind].mean()), float(kept[of_kind].mean())))
    return lives
