"""Links to a run: the address names the run in the store, and the page opens with it."""

import json
import re
import uuid
from collections.abc import Mapping
from typing import Any

import gradio as gr

from core.model.registry import MODELS
from core.policies import POLICIES
from core.store import Stored, TraceStore
from core.trace import Tokens
from viz.cards.markup import status
from viz.examples.example_texts import first_trace
from viz.page.policy_controls import SETTINGS
from viz.tabs.panels import FIRST_ROW, whole
from viz.words.status_words import STATUS_WORDS

LOST = (
    "The run of this link is not in the store of this app: the link is not whole, or the run has made room for newer "
    "ones. Choose its text and settings below and press Run, or ask for it as a file (.npz) and open that. "
    "What you see is the example."
)


NEW_TOKENS = "new_tokens"
"""The name under which the store has how many were asked for, beside a trace, which may have ended before."""

COPIED = (
    "No link yet",
    "Only a whole run has one: press Run and let it come to its end.",
    "Copied: the link to this run at this step",
    "Copy this link to this run at this step",
)
"""What is said by the script below."""

COPY_LINK = """async () => {
  const chinese = document.documentElement.lang.startsWith("zh") ? CHINESE : {};
  const say = (english) => chinese[english] ?? english;
  const { link } = document.querySelector(".rm[data-link]:not([data-link=''])")?.dataset ?? {};
  const shown = (label, value) => ({ __type__: "update", label: say(label), value, visible: true });
  if (!link) return shown("No link yet", say("Only a whole run has one: press Run and let it come to its end."));
  try {
    await navigator.clipboard.writeText(link);
    return shown("Copied: the link to this run at this step", link);
  } catch {
    return shown("Copy this link to this run at this step", link);
  }
}""".replace("CHINESE", json.dumps({english: STATUS_WORDS[english] for english in COPIED}))
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
