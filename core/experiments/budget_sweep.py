"""Perplexity against budget: whole texts of any length, read under every policy with every budget.

A long text is cut into windows of the model's context, one after another, as Oren et al. 2024 do with PG-19. Beside
the policies there are always the full model and the paper's baseline, a context simply cut to the budget.
"""

import hashlib
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TypeAlias

import numpy as np

from core.engine.reading import LONGEST_CHUNK, REPORT_EVERY
from core.engine.replay import iter_replay
from core.errors import BadInput, UnknownPolicy
from core.experiments.growing_csv import check_continues
from core.experiments.records import BASELINE, FULL, LABELS, Reading, Record
from core.messages import Message
from core.model.language_model import LanguageModel
from core.policies import Full, Policy, make_policy
from core.trace import Tokens
from core.whole_numbers import whole

Text: TypeAlias = Tokens | Sequence[int]


@dataclass(frozen=True)
class SweepProgress:
    """How far a sweep is.

    Attributes:
        done, total: tokens that have been and that are to be predicted.
        records: all so far, in the order of the plan.
        left_out: a sentence for every policy with a budget that it cannot have.
    """

    done: int
    total: int
    records: list[Record]
    left_out: list[str]


@dataclass(frozen=True)
class Plan:
    """What a sweep reads.

    Attributes:
        readings: in order, each with the tokens of its window.
        left_out: as in `SweepProgress`.
    """

    readings: list[tuple[Reading, Tokens]]
    left_out: list[str]

    @property
    def total(self) -> int:
        """How many tokens are predicted in all."""
        return sum(len(tokens) - 1 for _, tokens in self.readings)


def iter_sweep(
    lm: LanguageModel,
    documents: Text | Mapping[str, Text],
    policies: Sequence[str],
    budgets: Sequence[int],
    *,
    window: int | None = None,
    records: Sequence[Record] = (),
) -> Iterator[SweepProgress]:
    """`sweep` as a generator that reports progress after every record, and several times a second in a long one.

    `records` are what a sweep of the same settings had found when it was stopped: they are not done again. BadInput
    is raised if they are another sweep's.
    """
    plan = plan_sweep(lm, documents, policies, budgets, window=window, records=records)
    found = list(records)
    done = sum(record.tokens for record in found)
    reported = time.monotonic()
    for reading, tokens in plan.readings[len(found) :]:
        for record in iter_reading(lm, reading, tokens):
            if record.tokens < len(tokens) - 1 and time.monotonic() - reported > REPORT_EVERY:
                yield SweepProgress(done + record.tokens, plan.total, found.copy(), plan.left_out)
                reported = time.monotonic()
        found.append(record)
        done += record.tokens
        yield SweepProgress(done, plan.total, found.copy(), plan.left_out)
        reported = time.monotonic()


def iter_reading(lm: LanguageModel, reading: Reading, tokens: Tokens) -> Iterator[Record]:
    """Read one window under one policy with one budget.

    Yields the record of as much as has been read, several times a second; the last is the whole window's.

    Raises:
        NumericalError, OutOfMemory: as `replay`.
    """
    n, nll_sum, seconds = 0, 0.0, 0.0
    for piece in _pieces(reading, tokens):
        resumed = time.perf_counter()
        for report in iter_replay(lm, piece, _policy(reading), chunk=LONGEST_CHUNK):
            seconds += time.perf_counter() - resumed
            n_read = n + report.done - 1
            nll_read = nll_sum + float(report.traces[0].nll[1:].sum(dtype=np.float64))
            perplexity = math.exp(nll_read / max(n_read, 1))
            yield Record(**asdict(reading), tokens=n_read, nll_sum=nll_read, perplexity=perplexity, seconds=seconds)
            resumed = time.perf_counter()
        n, nll_sum = n_read, nll_read


def sweep(
    lm: LanguageModel,
    documents: Text | Mapping[str, Text],
    policies: Sequence[str],
    budgets: Sequence[int],
    *,
    window: int | None = None,
) -> list[Record]:
    """Read texts under every policy with every budget, and under the full model and the baseline.

    The baseline is the full model with its context cut to `budget` tokens: the window is cut into pieces of that many
    tokens, one after another, and the model starts each piece with nothing but its first token. So a token is
    predicted from between 1 and `budget` tokens before it, and from no more of the text; every token of the window
    but its first is predicted exactly once, as under the policies. Short pieces rather than, for each token, the
    `budget` tokens before it, because that would take `budget` times as long; the paper's figures for a short context
    fit this reading, too.

    Args:
        lm: the model.
        documents: a text, as in `replay` but of any length, or several by name.
        policies: keys of `POLICIES`; the full model and the baseline need not be among them.
        budgets: multi-state sizes. One that a policy cannot have (Window+i none that its sink tokens fill) is left
            out for that policy alone; the progress of `iter_sweep` says so.
        window: into how many tokens long texts are cut; the model's context if none is given. A single token that is
            left over is not read.

    Returns:
        One record per window, policy and budget, those of a window together.

    Raises:
        BadInput: no text or budget, or one that cannot be used; a policy that can have none of the budgets.
        NumericalError, OutOfMemory: as `replay`.
    """
    for report in iter_sweep(lm, documents, policies, budgets, window=window):
        last = report
    return last.records


def plan_sweep(
    lm: LanguageModel,
    documents: Text | Mapping[str, Text],
    policies: Sequence[str],
    budgets: Sequence[int],
    *,
    window: int | None = None,
    records: Sequence[Record] = (),
) -> Plan:
    """Everything that a sweep reads; `records` are to be the first of them.

    Raises:
        BadInput: as `sweep`, and if the records are another sweep's.
    """
    if not isinstance(documents, Mapping):
        documents = {"text": documents}
    if not documents or not budgets:
        raise BadInput("Choose at least one text and one budget.")
    curves, left_out = _curves(policies, budgets)
    dtype = str(lm.model.dtype).removeprefix("torch.")
    readings = []
    for name, text in documents.items():
        for i, tokens in enumerate(_windows(lm, name, lm.as_tokens(text), window)):
            digest = hashlib.sha256(tokens.ids.tobytes()).hexdigest()[:16]
            readings += [(Reading(lm.model_id, dtype, name, i, digest, key, budget), tokens) for key, budget in curves]
    check_continues(records, [reading for reading, _ in readings], "sweep")
    return Plan(readings, left_out)


def _curves(policies: Sequence[str], budgets: Sequence[int]) -> tuple[list[tuple[str, int | None]], list[str]]:
    """Every policy with every budget that it can have, in order, and sentences about the others."""
    budgets = [whole(Message("budget"), budget, 1) for budget in budgets]
    finite = [key for key in dict.fromkeys(policies) if key not in (FULL, BASELINE)]
    refused: dict[tuple[str, int], BadInput] = {}
    for key in finite:
        for budget in budgets:
            try:
                make_policy(key, budget)
            except UnknownPolicy:
                raise
            except BadInput as e:
                refused[key, budget] = e
        if all((key, budget) in refused for budget in budgets):
            raise refused[key, max(budgets)]
    pairs = [(key, budget) for budget in dict.fromkeys(budgets) for key in (BASELINE, *finite)]
    curves = [(FULL, None), *(pair for pair in pairs if pair not in refused)]
    left_out: list[str] = [
        Message("{policy} is left out with budget {budget}: {why}", policy=LABELS[key], budget=budget, why=e.message)
        for (key, budget), e in refused.items()
    ]
    return curves, left_out


def _windows(lm: LanguageModel, name: str, tokens: Tokens, window: int | None) -> list[Tokens]:
    if len(tokens) < 2:
        raise BadInput("{text} has fewer than two tokens: there is nothing to predict.", text=name)
    length = lm.context_length or len(tokens)
    if window is not None:
        window = whole("window", window, 2)
        if lm.context_length is not None and window > lm.context_length:
            raise BadInput(
                "A window of {window:,} tokens is more than the {limit:,} of {model}.",
                window=window,
                limit=lm.context_length,
                model=lm.model_id,
            )
        length = window
    return [tokens[start : start + length] for start in range(0, len(tokens) - 1, length)]


def _pieces(reading: Reading, tokens: Tokens) -> list[Tokens]:
    """The window itself; for the baseline `budget` tokens at a time, and the one after them, which they predict."""
    if reading.policy != BASELINE or reading.budget is None:
        return [tokens]
    return [tokens[start : start + reading.budget + 1] for start in range(0, len(tokens) - 1, reading.budget)]


def _policy(reading: Reading) -> Policy:
    return Full() if reading.policy in (FULL, BASELINE) else make_policy(reading.policy, reading.budget)
