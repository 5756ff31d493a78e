"""The texts of the needle test, each with a hidden fact that a model cannot guess, and its results."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING
from unicodedata import decimal

import numpy as np

from core.errors import BadInput
from core.measures.evidence import Fate
from core.messages import Message
from core.trace import PolicySettings
from core.whole_numbers import whole

if TYPE_CHECKING:
    from core.model.language_model import LanguageModel

NEEDLE = "The secret number of the clockmaker is 7394."
QUESTION = "What is the secret number of the clockmaker?"
FACT = "7394"
# Separators of thousands. The full-width comma is apart, since it also separates numbers in a list, without a space.
MARKS, WIDE, SPACES = ".,'’ʼ·٬،．", "，", " \u00a0\u2007\u2009\u202f"
_BETWEEN = rf"(?:[{MARKS}{WIDE}]|\{{,\}}|\\,)"  # the last two are LaTeX
_HEAD, _TAIL = FACT[:-3], FACT[-3:]
WRITTEN = re.compile(
    rf"(?<![a-z_\d½¼¾])(?<!\d[{MARKS}/])(?<!\s\.)(?<!^\.)"  # it begins here
    rf"(?:{FACT}|{_HEAD}{_BETWEEN}{_TAIL}|{_HEAD}[{SPACES}]{_TAIL}(?![{SPACES}]\d{{3}}(?!\d)))"
    rf"(?:[.,٫]00?(?!\d))?(?![a-z_\d½¼¾²³/])(?![{MARKS}]\d)(?!{WIDE}\d{{3}}(?!\d))"  # and ends here, perhaps with cents
    r"(?!\s?(?:thousand|million|billion|[万亿千]))",
    re.IGNORECASE,
)
CHRONICLE = Path(__file__).parent / "chronicle.txt"
SENTENCE = re.compile(r"\S.*?[.!?]\"?(?:\s+|$)", re.DOTALL)


@dataclass(frozen=True)
class Haystack:
    """A text with the needle in it.

    Attributes:
        document: the text.
        start, stop: begin and end of the needle in it, in characters.
    """

    document: str
    start: int
    stop: int


@dataclass(frozen=True)
class NeedleResult:
    """The result of one policy on one text.

    Attributes:
        policy: the policy and its settings.
        depth: where the needle was, from 0 (before the text) to 1 (at its end).
        length: the requested length in tokens; the text may be shorter, since it ends with a whole sentence.
        answer: the answer under this policy.
        found: whether the answer contains the fact, see `contains_fact`.
        fate: when the needle was evicted, and how much of it was kept when the question came.
    """

    policy: PolicySettings
    depth: float
    length: int
    answer: str
    found: bool
    fate: Fate


def hide(lm: "LanguageModel", depth: float, length: int) -> Haystack:
    """The needle and as many of the first sentences of the chronicle as together fit into `length` tokens.

    The needle is between two sentences, where the share of tokens before it is closest to `depth`.

    Raises:
        BadInput: a depth outside 0 … 1, or a length that is shorter than needle and first sentence or longer than the
            chronicle.
    """
    if not isinstance(depth, Real) or not 0 <= depth <= 1:
        raise BadInput("The depth must be a number from 0 (the beginning) to 1 (the end).")
    length = whole(Message("The text's length"), length, 0)
    text = CHRONICLE.read_text(encoding="utf-8")
    ends = [0] + [sentence.end() for sentence in SENTENCE.finditer(text)]
    tokens = np.searchsorted(lm.encode(text).offsets[:, 0], ends)  # how many tokens are before each end
    room = length - len(lm.encode(NEEDLE + " "))
    last = int(np.searchsorted(tokens, room, side="right")) - 1
    if last < 1 or room > tokens[-1]:
        longest = int(tokens[-1]) + length - room
        raise BadInput(
            "The text's length must be from {least} to {most:,} tokens, not {length:,}.",
            least=int(tokens[1]) + length - room,
            most=longest,
            length=length,
        )
    place = ends[int(np.abs(tokens[: last + 1] - depth * tokens[last]).argmin())]
    document = f"{text[:place]}{NEEDLE} {text[place : ends[last]]}".rstrip()
    return Haystack(document, place, place + len(NEEDLE))


def by_policy(results: Sequence[NeedleResult]) -> list[list[NeedleResult]]:
    """The results of each policy, the policies in the order of their first results."""
    policies: list[PolicySettings] = []
    for result in results:
        if result.policy not in policies:
            policies.append(result.policy)
    return [[result for result in results if result.policy == policy] for policy in policies]


def contains_fact(answer: str) -> bool:
    """Whether the answer contains the fact, but not as part of a longer number or of a word in Latin letters.

    The digits may be of any script, and the thousands may be separated by a comma, a point, an apostrophe or a space.
    A letter of a script without spaces between words may be next to it. Example: "7,394" counts, "17394" does not.
    """
    return WRITTEN.search(re.sub(r"\d", lambda digit: str(decimal(digit[0])), answer)) is not None
