"""Limits: how much one person may ask of the machine that all share."""

import os
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Iterable
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import BadInput, TextTooLong
from core.messages import Message
from core.texts import without_mark
from core.trace import Tokens
from core.whole_numbers import whole
from viz.words.catalogue import _

if TYPE_CHECKING:
    from core import LanguageModel


def _limit(default: int, what: Message) -> Any:
    return field(default=default, metadata={"what": what})


@dataclass(frozen=True)
class Limits:
    """Each limit is a flag (``--max-tokens``) and an environment variable (``MULTI_STATE_MAX_TOKENS``).

    The defaults suit two cores and a class of thirty. A model's own context length limits a text as well.
    """

    max_characters: int = _limit(100_000, Message("characters in a text"))
    max_tokens: int = _limit(8192, Message("tokens in a text"))
    max_new_tokens: int = _limit(1024, Message("new tokens to write"))
    max_budget: int = _limit(1024, Message("rows in a multi-state"))
    max_upload_mb: int = _limit(20, Message("MB in an uploaded file"))
    max_waiting: int = _limit(3, Message("runs of one person waiting in line"))
    max_seconds: int = _limit(600, Message("seconds for a run, after its model is loaded"))
    max_models: int = _limit(1, Message("models in memory at a time"))

    @classmethod
    def chosen(cls, arguments: Namespace) -> "Limits":
        """The limits from the parsed command line, see `add_limits`."""
        return cls(**{limit.name: getattr(arguments, limit.name) for limit in fields(cls)})

    def sentences(self) -> list[str]:
        """One sentence per limit, for the page."""
        return [
            _("At most {n:,} {what}", n=getattr(self, limit.name), what=limit.metadata["what"])
            for limit in fields(self)
        ]

    def check_text(self, text: str) -> None:
        """Refuse a text of too many characters, before anything is done with it.

        Raises:
            TextTooLong: more than `max_characters`.
        """
        self._check("max_characters", len(text), Message("Shorten the text"), TextTooLong)

    def check_tokens(self, n: int) -> None:
        """Refuse a text of too many tokens.

        Raises:
            TextTooLong: more than `max_tokens`.
        """
        self._check("max_tokens", n, Message("Shorten the text"), TextTooLong)

    def encode(self, lm: "LanguageModel", text: str) -> Tokens:
        """The tokens of a text within the limits; a byte order mark in front is left out.

        Raises:
            TextTooLong: too many characters or tokens.
            BadInput: as in `LanguageModel.encode`.
        """
        self.check_text(text)
        tokens = lm.encode(without_mark(text))
        self.check_tokens(len(tokens))
        return tokens

    def check_new_tokens(self, n: int) -> None:
        """Refuse to write too many tokens.

        Raises:
            BadInput: more than `max_new_tokens`, or not a whole number from 0.
        """
        self._check("max_new_tokens", whole(Message("The number of new tokens"), n, 0), Message("Ask for fewer"))

    def check_budgets(self, budgets: Iterable[int]) -> None:
        """Refuse a budget that is too large.

        Raises:
            BadInput: one of these is larger than `max_budget`.
        """
        self._check("max_budget", max(budgets, default=0), Message("Lower the budget"))

    def check_file(self, file: Path) -> None:
        """Refuse a file that is too large before it is read.

        Raises:
            BadInput: larger than `max_upload_mb`.
        """
        self._check("max_upload_mb", file.stat().st_size / 1e6, Message("Choose a smaller file"))

    def _check(self, name: str, amount: float, remedy: Message, kind: type[BadInput] = BadInput) -> None:
        most = getattr(self, name)
        if amount > most:
            what = next(limit for limit in fields(self) if limit.name == name).metadata["what"]
            digits = ",.1f" if isinstance(amount, float) else ","
            message = Message(
                "These are {amount} {what}; at most {most:,} are allowed here. {remedy}, or run the app yourself with "
                "{flag}.",
                amount=format(amount, digits),
                what=what,
                most=most,
                remedy=remedy,
                flag=_flag(name),
            )
            raise kind(message)


current = Limits()
"""The limits of this app, set when it starts."""


def add_limits(parser: ArgumentParser) -> None:
    """Add a flag for each limit; its default is the environment variable's value, else that of `Limits`."""
    group = parser.add_argument_group("limits")
    for limit in fields(Limits):
        variable = f"MULTI_STATE_{limit.name.upper()}"
        group.add_argument(
            _flag(limit.name),
            type=_whole_number,
            default=os.environ.get(variable, limit.default),
            metavar="N",
            help=f"{limit.metadata['what']} (default: {_default(limit)}; environment: {variable})",
        )


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _default(limit: "Field[int]") -> str:
    return f"{limit.default:,}"


def _whole_number(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)
