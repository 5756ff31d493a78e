"""Long-document understanding: answers to QASPER and SQuALITY under every policy with every budget, and their scores.

As in Oren et al. 2024, section 5: greedy answers, F1 for QASPER, the geometric mean of ROUGE-1, -2 and -L for SQuALITY,
the full model as the topline. Deviation: their code reads the whole prompt at once and cuts it at its end, which is
``prefill="one-shot"`` here. The default reads it token by token, which is harder: rows of the document are evicted
before the question is read.
"""

import hashlib
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean

from core.engine.generate import iter_generate
from core.engine.reading import LONGEST_CHUNK
from core.errors import BadInput
from core.experiments.answers import Rouge, f1, rouge
from core.experiments.ask import answer_of
from core.experiments.growing_csv import check_continues
from core.experiments.records import FULL, LABELS
from core.experiments.zeroscrolls import TASKS, Example, prompt_of
from core.model.language_model import LanguageModel
from core.policies import Full, make_policy
from core.trace import Prefill, Tokens
from core.whole_numbers import whole


@dataclass(frozen=True)
class Asking:
    """One example to be answered under one policy with one budget.

    Attributes:
        model, dtype: the model and its number format.
        task: a key of `TASKS`.
        prefill: how the prompt is read, see `ReadOptions`.
        new_tokens: the most tokens of the answer.
        example: the id of the example.
        text_hash: a hash of the prompt's tokens.
        omitted: how many characters of the document did not fit into the model's context.
        policy: a key of `POLICIES`.
        budget: the budget; None for the full model.
    """

    model: str
    dtype: str
    task: str
    prefill: str
    new_tokens: int
    example: str
    text_hash: str
    omitted: int
    policy: str
    budget: int | None


@dataclass(frozen=True)
class Evaluation(Asking):
    """The answer to an `Asking`, and its measures.

    Attributes:
        prompt_tokens: the number of tokens of the prompt.
        answer: the answer, with all white space replaced by single spaces, which does not change the measures.
        f1: from 0 to 1; None unless the task is QASPER.
        rouge1, rouge2, rouge_l: from 0 to 1; None unless the task is SQuALITY.
        seconds: how long reading and answering took.
    """

    prompt_tokens: int
    answer: str
    f1: float | None
    rouge1: float | None
    rouge2: float | None
    rouge_l: float | None
    seconds: float


@dataclass(frozen=True)
class EvaluateProgress:
    """How far an evaluation is: `done` of at most `total` tokens, read and written, and all records so far."""

    done: int
    total: int
    records: list[Evaluation]


def iter_evaluate(
    lm: LanguageModel,
    task: str,
    examples: Sequence[Example],
    policies: Sequence[str],
    budgets: Sequence[int],
    *,
    new_tokens: int | None = None,
    prefill: Prefill = "token-by-token",
    records: Sequence[Evaluation] = (),
) -> Iterator[EvaluateProgress]:
    """`evaluate` as a generator that reports progress several times a second and after every answer.

    `records` are those of an evaluation with the same settings that was stopped; they are not computed again. BadInput
    is raised if they belong to another evaluation.
    """
    plan = _plan(lm, task, examples, policies, budgets, new_tokens, prefill)
    check_continues(records, [asking for asking, _ in plan], "evaluation")
    references = {example.id: example.references for example in examples}
    found = list(records)
    sizes = [len(tokens) + asking.new_tokens for asking, tokens in plan]
    for i in range(len(found), len(plan)):
        (asking, tokens), done = plan[i], sum(sizes[:i])
        policy = Full() if asking.budget is None else make_policy(asking.policy, asking.budget)
        started = time.perf_counter()
        for report in iter_generate(
            lm, tokens, policy, max_new_tokens=asking.new_tokens, chunk=LONGEST_CHUNK, prefill=prefill
        ):
            yield EvaluateProgress(done + report.done, sum(sizes), found.copy())
        answer = answer_of(lm, report.traces[0]).text
        seconds = time.perf_counter() - started
        found.append(_evaluation(asking, len(tokens), answer, references[asking.example], seconds))
        yield EvaluateProgress(sum(sizes[: i + 1]), sum(sizes), found.copy())


def evaluate(
    lm: LanguageModel,
    task: str,
    examples: Sequence[Example],
    policies: Sequence[str],
    budgets: Sequence[int],
    *,
    new_tokens: int | None = None,
    prefill: Prefill = "token-by-token",
) -> list[Evaluation]:
    """Answer every example under every policy with every budget, and under the full model.

    Args:
        lm: the model.
        task: a key of `TASKS`.
        examples: what `read_examples` gives.
        policies: keys of `POLICIES`; the full model is added.
        budgets: multi-state sizes.
        new_tokens: the most tokens of an answer; None for the benchmark's limit of the task.
        prefill: as in `generate`.

    Returns:
        One record per example, policy and budget: by example, then the full model first, then by budget and policy.

    Raises:
        BadInput: no such task, no example or budget, or one that cannot be used.
        TextTooLong: an example that cannot be shortened to the model's context.
        NumericalError, OutOfMemory: as `generate`.
    """
    found: list[Evaluation] = []
    for report in iter_evaluate(lm, task, examples, policies, budgets, new_tokens=new_tokens, prefill=prefill):
        found = report.records
    return found


def _plan(
    lm: LanguageModel,
    task: str,
    examples: Sequence[Example],
    policies: Sequence[str],
    budgets: Sequence[int],
    new_tokens: int | None,
    prefill: Prefill,
) -> list[tuple[Asking, Tokens]]:
    """Everything that is to be answered, in order, each with the tokens of its prompt."""
    if task not in TASKS:
        raise BadInput("The task must be one of {known}, not {task!r}.", known=", ".join(TASKS), task=task)
    if not examples or not budgets:
        raise BadInput("Choose at least one example and one budget.")
    finite = [key for key in dict.fromkeys(policies) if key != FULL]
    curves = [(FULL, None)] + [(key, budget) for budget in dict.fromkeys(budgets) for key in finite]
    for key, budget in curves[1:]:
        make_policy(key, budget)
    new_tokens = TASKS[task].new_tokens if new_tokens is None else whole("new_tokens", new_tokens, 1)
    dtype = str(lm.model.dtype).removeprefix("torch.")
    plan = []
    for example in examples:
        prompt = prompt_of(lm, example, TASKS[task], new_tokens)
        digest = hashlib.sha256(prompt.tokens.ids.tobytes()).hexdigest()[:16]
        who = (lm.model_id, dtype, task, prefill, new_tokens, example.id, digest, prompt.omitted)
        plan += [(Asking(*who, key, budget), prompt.tokens) for key, budget in curves]
    return plan


def _evaluation(
    asking: Asking, prompt_tokens: int, answer: str, references: Sequence[str], seconds: float
) -> Evaluation:
    by_words = asking.task == "qasper"
    by_rouge = None if by_words else rouge(answer, references)
    return Evaluation(
        **asdict(asking),
        prompt_tokens=prompt_tokens,
        answer=" ".join(answer.split()),
        f1=f1(answer, references) if by_words else None,
        rouge1=by_rouge.rouge1 if by_rouge else None,
        rouge2=by_rouge.rouge2 if by_rouge else None,
        rouge_l=by_rouge.rouge_l if by_rouge else None,
        seconds=seconds,
    )


@dataclass(frozen=True)
class Score:
    """The score of one policy with one budget, over the examples that all policies and budgets have answered.

    Attributes:
        policy, budget: as in `Asking`.
        examples: the number of these examples.
        score: from 0 to 1: for QASPER the mean F1; for SQuALITY the geometric mean of the mean ROUGE-1, -2 and -L.
    """

    policy: str
    budget: int | None
    examples: int
    score: float


def scores(records: Iterable[Evaluation]) -> list[Score]:
    """One score per policy and budget, in the order of the records."""
    of_curve: dict[tuple[str, int | None], dict[str, Evaluation]] = {}
    for record in records:
        of_curve.setdefault((record.policy, record.budget), {})[record.example] = record
    if not of_curve:
        return []
    common = set.intersection(*(set(answered) for answered in of_curve.values()))
    found = []
    for (policy, budget), answered in of_curve.items():
        own = [answered[example] for example in answered if example in common]
        found.append(Score(policy, budget, len(own), score_of(own)))
    return found


def score_of(records: Sequence[Evaluation]) -> float:
    """`Score.score` of some answers to one task; NaN if there are none."""
    if not records:
        return float("nan")
    if records[0].f1 is not None:
        return fmean(record.f1 or 0.0 for record in records)
    means = (fmean(getattr(record, kind) for record in records) for kind in ("rouge1", "rouge2", "rouge_l"))
    return Rouge(*means).geometric_mean


def table(records: Sequence[Evaluation]) -> list[str]:
    """The lines of a table of scores in percent: a row per policy, the full model's first, and a column per budget.

    The lines before it say how many examples there are and how many of them were shortened.
    """
    found = scores(records)
    if not found:
        return []
    measure = "F1" if records[0].task == "qasper" else "ROUGE (geometric mean of ROUGE-1, -2 and -L)"
    shortened = len({record.example for record in records if record.omitted})
    n = found[0].examples
    lines = [f"{records[0].task}: {measure} in %, over {n} example{'s' * (n != 1)}"]
    if shortened:
        lines.append(f"{shortened} lost the end of the document, which did not fit the model's context")
    budgets = list(dict.fromkeys(one.budget for one in found if one.budget is not None))
    by_curve = {(one.policy, one.budget): one.score for one in found}
    width = max(len(LABELS[one.policy]) for one in found)
    lines.append(" " * width + "".join(f"{budget:>9,}" for budget in budgets))
    for policy in dict.fromkeys(one.policy for one in found):
        cells = (by_curve.get((policy, None if policy == FULL else budget)) for budget in budgets or [0])
        row = "".join(" " * 9 if cell is None else f"{100 * cell:>9.1f}" for cell in cells)
        lines.append(f"{LABELS[policy]:<{width}}{row}")
    return lines
