"""Perplexity against budget: texts of any length are read under every policy with every budget.

A long text is cut into consecutive windows as long as the model's context, as Oren et al. 2024 do with PG-19. The full
model and the paper's baseline, the full model with its context cut to the budget, are always added.
"""

import hashlib
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TypeAlias, TypedDict, Unpack

import numpy as np

from core.engine.options import AS_USUAL, ReadOptions
from core.engine.reading import LONGEST_CHUNK, REPORT_EVERY
from core.engine.replay import iter_replay
from core.engine.sharing import check_sharing
from core.errors import BadInput, UnknownPolicy
from core.experiments.growing_csv import check_continues
from core.experiments.records import BASELINE, FULL, LABELS, Reading, Record
from core.messages import Message
from core.model.language_model import LanguageModel
from core.policies import Full, Policy, make_policy
from core.trace import Budgets, Tokens
from core.whole_numbers import whole

Text: TypeAlias = Tokens | Sequence[int]


class SharingKeywords(TypedDict, total=False):
    """The options of `ReadOptions` that a sweep has; `sharing` is its `budgets`, which here are the sizes."""

    sharing: Budgets
    beta: int
    every: int


def options_of(keywords: SharingKeywords) -> ReadOptions:
    """How the windows of a sweep are read."""
    as_usual: SharingKeywords = {"sharing": "uniform", "beta": AS_USUAL.beta, "every": 1}
    given: SharingKeywords = {**as_usual, **keywords}
    return ReadOptions(chunk=LONGEST_CHUNK, budgets=given["sharing"], beta=given["beta"], every=given["every"])


@dataclass(frozen=True)
class SweepProgress:
    """How far a sweep is.

    Attributes:
        done, total: how many tokens have been predicted, of how many.
        records: all records so far, in the order of the plan.
        left_out: a sentence for every policy and budget that is left out because the policy refuses the budget.
    """

    done: int
    total: int
    records: list[Record]
    left_out: list[str]


@dataclass(frozen=True)
class Plan:
    """What a sweep reads.

    Attributes:
        readings: the readings in order, each with the tokens of its window.
        left_out: as in `SweepProgress`.
    """

    readings: list[tuple[Reading, Tokens]]
    left_out: list[str]

    @property
    def total(self) -> int:
        """How many tokens all readings predict together."""
        return sum(len(tokens) - 1 for _, tokens in self.readings)


def iter_sweep(
    lm: LanguageModel,
    documents: Text | Mapping[str, Text],
    policies: Sequence[str],
    budgets: Sequence[int],
    *,
    window: int | None = None,
    records: Sequence[Record] = (),
    **sharing: Unpack[SharingKeywords],
) -> Iterator[SweepProgress]:
    """`sweep` as a generator that reports progress several times a second and after every record.

    `records` are those of a sweep with the same settings that was stopped; they are not computed again. BadInput is
    raised if they belong to another sweep.
    """
    how = options_of(sharing)
    plan = plan_sweep(lm, documents, policies, budgets, window=window, records=records, options=how)
    found = list(records)
    done = sum(record.tokens for record in found)
    reported = time.monotonic()
    for reading, tokens in plan.readings[len(found) :]:
        for record in iter_reading(lm, reading, tokens, how):
            if record.tokens < len(tokens) - 1 and time.monotonic() - reported > REPORT_EVERY:
                yield SweepProgress(done + record.tokens, plan.total, found.copy(), plan.left_out)
                reported = time.monotonic()
        found.append(record)
        done += record.tokens
        yield SweepProgress(done, plan.total, found.copy(), plan.left_out)
        reported = time.monotonic()


def iter_reading(lm: LanguageModel, reading: Reading, tokens: Tokens, options: ReadOptions) -> Iterator[Record]:
    """Read one window under one policy with one budget.

    Several times a second, yields the record of the tokens read so far; the last is that of the whole window.

    Raises:
        NumericalError, OutOfMemory: as `replay`.
    """
    n, nll_sum, seconds = 0, 0.0, 0.0
    for piece in _pieces(reading, tokens):
        resumed = time.perf_counter()
        for report in iter_replay(lm, piece, _policy(reading), **asdict(options)):
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
    **sharing: Unpack[SharingKeywords],
) -> list[Record]:
    """Read texts under every policy with every budget, and under the full model and the baseline.

    The baseline is the full model with its context cut to `budget` tokens. The window is cut into consecutive pieces of
    that many tokens, and the model reads each piece from an empty multi-state. So each token is predicted from 1 to
    `budget` tokens before it; every token of the window but its first is predicted exactly once, as under the policies.
    Example: with budget 2, tokens 1 and 2 are predicted from token 0 and tokens 0–1, tokens 3 and 4 from token 2 and
    tokens 2–3. To predict each token from exactly `budget` tokens would take `budget` times as long, and the paper's
    numbers fit such pieces.

    Args:
        lm: the model.
        documents: a text, as in `replay` but of any length, or several texts by name.
        policies: keys of `POLICIES`; the full model and the baseline are added.
        budgets: multi-state sizes. A budget that a policy refuses (Window+i needs more than its sink tokens) is left
            out for that policy only; the progress of `iter_sweep` says so.
        window: the length of a window in tokens; None for the model's context. If a single token is left over at the
            end, it is not read.
        sharing: how a budget is shared out, and when rows go, see `SharingKeywords`.

    Returns:
        One record per window, policy and budget, in order of windows.

    Raises:
        BadInput: no text or budget, or one that cannot be used; or a policy that refuses all budgets.
        NumericalError, OutOfMemory: as `replay`.
    """
    for report in iter_sweep(lm, documents, policies, budgets, window=window, **sharing):
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
    options: ReadOptions = AS_USUAL,
) -> Plan:
    """Everything that a sweep reads, in order; `records` must be those of its first readings.

    Raises:
        BadInput: as `sweep`; also if the records belong to another sweep.
    """
    if not isinstance(documents, Mapping):
        documents = {"text": documents}
    if not documents or not budgets:
        raise BadInput("Choose at least one text and one budget.")
    curves, left_out = _curves(policies, budgets, options)
    dtype = str(lm.model.dtype).removeprefix("torch.")
    readings = []
    for name, text in documents.items():
        for i, tokens in enumerate(_windows(lm, name, lm.as_tokens(text), window)):
            read = tokens.ids.tobytes() + _unusual(options)
            digest = hashlib.sha256(read).hexdigest()[:16]
            readings += [(Reading(lm.model_id, dtype, name, i, digest, key, budget), tokens) for key, budget in curves]
    check_continues(records, [reading for reading, _ in readings], "sweep")
    return Plan(readings, left_out)


def _unusual(options: ReadOptions) -> bytes:
    """How a window is read, for its hash; nothing if as usual, so that files of earlier versions can be continued."""
    options = replace(options, chunk=None)
    return b"" if options == AS_USUAL else repr(options).encode()


def _curves(
    policies: Sequence[str], budgets: Sequence[int], options: ReadOptions
) -> tuple[list[tuple[str, int | None]], list[str]]:
    """Every policy with every budget that it accepts, in order, and a sentence about every budget refused."""
    budgets = [whole(Message("budget"), budget, 1) for budget in budgets]
    finite = [key for key in dict.fromkeys(policies) if key not in (FULL, BASELINE)]
    refused: dict[tuple[str, int], BadInput] = {}
    for key in finite:
        for budget in budgets:
            try:
                check_sharing(make_policy(key, budget), options)
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
    """The window itself; for the baseline, pieces of `budget` tokens, each with the next token, which is predicted."""
    if reading.policy != BASELINE or reading.budget is None:
        return [tokens]
    return [tokens[start : start + reading.budget + 1] for start in range(0, len(tokens) - 1, reading.budget)]


def _policy(reading: Reading) -> Policy:
    return Full() if reading.policy in (FULL, BASELINE) else make_policy(reading.policy, reading.budget)
