"""Endpoints that give programs the runs of the page; they are tools for language models, too (MCP).

Gradio makes both from the functions' signatures and docstrings. While a run goes on, an endpoint yields `Progress`, so
that Gradio can end it when nobody waits for it any longer; what it yields last is the answer.
"""

import inspect
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import asdict
from functools import wraps
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypedDict, get_args

import gradio as gr
import numpy as np
from gradio.data_classes import FileData
from pydantic import ValidationError, validate_call

from core.errors import BadInput
from core.experiments.records import Point, budget_sentences, points
from core.measures.costs import Cost, costs, perplexity
from core.model.registry import DEFAULT_MODEL
from core.policies import POLICIES
from core.store import Stored, TraceStore
from core.trace import Budgets, Floats, PolicySettings, Positions, Trace
from viz.page import limits
from viz.page.asked import Asked, Chosen, reports, request_of
from viz.page.export import new_folder, write_trace
from viz.page.models import ALONE
from viz.page.policy_cards import BUDGET
from viz.page.runs import LoggedRun, too_late
from viz.page.stored import in_turn
from viz.tabs.budget import swept

if TYPE_CHECKING:
    from core import LanguageModel

PolicyKey: TypeAlias = Literal[tuple(POLICIES)]  # type: ignore[valid-type]
PolicyKeyOrOracle: TypeAlias = Literal[(*POLICIES, "oracle")]  # type: ignore[valid-type]


class Progress(TypedDict):
    """How far a run is: `done` of `total` tokens."""

    done: int
    total: int


WAITING = Progress(done=0, total=1)


class TraceAnswer(TypedDict):
    """What one policy kept of one text of n tokens.

    Attributes:
        model: its name.
        policy: its key, label, scope (who decides: "layer" or "kv_head"), budget and settings.
        prompt_length: how many of the tokens were given; the model wrote the rest.
        pieces: (n,), the tokens' texts.
        evicted_at: (layers, groups, n), the step after which the token was evicted, or 2147483647 for never; a group
            is one decider: a whole layer, or one KV head of it.
        nll: (n,), nats per token; None for the first, which is not predicted.
        perplexity: of all tokens but the first.
        file: the whole trace as .npz, if it was asked for.
    """

    model: str
    policy: PolicySettings
    prompt_length: int
    pieces: list[str]
    evicted_at: list[list[list[int]]]
    nll: list[float | None]
    perplexity: float | None
    file: FileData | None


class CompareAnswer(TypedDict):
    """What several policies cost on one text of n tokens.

    Attributes:
        model: its name.
        pieces: (n,), the tokens' texts.
        costs: one for the full model and then one per policy: perplexity; mean_delta_nll and mean_kl in nats per
            token; agreement, the share of tokens at which policy and full model find the same next token most
            probable; memory in bytes, for this model and for Llama 2 7B in 16 bits; tokens_per_second.
        nll: (1 + policies, n), nats per token, the full model's first; None for the first token.
        kl: (policies, n), KL(full || policy) in nats per token; None for the first token.
    """

    model: str
    pieces: list[str]
    costs: list[Cost]
    nll: list[list[float | None]]
    kl: list[list[float | None]]


class SweepAnswer(TypedDict):
    """Perplexity against budget.

    Attributes:
        model: its name.
        points: one per policy and budget, with the perplexity and the number of tokens it was measured on; "full" is
            the full model and "baseline" the context simply cut to the budget.
        sentences: for each policy, the smallest budget at which it comes close to the full model.
        left_out: one sentence for each policy and budget that do not go together.
    """

    model: str
    points: list[Point]
    sentences: list[str]
    left_out: list[str]


def api(store: TraceStore) -> None:
    """Add the endpoints to the page that is being built; their runs share the page's line and its store."""
    for endpoint in endpoints(store):
        gr.events.api(endpoint, concurrency_id=ALONE["concurrency_id"], concurrency_limit=ALONE["concurrency_limit"])


def endpoints(store: TraceStore) -> list[Callable[..., Iterator[Any]]]:
    """The functions that programs may call."""
    return [_endpoint(trace, store), _endpoint(compare, store), _endpoint(sweep)]


def _endpoint(run: Callable[..., Generator[Any]], *given: Any) -> Callable[..., Iterator[Any]]:
    """Make an endpoint of a generator that yields `Progress` and, last, an answer.

    The generator gets a `LoggedRun` and `given` before its inputs, whose types are checked. The endpoint is annotated
    with the answer's type, because Gradio shows programs the annotated type and does not look inside an Iterator.
    """
    checked = validate_call(config={"strict": True, "arbitrary_types_allowed": True})(run)
    signature = inspect.signature(run)
    inputs = list(signature.parameters.values())[1 + len(given) :]
    answer = get_args(get_args(signature.return_annotation)[0])[-1]
    signature = signature.replace(parameters=inputs, return_annotation=answer)

    @wraps(run)
    def endpoint(*values: Any) -> Iterator[Any]:
        record = LoggedRun("api")
        try:
            with closing(checked(record, *given, **signature.bind(*values).arguments)) as reports:
                for report in reports:
                    yield report
                    if record.is_late and "done" in report:
                        raise BadInput(too_late())
            record.outcome = "done"
        except ValidationError as e:
            record.outcome = "refused"
            raise BadInput(_in_words(e)) from None
        except Exception as e:
            record.broke(e)
            raise
        finally:
            record.log()

    endpoint.__signature__ = signature  # type: ignore[attr-defined]
    return endpoint


def _in_words(error: ValidationError) -> str:
    wrong = error.errors(include_input=False, include_url=False)
    return " ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}." for each in wrong)


def trace(
    record: LoggedRun,
    store: TraceStore,
    text: str,
    policy: PolicyKey = "tova",
    budget: int | None = BUDGET,
    new_tokens: int = 0,
    settings: dict[str, int] | None = None,
    positions: Positions = "original",
    model: str = DEFAULT_MODEL,
    file: bool = False,
    budgets: Budgets = "uniform",
    every: int = 1,
) -> Generator[Progress | TraceAnswer]:
    """Which tokens a Transformer keeps of a text when its memory is finite, per layer, and when it evicts the others.

    Args:
        record: the run's entry in the log.
        store: the stored runs.
        text: what the model reads.
        policy: the rule that says which token is evicted; "full" evicts none.
        budget: how many tokens each layer may hold; ignored for "full".
        new_tokens: how many tokens the model writes after the text; 0 only reads it.
        settings: the policy's own, such as {"n_sink": 4} for "window+i" or {"seed": 0} for "random"; else the defaults.
        positions: which positions the model sees for the rows kept: "original", "in-cache" or "log-gap".
        model: its name in the menu.
        file: whether to return the whole trace as a file (.npz), too.
        budgets: how the budget is shared out, as the mean: "uniform", "pyramid" (more rows in the first layers) or
            "adaptive" (the KV heads of a layer compete).
        every: so many rows go at once; 1 for one row in, one row out.

    Returns:
        evicted_at[layer][group][token], the step after which the token was evicted, or 2147483647 for never; the
        tokens' pieces of text, their nll in nats, the perplexity, and the rest of `TraceAnswer`.
    """
    settings = settings or {}
    if settings.keys() & {"key", "budget"}:
        raise BadInput("settings are the policy's own, such as n_sink: give its key as policy, its budget as budget.")
    asked = Asked(
        model=model,
        text=text,
        policies=(_chosen(policy, budget, settings),),
        new_tokens=new_tokens,
        positions=positions,
        budgets=budgets,
        every=every,
    )

    def answer(stored: Stored) -> TraceAnswer:
        return trace_answer(stored.traces[0], file)

    yield from _run(record, store, asked, answer, alone=True)


def _run(
    record: LoggedRun, store: TraceStore, asked: Asked, answer: Callable[[Stored], Any], *, alone: bool = False
) -> Generator[Any]:
    """Yields progress and then the answer of a run, from the store if it is there."""
    asked.check()
    record.policies = asked.pairs

    def compute() -> Iterator[Any]:
        for report in reading:
            yield _progress(record, report.done, report.total)
        store.put(request.key, report.stored)
        yield answer(report.stored)

    with closing(record.using(asked.model, _read, asked, alone)) as reading:
        request = next(reading)
        yield from in_turn(record, store, request.key, answer, compute, WAITING)


def _read(lm: "LanguageModel", asked: Asked, alone: bool) -> Iterator[Any]:
    """Yields the request, and then the reports of its run."""
    request = request_of(lm, asked, alone=alone)
    yield request
    yield from reports(lm, request)


def _chosen(key: str, budget: int | None, settings: Mapping[str, int] | None = None) -> Chosen:
    """The policy; an error at once if there is no such one, before any model is loaded."""
    chosen = Chosen(key, None if key == "full" else budget, settings or {})
    chosen.described()
    return chosen


def _progress(record: LoggedRun, done: int, total: int) -> Progress:
    record.tokens = done
    return Progress(done=done, total=total)


def trace_answer(trace: Trace, file: bool) -> TraceAnswer:
    """The trace as an answer that JSON can hold."""
    return TraceAnswer(
        model=trace.model_id,
        policy=_json(trace.policy),
        prompt_length=trace.prompt_length,
        pieces=list(trace.tokens.pieces),
        evicted_at=trace.evicted_at.tolist(),
        nll=_numbers(trace.nll),
        perplexity=_numbers(np.asarray(perplexity(trace))),
        file=_file(trace) if file else None,
    )


def _json(data: Any) -> Any:
    """A dataclass as a dict, typed Any because the answers are annotated with the dataclasses."""
    return asdict(data)


def _file(trace: Trace) -> Any:
    """The whole trace, written to a file, as Gradio describes a file to programs."""
    return FileData(path=write_trace(trace, new_folder())).model_dump()


def _numbers(array: Floats) -> Any:
    """The array as nested lists, None for NaN and infinity, which JSON does not have."""
    return np.where(np.isfinite(array), array.astype(object), np.array(None)).tolist()


def compare(
    record: LoggedRun,
    store: TraceStore,
    text: str,
    policies: list[PolicyKeyOrOracle],
    budgets: list[int],
    model: str = DEFAULT_MODEL,
    sharing: Budgets = "uniform",
    every: int = 1,
) -> Generator[Progress | CompareAnswer]:
    """What forgetting costs: several policies read a text side by side with the full model, which forgets nothing.

    Args:
        record: the run's entry in the log.
        store: the stored runs.
        text: what the policies read.
        policies: the rules to compare; "oracle" is the one that knows the future of the text.
        budgets: how many tokens each layer may hold: one for each policy, or one for all.
        model: its name in the menu.
        sharing: how a budget is shared out, as `budgets` of trace.
        every: so many rows go at once.

    Returns:
        costs, the full model's first and then those of the policies that forget: perplexity, nats per token more than
        the full model, memory, speed; nll and kl of each token; the rest of `CompareAnswer`.
    """
    if len(budgets) not in (1, len(policies)):
        raise BadInput(
            "Give one budget for all policies or one for each: {policies}, not {budgets}.",
            policies=len(policies),
            budgets=len(budgets),
        )
    limits.current.check_budgets(budgets)
    chosen = tuple(_chosen(policy, budget) for policy, budget in zip(policies, budgets * len(policies), strict=False))
    asked = Asked(model, text, chosen, budgets=sharing, every=every)
    asked.check()
    if not asked.finite:
        raise BadInput("Choose a policy that forgets: the full model is compared with.")
    yield from _run(record, store, asked, compare_answer)


def compare_answer(stored: Stored) -> CompareAnswer:
    """The comparison as an answer that JSON can hold."""
    found = stored.comparison
    if found is None:
        raise BadInput("The text is longer than the model's context, so there is no full model to compare with.")
    return CompareAnswer(
        model=found.full.model_id,
        pieces=list(found.full.tokens.pieces),
        costs=[_json(cost) for cost in costs(found)],
        nll=[_numbers(trace.nll) for trace in (found.full, *found.traces)],
        kl=_numbers(found.kl),
    )


def sweep(
    record: LoggedRun,
    text: str,
    policies: list[PolicyKey],
    budgets: list[int],
    model: str = DEFAULT_MODEL,
    sharing: Budgets = "uniform",
    every: int = 1,
) -> Generator[Progress | SweepAnswer]:
    """How much memory a text needs: its perplexity under every policy with every budget, beside the full model.

    Args:
        record: the run's entry in the log.
        text: what the model reads; it may be longer than the model's context.
        policies: the rules to try.
        budgets: how many tokens each layer may hold; every policy is tried with each of them.
        model: its name in the menu.
        sharing: how a budget is shared out, as `budgets` of trace.
        every: so many rows go at once.

    Returns:
        points, one per policy and budget, with perplexity and tokens; sentences that sum them up; the rest of
        `SweepAnswer`.
    """
    record.policies = [(key, budget) for key in policies for budget in budgets]
    limits.current.check_budgets(budgets)
    for report in record.using(model, swept, text, policies, budgets, {"sharing": sharing, "every": every}):
        yield _progress(record, report.done, report.total)
    yield SweepAnswer(
        model=model,
        points=[_json(point) for point in points(report.records)],
        sentences=budget_sentences(report.records),
        left_out=report.left_out,
    )
