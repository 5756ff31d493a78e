"""Links to a run: the address names the run in the store, and the page opens with it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from core.messages import Message
from core.store import Stored, TraceStore
from core.trace import Tokens
from viz.page.asked import KINDS, Asked, Chosen, asked_in, shown
from viz.words.catalogue import _

LOST = Message(
    "The run of this link is not in the store of this app: the link is not whole, or the run has made room for newer "
    "ones. Choose its text and settings and press Run, or ask for it as a file (.npz) and open that. "
    "What you see is the example."
)

NEW_TOKENS = "new_tokens"
"""The name under which runs of older versions have how many were asked for; a trace may have ended before."""


def copied() -> dict[str, str]:
    """What the script below says; the page hands it over as `window.told.link`, see `viz.page.spoken`."""
    return {
        "none": _("No link yet"),
        "why": _("Only a whole run has one: press Run and let it come to its end."),
        "copied": _("Copied: the link to this run at this step"),
        "copy": _("Copy this link to this run at this step"),
    }


COPY_LINK = """async () => {
  const say = window.told.link;
  const { link } = document.querySelector(".rm[data-link]:not([data-link=''])")?.dataset ?? {};
  const shown = (label, value) => ({ __type__: "update", label, value, visible: true });
  if (!link) return shown(say.none, say.why);
  try {
    await navigator.clipboard.writeText(link);
    return shown(say.copied, link);
  } catch {
    return shown(say.copy, link);
  }
}"""
"""Browsers let a page write to the clipboard only if it came from this machine or through https."""


@dataclass(frozen=True, eq=False)
class Linked:
    """What an address asks for.

    Attributes:
        stored: the run that it names; None if it names none that is in the store.
        key: its key in the store.
        step: the step to show; None for the last.
        lost: whether it names a run that is not there.
    """

    stored: Stored | None = None
    key: str = ""
    step: int | None = None
    lost: bool = False


def linked(store: TraceStore, query: Mapping[str, str]) -> Linked:
    """What the query of an address, ``trace=…&step=…``, asks for."""
    key, step = query.get("trace"), query.get("step", "")
    if key is None:
        return Linked()
    stored = store.get(key)
    if stored is None:
        return Linked(lost=True)
    return Linked(stored, key, int(step) if re.fullmatch("[0-9]{1,9}", step) else None)


def asked_for(stored: Stored) -> Asked:
    """What the sidebar said when this run was asked for; for a run of an older version, as far as its traces tell."""
    asked = asked_in(stored)
    if asked is not None:
        return asked
    traces = shown(stored)
    first, new_tokens = traces[0], stored.arrays.get(NEW_TOKENS)
    written = max(len(trace) - trace.prompt_length for trace in traces)
    return Asked(
        model=first.model_id,
        text=text_of(first.tokens[: first.prompt_length]),
        policies=tuple(
            Chosen(trace.policy.key, trace.policy.budget, trace.policy.settings)
            for trace in traces
            if trace.policy.key in KINDS
        ),
        new_tokens=written if new_tokens is None else int(new_tokens),
        positions=first.positions,
        prefill=first.prefill,
        budgets=first.budgets,
        every=first.every,
    )


def text_of(tokens: Tokens) -> str:
    """The text that was read: a token that stands for none of its characters has a name only, which is no text."""
    spans = zip(tokens.pieces, tokens.offsets.tolist(), strict=True)
    return "".join(piece for piece, (start, stop) in spans if start < stop)
