"""The options of `replay`, `generate` and everything built on them that say how a text is read."""

from dataclasses import dataclass
from typing import TypedDict, get_args

from core.errors import BadInput
from core.trace import Budgets, Positions, Prefill
from core.whole_numbers import whole


class ReadKeywords(TypedDict, total=False):
    """The keyword arguments that functions take as ``**options``; `ReadOptions` says what they mean."""

    chunk: int | None
    prefill: Prefill
    positions: Positions
    beyond_context: bool
    budgets: Budgets
    beta: int
    every: int


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """How a text is read.

    Attributes:
        chunk: at most so many tokens per forward pass; any number gives the same trace up to rounding. None: the larger
            the model and the more the runs, the fewer, see `core.engine.reading`.
        prefill: ``"token-by-token"``, or ``"one-shot"`` to attend to the whole prompt and cut it once at its end to the
            policy's `budget` most important rows, as the official TOVA code does.
        positions: which positions rows have for the model's rotary embedding, and so for the attention that policies
            see. ``"original"``: their position in the text, as in the official TOVA code. ``"in-cache"``: at every step
            the rows attended to are numbered 0, 1, 2 … in their order, as in StreamingLLM, so that a policy with a
            budget can read a text of any length. ``"log-gap"``: as original, but long gaps between the rows attended to
            shrink; see `core.engine.rotation`.
        beyond_context: let a policy with a budget read on with original positions beyond the model's context, where the
            model meets positions that it has never seen. Warns.
        budgets: how the policy's budget is shared out; it stays the mean, so that runs compare. ``"uniform"``: every
            layer and KV head has it. ``"pyramid"``: the first layers have more and the last fewer (PyramidKV, arXiv
            2406.02069). ``"adaptive"``: the KV heads of a layer compete (AdaKV, arXiv 2407.11550), which needs a
            policy that decides per KV head. See `core.engine.sharing`.
        beta: with pyramid budgets, the budget divided by that of the last layer.
        every: rows go only once there are so many more than the budget, all of them at once. 1 is the paper's rule,
            one row in, one row out. After a step, at most ``budget + every - 1`` rows are held.

    Raises:
        BadInput: a value that is not one of these.
    """

    chunk: int | None = None
    prefill: Prefill = "token-by-token"
    positions: Positions = "original"
    beyond_context: bool = False
    budgets: Budgets = "uniform"
    beta: int = 20
    every: int = 1

    def __post_init__(self) -> None:
        for name, kinds in (("prefill", Prefill), ("positions", Positions), ("budgets", Budgets)):
            known = get_args(kinds)
            value = getattr(self, name)
            if value not in known:
                raise BadInput(
                    "{name} must be one of {known}, not {given!r}.", name=name, known=", ".join(known), given=value
                )
        if self.chunk is not None:
            whole("chunk", self.chunk, 1)
        whole("beta", self.beta, 1)
        whole("every", self.every, 1)


AS_USUAL = ReadOptions()
