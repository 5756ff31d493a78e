"""How well an answer agrees with reference answers: F1 of words and ROUGE, the measures of ZeroSCROLLS.

Values are from 0 to 1; papers print them in percent. If there are several references, the best counts.
"""

import math
import re
import string
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from core.errors import BadInput

ARTICLES = re.compile(r"\b(a|an|the)\b")
NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def words(text: str) -> list[str]:
    """The words that F1 compares: lower case, without ASCII punctuation and articles (Rajpurkar et al. 2016)."""
    return ARTICLES.sub(" ", text.lower().translate(NO_PUNCTUATION)).split()


def f1(answer: str, references: Sequence[str]) -> float:
    """The F1 of the answer's words, in any order, with the best reference; 0 if they have no word in common.

    Raises:
        BadInput: there is no reference.
    """
    _check(references)
    return max(_f1(Counter(words(answer)), Counter(words(reference))) for reference in references)


def _f1(answer: Counter[str], reference: Counter[str]) -> float:
    return 2 * (answer & reference).total() / max(answer.total() + reference.total(), 1)


@dataclass(frozen=True)
class Rouge:
    """F-measures of an answer for words, pairs of words, and the longest common subsequence of words.

    They are computed as in ZeroSCROLLS, by the library rouge-score without a stemmer. Its words consist of the letters
    a to z and digits only, so it does not work for other scripts.
    """

    rouge1: float
    rouge2: float
    rouge_l: float

    @property
    def geometric_mean(self) -> float:
        """The geometric mean of the three. ZeroSCROLLS applies it to means over all answers, not to each answer."""
        return math.cbrt(self.rouge1 * self.rouge2 * self.rouge_l)


def rouge(answer: str, references: Sequence[str]) -> Rouge:
    """The three measures, each with the reference for which it is highest, as in ZeroSCROLLS.

    Raises:
        BadInput: there is no reference.
    """
    # here, because it imports all of NLTK, which takes long and of which it uses nothing without a stemmer
    from rouge_score.rouge_scorer import RougeScorer  # noqa: PLC0415

    _check(references)
    scorer = RougeScorer(["rouge1", "rouge2", "rougeL"])
    scores = [scorer.score(reference, answer) for reference in references]
    return Rouge(*(max(float(score[kind].fmeasure) for score in scores) for kind in ("rouge1", "rouge2", "rougeL")))


def _check(references: Sequence[str]) -> None:
    if not references:
        raise BadInput("There is no reference answer to compare with. Give at least one.")
