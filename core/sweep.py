"""Perplexity against budget: whole texts of any length, read under every policy with every budget.

A long text is cut into windows of the model's context, one after another, as Oren et al. 2024 do with PG-19. Beside
the policies there are always the full model and the paper's baseline, a context simply cut to the budget.
"""

import hashlib
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from core.engine import LONGEST_CHUNK, REPORT_EVERY, iter_replay
from core.errors import BadInput
from core.policies import Full, Policy, check_whole, make_policy
from core.records import BASELINE, FULL, Reading, Record
from core.trace import Tokens

if TYPE_CHECKING:
    from core.models import LanguageModel

Text: TypeAlias = Tokens | Sequence[int]


@dataclass(frozen=True)
class SweepProgress:
    """How far a sweep is: `done` of `total` tokens to be predicted, and all records so far."""

    done: int
    total: int
    records: list[Record]


def iter_sweep(
    lm: "LanguageModel",
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
    plan = _plan(lm, documents, policies, budgets, window)
    _check_records(records, [reading for reading, _ in plan])
    found = list(records)
    done = sum(record.tokens for record in found)
    total = sum(len(tokens) - 1 for _, tokens in plan)
    reported = time.monotonic()
    for reading, tokens in plan[len(found) :]:
        nll_sum, seconds = 0.0, 0.0
        for piece in _pieces(reading, tokens):
            resumed = time.perf_counter()
            for report in iter_replay(lm, piece, _policy(reading), chunk=LONGEST_CHUNK):
                seconds += time.perf_counter() - resumed
                if time.monotonic() - reported > REPORT_EVERY:
                    yield SweepProgress(done + report.done - 1, total, found.copy())
                    reported = time.monotonic()
                resumed = time.perf_counter()
            nll_sum += float(report.traces[0].nll[1:].sum(dtype=np.float64))
            done += len(piece) - 1
        n = len(tokens) - 1
        perplexity = math.exp(nll_sum / n)
        found.append(Record(**asdict(reading), tokens=n, nll_sum=nll_sum, perplexity=perplexity, seconds=seconds))
        yield SweepProgress(done, total, found.copy())
        reported = time.monotonic()


def sweep(
    lm: "LanguageModel",
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
        budgets: multi-state sizes.
        window: into how many tokens long texts are cut; the model's context if none is given. A single token that is
            left over is not read.

    Returns:
        One record per window, policy and budget, those of a window together.

    Raises:
        BadInput: no text or budget, or one that cannot be used.
        NumericalError, OutOfMemory: as `replay`.
    """
    for report in iter_sweep(lm, documents, policies, budgets, window=window):
        last = report
    return last.records


def _plan(
    lm: "LanguageModel",
    documents: Text | Mapping[str, Text],
    policies: Sequence[str],
    budgets: Sequence[int],
    window: int | None,
) -> list[tuple[Reading, Tokens]]:
    """Everything that is to be read, in order."""
    if not isinstance(documents, Mapping):
        documents = {"text": documents}
    if not documents or not budgets:
        raise BadInput("Choose at least one text and one budget.")
    finite = [key for key in dict.fromkeys(policies) if key not in (FULL, BASELINE)]
    for budget in budgets:
        check_whole("budget", budget, 1)
        for key in finite:
            make_policy(key, budget)
    curves = [(FULL, None)] + [(key, budget) for budget in dict.fromkeys(budgets) for key in (BASELINE, *finite)]
    dtype = str(lm.model.dtype).removeprefix("torch.")
    plan = []
    for name, text in documents.items():
        for i, tokens in enumerate(_windows(lm, name, lm.as_tokens(text), window)):
            digest = hashlib.sha256(tokens.ids.tobytes()).hexdigest()[:16]
            plan += [(Reading(lm.model_id, dtype, name, i, digest, key, budget), tokens) for key, budget in curves]
    return plan


def _windows(lm: "LanguageModel", name: str, tokens: Tokens, window: int | None) -> list[Tokens]:
    if len(tokens) < 2:
        raise BadInput(f"{name} has fewer than two tokens: there is nothing to predict.")
    length = lm.context_length or len(tokens)
    if window is not None:
        check_whole("window", window, 2)
        if lm.context_length is not None and window > lm.context_length:
            raise BadInput(f"A window of {window:,} tokens is more than the {lm.context_length:,} of {lm.model_id}.")
        length = window
    return [tokens[start : start + length] for start in range(0, len(tokens) - 1, length)]


def _pieces(reading: Reading, tokens: Tokens) -> list[Tokens]:
    """The window itself; for the baseline `budget` tokens at a time, and the one after them, which they predict."""
    if reading.policy != BASELINE or reading.budget is None:
        return [tokens]
    return [tokens[start : start + reading.budget + 1] for start in range(0, len(tokens) - 1, reading.budget)]


def _policy(reading: Reading) -> Policy:
    return Full() if reading.policy in (FULL, BASELINE) else make_policy(reading.policy, reading.budget)


def _check_records(records: Sequence[Record], readings: list[Reading]) -> None:
    if len(records) > len(readings):
        raise BadInput("There are more records than this sweep has: they are another's. Choose another file.")
    for record, reading in zip(records, readings, strict=False):
        for setting in fields(Reading):
            its, ours = getattr(record, setting.name), getattr(reading, setting.name)
            if its != ours:
                raise BadInput(
                    f"The records are another sweep's: where it has {setting.name} {its}, this one has {ours}. "
                    "Choose another file, or the settings of that sweep."
                )
