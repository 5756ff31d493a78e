"""The sidebar: the one place that says what runs, for all lenses of the page."""

from collections.abc import Sequence
from typing import Any, get_args

import gradio as gr

import core
from core.errors import UserError
from core.messages import Message, tokens
from core.model.registry import MODELS
from core.trace import Positions
from viz.cards.markup import bullets, status
from viz.examples.example_texts import EXAMPLES
from viz.page import limits, models
from viz.page.asked import Asked, tokens_of
from viz.page.models import QUIETLY, one_by_one
from viz.page.policy_cards import PolicyCards, chosen_in, shown_on_cards
from viz.page.to_try import texts_to_try
from viz.page.uploads import text_of
from viz.words.catalogue import _, told
from viz.words.labels import later

POSITIONS_INFO = Message(
    "original: each row keeps its place in the text, as in the published TOVA code. in-cache: the rows are numbered "
    "anew at every step, as in StreamingLLM, so a text may be longer than the model was trained for. log-gap: as "
    "original, but gaps of more than 10 shrink to ln(ln gap), the paper's own way (section 7.2)."
)
PREFILL_INFO = Message(
    "Token by token, the multi-state never holds more than its budget. At once, as in the published TOVA code, the "
    "whole prompt is attended to first and cut to the budget at its end."
)
BUDGETS_INFO = Message(
    "The budget stays the mean. Pyramid (PyramidKV): the last layer gets a twentieth of it, the first what the others "
    "leave; if the last had no room for the rows that a policy spares, all get the same. Adaptive (AdaKV): the KV "
    "heads of a layer share theirs, each keeps at least a fifth; for policies that decide per KV head."
)
EVERY_INFO = Message(
    "1 is the paper's rule: one row in, one row out. With more, rows wait until there are that many too many, and then "
    "go all at once."
)

MARK_CHANGES = """(...values) => {
  const now = JSON.stringify(values);
  if (window.shownRun === undefined) window.shownRun = now;
  document.body.classList.toggle("changed", now !== window.shownRun);
  try { sessionStorage.setItem("asked", now); } catch { /* too long, or not allowed: then a reload forgets it */ }
}"""
"""Sets the class "changed" if the sidebar is no longer what the picture was made from; keeps it for `RESTORE`."""

REMEMBER = """(...values) => {
  window.shownRun = JSON.stringify(values);
  document.body.classList.remove("changed");
}"""
"""From now on the sidebar is what the picture is made from."""

RESTORE = """(...values) => {
  const before = JSON.parse(window.askedBefore ?? "null");
  if (before?.length === values.length) return before;
}"""
"""After a reload the sidebar is as it was: Gradio reloads the page when the server has been started anew.

If there is nothing to restore, it gives nothing, so that the browser need not update all values.
"""

CLOSE_ON_PHONE = """() => {
  if (innerWidth < 768) document.querySelector(".sidebar.open > .toggle-button")?.click();
}"""

AT_FIRST = """() => {
  const [{ type }] = performance.getEntriesByType("navigation");
  try { window.askedBefore = type === "reload" ? sessionStorage.getItem("asked") : null; } catch { /* not allowed */ }
  const button = document.querySelector(".sidebar > .toggle-button");
  button.setAttribute("aria-label", window.told.sidebar.name);
  if (innerWidth < 768 && document.querySelector(".sidebar.open")) button.click();
  document.body.classList.add("settled");
}"""
"""On a phone the sidebar covers the page, so there it is closed at first."""


def button_name() -> dict[str, str]:
    """What the script above says; the page hands it over as `window.told.sidebar`, see `viz.page.spoken`."""
    return {"name": _("Text, policies, settings")}


class Sidebar:
    """Model, text, policies, and how the text is read; Run, Stop and the status line.

    Attributes:
        values: the components whose values say what is asked for, for `asked_by`: the last inputs of every handler that
            runs something, and what `showing` fills.
        model, text: two of them.
        run, stop: the buttons.
        status: the status line of runs.
        halted: where it is said that a run was stopped.
    """

    def __init__(self, page: gr.Blocks, default: str) -> None:
        """Build it, with this model chosen."""
        with gr.Sidebar(width=320, elem_id="sidebar"):
            gr.Markdown(Message("# What does a Transformer keep?"), elem_id="title")
            self.model = _model_menu(default)
            self._text_controls()
            self.policies = PolicyCards()
            self._writing_controls()
            self._reading_controls()
            with gr.Accordion(Message("Limits of this app"), open=False, elem_id="limits"):
                gr.HTML(later(lambda: bullets(limits.current.sentences())))
            with gr.Column(elem_id="run-bar"):
                gr.HTML(later(lambda: _("The picture shows the run before this change.")), elem_id="changed")
                self.status = gr.HTML(later(lambda: status(_("Connecting …"))), elem_id="status")
                self.halted = gr.HTML(elem_id="stopped")
                with gr.Row():
                    self.run = gr.Button(Message("Run"), variant="primary", elem_id="run", min_width=80)
                    self.stop = gr.Button(Message("Stop"), elem_id="stop", min_width=80)
        self.values: list[Any] = [
            *(self.model, self.text, self.message, self.new_tokens, self.temperature, self.seed),
            *(self.positions, self.prefill, self.budgets, self.every),
            self.policies,
        ]
        gr.on([component.change for component in self.values], None, self.values, js=MARK_CHANGES, **QUIETLY)
        self.run.click(None, self.values, js=REMEMBER, **QUIETLY)
        self.run.click(None, js=CLOSE_ON_PHONE, **QUIETLY)
        page.load(None, js=AT_FIRST)

    def _text_controls(self) -> None:
        with gr.Row(elem_classes="head"):
            gr.Markdown(Message("### Your text"))
            self.count = gr.HTML(elem_id="token-count")
            upload = gr.UploadButton(
                Message("Open .txt"), file_types=[".txt"], size="sm", elem_id="open-text", min_width=0, scale=0
            )
        self.text = gr.Textbox(
            EXAMPLES[0].text, label=Message("Your text"), container=False, lines=4, max_lines=4, elem_id="text"
        )
        texts_to_try(Message("Texts to try"), {example.title: example.text for example in EXAMPLES}, self.text)
        self.message = gr.Checkbox(label=Message("as a message to the model"), container=False, elem_id="message")
        upload.upload(text_of, upload, self.text, **one_by_one("text"))
        gr.on([self.text.change, self.model.change, self.message.change], **self.counting())

    def counting(self) -> dict[str, Any]:
        """The arguments of an event that counts the text's tokens and offers the chat format if the model has one."""
        return {
            "fn": _count,
            "inputs": [self.model, self.text, self.message],
            "outputs": [self.count, self.message],
            "trigger_mode": "always_last",
            "concurrency_limit": None,
            **QUIETLY,
        }

    def _writing_controls(self) -> None:
        self.new_tokens = gr.Slider(
            0,
            min(512, limits.current.max_new_tokens),
            value=0,
            step=1,
            label=Message("Write on: new tokens"),
            elem_id="new-tokens",
        )
        with gr.Row(elem_id="drawing"):
            self.temperature = gr.Number(
                0, label=Message("Temperature"), minimum=0, maximum=2, step=0.1, elem_id="temperature", min_width=80
            )
            self.seed = gr.Number(0, label=Message("Seed"), minimum=0, precision=0, elem_id="seed", min_width=80)
        writes = gr.State(False)
        self.new_tokens.change(
            _writing, [self.new_tokens, writes], [writes, self.message], trigger_mode="always_last", **QUIETLY
        )

    def _reading_controls(self) -> None:
        with gr.Accordion(Message("How it is read"), open=False, elem_id="more"):
            self.prefill = gr.Radio(
                [(Message("token by token"), "token-by-token"), (Message("the prompt at once"), "one-shot")],
                value="token-by-token",
                label=Message("The prompt"),
                info=PREFILL_INFO,
                elem_id="prefill",
            )
            self.positions = gr.Dropdown(
                list(get_args(Positions)),
                value="original",
                label=Message("Positions of the rows kept"),
                info=POSITIONS_INFO,
                elem_id="positions",
            )
            self.budgets = gr.Dropdown(
                [
                    (Message("all layers and heads alike"), "uniform"),
                    (Message("pyramid: more in the first layers"), "pyramid"),
                    (Message("adaptive: the heads of a layer compete"), "adaptive"),
                ],
                value="uniform",
                label=Message("How budgets are shared out"),
                info=BUDGETS_INFO,
                elem_id="budgets",
            )
            self.every = gr.Number(
                1,
                label=Message("Rows evicted at a time"),
                info=EVERY_INFO,
                minimum=1,
                precision=0,
                elem_id="every",
            )

    def showing(self, asked: Asked) -> dict[Any, Any]:
        """Updates after which the sidebar says this; a model that is not in the menu is left as it is."""
        return {
            self.model: asked.model if asked.model in MODELS else gr.skip(),
            self.text: asked.text,
            self.message: asked.message,
            self.new_tokens: asked.new_tokens,
            self.temperature: asked.temperature,
            self.seed: asked.seed,
            self.positions: asked.positions,
            self.prefill: asked.prefill,
            self.budgets: asked.budgets,
            self.every: asked.every,
            self.policies: shown_on_cards(asked.policies),
        }


def asked_by(values: Sequence[Any]) -> Asked:
    """What is asked for, from the values of `Sidebar.values`.

    Raises:
        UserError: no whole request.
    """
    model, text, message, new_tokens, temperature, seed, positions, prefill, budgets, every, cards = values
    return Asked(
        model=model,
        text=text or "",
        policies=chosen_in(cards),
        message=bool(message),
        new_tokens=int(new_tokens or 0),
        temperature=float(temperature or 0),
        seed=int(seed or 0),
        positions=positions,
        prefill=prefill,
        budgets=budgets,
        every=int(every or 1),
    )


def _model_menu(default: str) -> gr.Dropdown:
    choices = models.menu()
    if default not in MODELS:
        choices.insert(0, (default, default))
    return gr.Dropdown(
        choices,
        value=default,
        allow_custom_value=models.resident.any_model,
        label=Message("Model"),
        container=False,
        elem_id="model",
    )


def _count(model: str, text: str, message: bool) -> tuple[str, Any]:
    """How many tokens the text is, if the model is in memory; and whether it can be a message to the model."""
    lm = models.resident.peek(model)
    if lm is None:
        return "", gr.update(visible=True)
    offered = gr.update(visible=core.chats(lm))
    try:
        return told(tokens(len(tokens_of(lm, Asked(model, text, (), message))))), offered
    except UserError:  # said when it is to be run
        return "", offered


def _writing(new_tokens: int, wrote: bool) -> tuple[bool, Any]:
    """Where it writes on, the text is a message at first, since a chat model expects one."""
    writes = bool(new_tokens)
    return writes, gr.update(value=writes) if writes != wrote else gr.skip()
