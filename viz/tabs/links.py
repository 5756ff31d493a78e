"""Links to a run: the address names the run in the store, and the page opens with it."""

import re
import uuid
from collections.abc import Mapping
from typing import Any

import gradio as gr

from core.messages import Message
from core.model.registry import MODELS
from core.policies import POLICIES
from core.store import Stored, TraceStore
from core.trace import Tokens
from viz.cards.markup import status
from viz.examples.example_texts import first_trace
from viz.page.policy_controls import SETTINGS
from viz.tabs.panels import FIRST_ROW, whole
from viz.words.catalogue import _

LOST = Message(
    "The run of this link is not in the store of this app: the link is not whole, or the run has made room for newer "
    "ones. Choose its text and settings below and press Run, or ask for it as a file (.npz) and open that. "
    "What you see is the example."
)


NEW_TOKENS = "new_tokens"
"""The name under which the store has how many were asked for, beside a trace, which may have ended before."""


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


def opened(store: TraceStore, query: Mapping[str, str]) -> tuple[Any, ...]:
    """The run that the address names and the controls as they were; else the example: nobody sees an empty page.

    The map's payload, the findings, the trace, the panels' contents, what to say, and the controls.
    """
    key, step = query.get("trace"), query.get("step", "")
    stored = store.get(key) if key is not None else None
    if stored is None:
        lost = gr.skip() if key is None else status(LOST, "error")
        example = whole(Stored((first_trace(),)), "", FIRST_ROW, "example")
        return *example, lost, *[gr.skip()] * (6 + len(SETTINGS))
    asked_step = int(step) if re.fullmatch("[0-9]{1,9}", step) else None
    shown = whole(stored, key, FIRST_ROW, uuid.uuid4().hex, asked_step)
    return *shown, gr.skip(), *controls_of(stored)


def controls_of(stored: Stored) -> list[Any]:
    """What the controls were when this run was asked for; one that does not have the value stays."""
    trace = stored.traces[0]
    policy, asked = trace.policy, stored.arrays.get(NEW_TOKENS)
    return [
        trace.model_id if trace.model_id in MODELS else gr.skip(),
        policy.key if policy.key in POLICIES else gr.skip(),
        policy.budget or gr.skip(),
        len(trace) - trace.prompt_length if asked is None else int(asked),
        text_of(trace.tokens[: trace.prompt_length]),
        trace.positions,
        *(policy.settings[setting.name] if owner == policy.key else gr.skip() for owner, setting in SETTINGS),
    ]


def text_of(tokens: Tokens) -> str:
    """The text that was read: a token that stands for none of its characters has a name only, which is no text."""
    spans = zip(tokens.pieces, tokens.offsets.tolist(), strict=True)
    return "".join(piece for piece, (start, stop) in spans if start < stop)
