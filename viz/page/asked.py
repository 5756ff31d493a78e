"""What a person asks for: the values of the sidebar, and the run that they make."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

import core
from core.errors import BadInput, UserError
from core.policies import GROUPS, Oracle, Policy, make_policy, settings_of
from core.store import Stored, key_of
from core.texts import without_mark
from core.trace import Budgets, PolicySettings, Positions, Prefill, Tokens, Trace
from viz.maps.payload import MOST
from viz.page import limits

if TYPE_CHECKING:
    from core import LanguageModel

ASKED, SHOWN = "asked", "shown"
"""The names under which a stored run has what was asked for, and the indices of the traces that were chosen."""


KINDS = {policy.key: policy for group in GROUPS.values() for policy in group}
"""The policies that the page offers by key, in the order of its menus."""


@dataclass(frozen=True)
class Chosen:
    """One policy that was chosen: its key, its budget (None for the full model), and its own settings."""

    key: str
    budget: int | None = None
    settings: Mapping[str, int] = field(default_factory=dict)

    def policy(self, lm: "LanguageModel", tokens: Tokens) -> Policy:
        """The policy for a run on these tokens; for the oracle, the model reads them all first.

        Raises:
            UserError: as `make_policy` and `foresee`.
        """
        if self.key == Oracle.key:
            return core.foresee(lm, tokens, self.budget or 0)
        return make_policy(self.key, self.budget, **self.settings)

    def described(self) -> PolicySettings:
        """What identifies the policy in the store; for the oracle, without reading the tokens first."""
        if self.key == Oracle.key:
            return PolicySettings(Oracle.key, Oracle.label, Oracle.scope, self.budget)
        return settings_of(make_policy(self.key, self.budget, **self.settings))


@dataclass(frozen=True)
class Asked:
    """What the sidebar says: model, text, policies, and how the text is read.

    Attributes:
        model: its name in the menu.
        text: what is read.
        policies: one to six.
        message: whether the text is a message to the model, in its chat template; ignored if it has none.
        new_tokens: how many each policy writes after the text; 0 only reads it.
        temperature: as in `core.generate`.
        seed: as in `core.generate`.
        positions: as in `core.replay`.
        prefill: as in `core.replay`.
        budgets: as in `core.replay`.
        every: as in `core.replay`.
    """

    model: str
    text: str
    policies: tuple[Chosen, ...]
    message: bool = False
    new_tokens: int = 0
    temperature: float = 0.0
    seed: int = 0
    positions: Positions = "original"
    prefill: Prefill = "token-by-token"
    budgets: Budgets = "uniform"
    every: int = 1

    @property
    def how(self) -> dict[str, Any]:
        """How the text is read, as arguments for `core.replay` and everything built on it."""
        return {
            "prefill": self.prefill,
            "positions": self.positions,
            "budgets": self.budgets,
            "every": self.every,
        }

    @property
    def pairs(self) -> list[tuple[str, int | None]]:
        """Key and budget of each policy, for the log."""
        return [(chosen.key, chosen.budget) for chosen in self.policies]

    @property
    def finite(self) -> tuple[Chosen, ...]:
        """The policies without the full model, which many runs add by themselves."""
        return tuple(chosen for chosen in self.policies if chosen.budget is not None)

    def check(self) -> None:
        """Refuse what no model is needed to refuse.

        Raises:
            UserError: no policy, too many, or one twice; a budget that is missing or too large; too many new tokens or
                characters.
        """
        if not self.policies:
            raise BadInput("Choose at least one policy.")
        if len(self.policies) > MOST:
            raise BadInput("At most {most} runs are shown side by side.", most=MOST)
        for chosen in self.policies:
            if self.policies.count(chosen) > 1:
                raise BadInput(
                    "{policy} is chosen twice with the same budget. Change one of the two.",
                    policy=KINDS[chosen.key].label,
                )
        limits.current.check_budgets(chosen.budget or 0 for chosen in self.policies)
        limits.current.check_new_tokens(self.new_tokens)
        limits.current.check_text(self.text)


@dataclass(frozen=True, eq=False)
class Request:
    """A run that is asked for, with its tokens.

    Attributes:
        asked: what the sidebar says.
        tokens: of the text, in the model's chat template if it is a message.
        beside_full: whether the full model reads in lockstep, so that costs can be told.
        key: the run's key in the store.
    """

    asked: Asked
    tokens: Tokens
    beside_full: bool
    key: str

    @property
    def pairs(self) -> Sequence[tuple[str, int | None]]:
        """Key and budget of each policy, for the log."""
        return self.asked.pairs


def request_of(lm: "LanguageModel", asked: Asked, *, alone: bool = False) -> Request:
    """The request for a run.

    The full model reads in lockstep unless the policies are to be `alone`, or write on, each its own text, or the text
    is longer than the model's context, or nothing but the full model was chosen.

    Raises:
        UserError: it cannot be done.
    """
    asked.check()
    tokens = tokens_of(lm, asked)
    fits = lm.context_length is None or len(tokens) <= lm.context_length
    beside_full = fits and bool(asked.finite) and not asked.new_tokens and not alone
    key = key_of(
        lm,
        tokens,
        [chosen.described() for chosen in asked.policies],
        beside_full=beside_full,
        generation=(asked.new_tokens, asked.temperature, 1.0, asked.seed) if asked.new_tokens else (0, 0.0, 1.0, 0),
        **asked.how,
    )
    return Request(asked, tokens, beside_full, key)


def tokens_of(lm: "LanguageModel", asked: Asked) -> Tokens:
    """The tokens of the text, as a message to the model if that was chosen and the model has a chat template.

    Raises:
        UserError: the text cannot be read.
    """
    if not (asked.message and core.chats(lm)):
        return limits.current.encode(lm, asked.text)
    tokens, _ = core.turn(lm, without_mark(asked.text))
    limits.current.check_tokens(len(tokens))
    return tokens


@dataclass(frozen=True, eq=False)
class Report:
    """How far a run is: `done` of `total` tokens, and what there is so far, as the store will have it."""

    done: int
    total: int
    stored: Stored


def reports(lm: "LanguageModel", request: Request) -> Iterator[Report]:
    """Read the text, or read it and write on, under all policies in lockstep; the last report is complete."""
    asked = request.asked
    chosen = [one for one in asked.policies if one.budget is not None or not request.beside_full]
    policies = [one.policy(lm, request.tokens) for one in chosen]
    how = asked.how
    kept = {ASKED: np.array(TypeAdapter(Asked).dump_json(asked).decode())}
    if request.beside_full:
        indices = iter(range(1, len(policies) + 1))
        kept[SHOWN] = np.array([0 if one.budget is None else next(indices) for one in asked.policies])
        for compared in core.iter_compare(lm, request.tokens, policies, **how):
            stored = Stored.of(compared.comparison)
            yield Report(compared.done, compared.total, replace(stored, arrays={**stored.arrays, **kept}))
        return
    if asked.new_tokens:
        writing: dict[str, Any] = {
            "max_new_tokens": asked.new_tokens,
            "temperature": asked.temperature,
            "seed": asked.seed,
        }
        reading = core.iter_generate(lm, request.tokens, policies, **writing, **how)
    else:
        reading = core.iter_replay(lm, request.tokens, policies, **how)
    for read in reading:
        yield Report(read.done, read.total, Stored(tuple(read.traces), kept))


def shown(stored: Stored) -> list[Trace]:
    """The traces of the policies that were chosen, in their order."""
    if SHOWN in stored.arrays:
        return [stored.traces[i] for i in stored.arrays[SHOWN].tolist()]
    return list(stored.traces[1:] if stored.comparison else stored.traces)


def asked_in(stored: Stored) -> Asked | None:
    """What was asked for when this run was made; None for a run of an older version, or one that cannot be told."""
    if ASKED not in stored.arrays:
        return None
    try:
        return TypeAdapter(Asked).validate_json(str(stored.arrays[ASKED]))
    except (ValidationError, UserError):
        return None
