"""The records of a budget sweep, and the points of its curves. Needs no model."""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from core.messages import Message
from core.policies import POLICIES

FULL = "full"
BASELINE = "baseline"  # the full model with its context cut to the budget, see `sweep`
LABELS = {BASELINE: Message("Short context")} | {key: policy.label for key, policy in POLICIES.items()}


@dataclass(frozen=True)
class Reading:
    """One window of a document to be read under one policy with one budget.

    Attributes:
        model, dtype: the model and its number format.
        document: the name of the document.
        window: the index of the window in the document, from 0.
        text_hash: a hash of the window's tokens.
        policy: a key of `POLICIES`, or `BASELINE`.
        budget: the budget; None for the full model.
    """

    model: str
    dtype: str
    document: str
    window: int
    text_hash: str
    policy: str
    budget: int | None


@dataclass(frozen=True)
class Record(Reading):
    """The result of a reading.

    Attributes:
        tokens: how many tokens were predicted: all of the window but its first.
        nll_sum: the sum of their negative log-likelihoods, in nats.
        perplexity: the exponential of their mean negative log-likelihood.
        seconds: how long the reading took.
    """

    tokens: int
    nll_sum: float
    perplexity: float
    seconds: float


@dataclass(frozen=True)
class Point:
    """The perplexity of one policy with one budget, over the windows that all policies and budgets have read.

    Attributes:
        policy, budget: as in `Reading`.
        tokens: how many tokens were predicted in these windows.
        perplexity: the perplexity over all these tokens.
        tokens_per_second: how fast they were read.
    """

    policy: str
    budget: int | None
    tokens: int
    perplexity: float
    tokens_per_second: float


POINT_COLUMNS = ("policy", "budget", "perplexity", "tokens", "tokens per second")


def point_rows(points: Iterable[Point]) -> list[dict[str, Any]]:
    """One row per point, with unrounded numbers, for a table or a file."""
    return [
        dict(
            zip(
                POINT_COLUMNS,
                (LABELS[point.policy], point.budget, point.perplexity, point.tokens, point.tokens_per_second),
                strict=True,
            )
        )
        for point in points
    ]


def points(records: Iterable[Record]) -> list[Point]:
    """One point per policy and budget, in the order of the records.

    Perplexities over different windows cannot be compared. So only windows count that every policy and budget among the
    records has read.
    """
    of_point: dict[tuple[str, int | None], dict[tuple[str, int], Record]] = defaultdict(dict)
    for record in records:
        of_point[record.policy, record.budget][record.document, record.window] = record
    if not of_point:
        return []
    common = set.intersection(*(set(windows) for windows in of_point.values()))
    found = []
    for (policy, budget), windows in of_point.items():
        own = [windows[window] for window in windows if window in common]
        tokens, seconds = sum(record.tokens for record in own), sum(record.seconds for record in own)
        perplexity = math.exp(math.fsum(record.nll_sum for record in own) / tokens)
        found.append(Point(policy, budget, tokens, perplexity, tokens / seconds))
    return found


def smallest_budget(records: Iterable[Record], within: float = 0.05) -> dict[str, int | None]:
    """For each policy, the smallest budget whose perplexity is at most 1 + `within` times the full model's, or None.

    Empty if the full model has no record.
    """
    curves = points(records)
    limit = next((point.perplexity * (1 + within) for point in curves if point.policy == FULL), None)
    if limit is None:
        return {}
    smallest: dict[str, int | None] = {}
    for point in curves:
        if point.budget is not None:
            so_far = smallest.setdefault(point.policy, None)
            if point.perplexity <= limit and (so_far is None or point.budget < so_far):
                smallest[point.policy] = point.budget
    return smallest


def budget_sentences(records: Sequence[Record], within: float = 0.05) -> list[str]:
    """`smallest_budget` in words, one sentence per policy."""
    return [
        Message(
            "{policy}: none of the budgets tried comes within {percent:g} % of the full model's perplexity.",
            policy=LABELS[policy],
            percent=within * 100,
        )
        if budget is None
        else Message(
            "{policy}: {budget:,} is the smallest budget tried that comes within {percent:g} % of the full model's "
            "perplexity.",
            policy=LABELS[policy],
            budget=budget,
            percent=within * 100,
        )
        for policy, budget in smallest_budget(records, within).items()
    ]
