"""The guided lesson: seven moments from stored runs, six of them on one text, and the numbers that its words mention.

Every number is computed from the traces or is the paper's, see `numbers`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from core.experiments.haystack import CHRONICLE
from core.measures import paper
from core.measures.costs import perplexity
from core.measures.survival import N_BEGINNING, lifespan, not_recent_share
from core.trace import NEVER, Trace
from viz.lesson import after
from viz.maps.payload import Moment, Payload, View, payload
from viz.words.policies import policy_label
from viz.words.sentences import quoted

FOLDER = Path(__file__).parent / "traces"
POLICIES = ("full", "window", "window+i", "h2o", "tova")
BUDGET = 64
PAPER_BUDGET = 256  # the smallest for which the paper says how long tokens live
PARAGRAPHS = 6  # of the chronicle that the runs have read
N_SINK = N_BEGINNING  # the default of Window+i


def text() -> str:
    """What the runs of the first six steps have read: the beginning of the chronicle."""
    return "\n\n".join(CHRONICLE.read_text(encoding="utf-8").split("\n\n")[:PARAGRAPHS])


@cache
def trace(policy: str) -> Trace:
    """The stored run of SmolLM2 under this policy.

    The importances are NaN, to keep the files small, so the trace cannot tell why a token was evicted.
    """
    return Trace.load(FOLDER / f"{policy}.npz")


@dataclass(frozen=True)
class Step:
    """One step of the lesson: which policies' runs are shown, at which moment, and where the runs come from."""

    policies: tuple[str, ...]
    moment: Moment
    trace: Callable[[str], Trace] = trace


STEPS = (
    Step(("full",), Moment(400)),
    Step(("window",), Moment(72, 0)),
    Step(("window+i",), Moment(736, 3)),
    Step(("h2o",), Moment(736, 31)),
    Step(("tova",), Moment(368, 0)),
    Step(("tova",), Moment(736, 664)),
    Step(after.POLICIES, Moment(len(after.trace("tova")) - 1, after.STOP), after.trace),
)


@cache
def picture(step: int) -> Payload:
    """What the map shows in a step (from 0)."""
    shown = STEPS[step]
    traces = [shown.trace(policy) for policy in shown.policies]
    return payload(traces, View(run=f"lesson-{step}", at=shown.moment))


@cache
def numbers() -> dict[str, str]:
    """Every number and token that the lesson mentions, as text, by the name of its placeholder."""
    return _of_all() | _of_full() | _of_window() | _of_h2o() | _of_tova() | _of_the_paper() | after.numbers()


def _of_all() -> dict[str, str]:
    layers, _, n = trace("full").evicted_at.shape
    return {
        "n": f"{n:,}",
        "layers": f"{layers}",
        "budget": f"{BUDGET}",
        "sinks": f"{N_SINK}",
        "rest": f"{BUDGET - N_SINK}",
    }


def _of_full() -> dict[str, str]:
    full, step = trace("full"), STEPS[0].moment.step
    share = full.attention_received[..., :N_SINK].mean(axis=(0, 1)) / len(full)
    return {
        "full_step": f"{step}",
        "full_rows": f"{int(full.kept(step)[0].sum()):,}",
        "full_perplexity": f"{perplexity(full):.1f}",
        "full_perplexity_next": _perplexity_after_the_first_evictions(full),
        "first_share": _percent(share[0]),
        "sink_share": _percent(share.sum()),
        "sink_text": f"“{''.join(full.tokens.pieces[:N_SINK])}”",
        "second_token": quoted(full, 1),
    }


def _of_window() -> dict[str, str]:
    window = trace("window")
    return {
        "window_step": f"{STEPS[1].moment.step}",
        "window_perplexity": f"{perplexity(window):.1f}",
        "window_perplexity_next": _perplexity_after_the_first_evictions(window),
        "sinks_perplexity": f"{perplexity(trace('window+i')):.1f}",
    }


def _of_h2o() -> dict[str, str]:
    h2o, moment = trace("h2o"), STEPS[3].moment
    position = moment.position or 0
    return {
        "h2o_recent": f"{BUDGET // 2}",
        "h2o_heads": f"{h2o.evicted_at.shape[1]}",
        "h2o_old": _percent(not_recent_share(h2o, moment.step)),
        "h2o_position": f"{position}",
        "h2o_token": quoted(h2o, position),
        "h2o_steps": f"{lifespan(h2o)[..., position].mean():.0f}",
        "h2o_second": _percent((h2o.evicted_at[..., 1] == NEVER).mean()),
        "h2o_perplexity": f"{perplexity(h2o):.1f}",
    }


def _of_tova() -> dict[str, str]:
    tova, middle, end = trace("tova"), STEPS[4].moment, STEPS[5].moment
    held = end.position or 0
    life = lifespan(tova).mean(axis=(0, 1))
    stops = np.array(tova.tokens.pieces) == "."
    return {
        "tova_step": f"{middle.step}",
        "tova_first": f"{int(tova.kept(middle.step)[..., 0].sum())}",
        "tova_next": f"{int(tova.kept(middle.step)[..., 1:N_SINK].any(axis=-1).sum())}",
        "tova_perplexity": f"{perplexity(tova):.1f}",
        "tova_recent": _percent(1 - not_recent_share(tova, end.step)),
        "held_token": quoted(tova, held),
        "held_steps": f"{end.step - held}",
        "held_layers": f"{int(tova.kept(end.step)[..., held].sum())}",
        "stop_steps": f"{life[stops].mean():.0f}",
        "mean_steps": f"{life.mean():.0f}",
    }


def _of_the_paper() -> dict[str, str]:
    low, high = paper.RECENT_PERCENT
    perplexities = {policy: f"{of_budget[BUDGET]:,}" for policy, of_budget in paper.PERPLEXITIES.items()}
    return {
        "paper_tova": perplexities["tova"],
        "paper_h2o": perplexities["h2o"],
        "paper_sinks": perplexities["window+i"],
        "paper_window": perplexities["window"],
        "paper_recent": f"{low}–{high}",
        "paper_budget": f"{PAPER_BUDGET}",
        "paper_stop_steps": f"{paper.LIVES['full stop'][PAPER_BUDGET]}",
        "paper_mean_steps": f"{paper.LIVES['average'][PAPER_BUDGET]}",
    }


def _perplexity_after_the_first_evictions(run: Trace) -> str:
    """The perplexity of the `BUDGET` tokens from position `BUDGET` + 1 on, when the budget is full."""
    return f"{np.exp(np.mean(run.nll[BUDGET + 1 : 2 * BUDGET + 1], dtype=np.float64)):.1f}"


def _percent(share: float) -> str:
    return f"{share:.0%}"


@dataclass(frozen=True)
class Bar:
    """One bar of the chart of perplexities.

    Attributes:
        name: of the policy.
        perplexity: over the whole text.
        share: the bar's length, from 0 to 1: the perplexity divided by the worst policy's.
        current: whether it is a policy of the step.
    """

    name: str
    perplexity: float
    share: float
    current: bool


def bars(step: int) -> list[Bar]:
    """One bar for every policy shown up to this step (from 0) on its text."""
    shown = STEPS[step]
    values = {key: perplexity(shown.trace(key)) for key in _met(shown, STEPS)}
    worst = max(values.values())
    met = _met(shown, STEPS[: step + 1])
    return [Bar(_name(key), values[key], values[key] / worst, key in shown.policies) for key in met]


def _met(shown: Step, steps: Sequence[Step]) -> list[str]:
    """The policies of those of the steps that have the same text."""
    return list(dict.fromkeys(key for step in steps if step.trace is shown.trace for key in step.policies))


def _name(policy: str) -> str:
    """What the lesson calls a policy: Window+4, not Window+i."""
    return policy_label(policy).replace("+i", f"+{N_SINK}")


def progress(step: int) -> str:
    """How far the lesson is, such as 3 / 6."""
    return f"{step + 1} / {len(STEPS)}"
