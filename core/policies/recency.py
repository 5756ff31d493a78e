"""Policies that evict by age alone."""

from dataclasses import dataclass

import numpy as np

from core.errors import BadInput
from core.messages import Message
from core.policies.policy import Explanation, Policy, Step, a_budget, a_setting, arxiv
from core.trace import Floats


@dataclass(frozen=True, kw_only=True)
class Window(Policy):
    """Evicts the oldest row: first in, first out (Wang et al. 2019; Oren et al. 2024, section 3.2)."""

    key = "window"
    label = "Window"
    paper = "Wang et al. 2019"
    explanation = Explanation(
        Message("Forgets the oldest token first, as in a queue."),
        Message("importance(*j*) = position of *j*"),
        arxiv("2401.06104"),
        Message("Wang et al. 2019, as told in Oren et al. 2024"),
    )
    scope = "layer"
    reads_attention = False
    reason = Message("the oldest of {rows} rows")
    budget: int = a_budget()

    def importance(self, step: Step, memory: Floats) -> Floats:
        return step.positions.astype(np.float64)


@dataclass(frozen=True, kw_only=True)
class WindowPlusI(Policy):
    """Evicts the oldest row that is not among the first `n_sink` tokens of the text.

    Source: Xiao et al. 2023 (StreamingLLM), Han et al. 2023 (LM-Infinite). Deviation from StreamingLLM: rows keep the
    rotary position they were written with, as in Oren et al. 2024, unless the run has ``positions="in-cache"``.
    """

    key = "window+i"
    label = "Window+i"
    paper = "Xiao et al. 2023"
    explanation = Explanation(
        Message("As Window, but the first few tokens of the text always stay."),
        Message("importance(*j*) = position of *j*; ∞ for the first *i* tokens"),
        arxiv("2309.17453"),
    )
    scope = "layer"
    reads_attention = False
    reason = Message("the oldest of {rows} rows that is not among the first {n_sink} tokens")
    budget: int = a_budget()
    n_sink: int = a_setting("n_sink", Message("Sink tokens (i)"), 4)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n_sink >= self.budget:
            raise BadInput(
                "{sinks} sink tokens leave no room for recent ones in a budget of {budget}: raise the budget above "
                "{above}, or spare fewer.",
                sinks=self.n_sink,
                budget=self.budget,
                above=self.n_sink,
            )

    def importance(self, step: Step, memory: Floats) -> Floats:
        return np.where(step.positions < self.n_sink, np.inf, step.positions)
