"""The fixed texts of a page: labels, headings, buttons, and what stands there before anything has happened.

A page is made once, before it is known who opens it, so each text is a name under which the browser finds the words
that come with the page. Gradio has words of its own in some thirty languages and looks for ours among them; what it
does not find, it takes from its English. So that is where they are, in whichever language the browser prefers.
"""

import hashlib
from collections.abc import Callable
from functools import partial
from typing import Any

import gradio as gr
from gradio.blocks import Block
from gradio.i18n import I18nData

from core.messages import Message
from viz.words.catalogue import ENGLISH, speaking, told

MARK = "__i18n__"
"""How Gradio begins a text that the browser looks up."""

_texts: dict[str, Callable[[], str]] = {}


def later(text: Callable[[], str]) -> I18nData:
    """A text of a page, told in the language of each browser that opens it.

    Args:
        text: tells it.
    """
    with speaking(ENGLISH):
        name = hashlib.sha1(text().encode()).hexdigest()  # of letters and digits alone, and of no value of a choice
    _texts[name] = text
    return I18nData(name)


class PageWords(gr.I18n):
    """The words that come with a page, for Gradio."""

    @property
    def translations_dict(self) -> dict[str, dict[str, str]]:
        """Those of the language to speak now, as if they were English, which Gradio falls back to."""
        return {"en": {name: str(text()) for name, text in _texts.items()}}


def translate(page: gr.Blocks) -> None:
    """Let the browser show the messages on a page in its language: labels, infos, buttons, headings, choices."""
    for block in page.blocks.values():
        for name, text in fixed_texts(block):
            setattr(block, name, fixed(text))
        if choices := getattr(block, "choices", None):
            setattr(block, "choices", [(fixed(shown), value) for shown, value in choices])  # noqa: B010 (not all have it)


def fixed_texts(block: Block) -> list[tuple[str, Any]]:
    """The attributes of a component that are texts for people, each with its text; not what it holds as a value.

    Of what a button or a heading says, Gradio makes another string: a message no more, or the mark of a text that is
    `fixed` already.
    """
    names = ["label", "info"] + ["value"] * isinstance(block, gr.Button | gr.Markdown)
    texts = [(name, getattr(block, name, None)) for name in names]
    said = [(name, text) for name, text in texts if isinstance(text, str) and text and not text.startswith(MARK)]
    return [(name, Message(text) if name == "value" else text) for name, text in said]


def fixed(text: str) -> str | I18nData:
    """A message as a text of the page, see `later`; any other text stays as it is."""
    return later(partial(told, text)) if isinstance(text, Message) else text
