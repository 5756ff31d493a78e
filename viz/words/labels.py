"""The page's fixed texts (labels, headings, buttons) in the language of each browser that opens it.

The page is built once, before anybody opens it, so a component holds only a key, which the browser looks up in a
dictionary sent with the page. Gradio has dictionaries for some thirty languages and falls back to the English one if a
key is missing. So our texts are put there, already translated into the language of the browser that gets them.
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
"""The prefix of a text that Gradio looks up in the browser."""

_texts: dict[str, Callable[[], str]] = {}


def later(text: Callable[[], str]) -> I18nData:
    """A text for a component, which each browser shows in its language; `text` returns it in the current one."""
    with speaking(ENGLISH):
        name = hashlib.sha1(text().encode()).hexdigest()  # only letters and digits, and never equal to a choice's value
    _texts[name] = text
    return I18nData(name)


class PageWords(gr.I18n):
    """The dictionary of our texts that Gradio sends with the page."""

    @property
    def translations_dict(self) -> dict[str, dict[str, str]]:
        """All texts in the current language, given as English, because Gradio falls back to English."""
        return {"en": {name: str(text()) for name, text in _texts.items()}}


def translate(page: gr.Blocks) -> None:
    """Let each browser show the page's labels, infos, buttons, headings and choices in its language."""
    for block in page.blocks.values():
        for name, text in fixed_texts(block):
            setattr(block, name, fixed(text))
        if choices := getattr(block, "choices", None):
            setattr(block, "choices", [(fixed(shown), value) for shown, value in choices])  # noqa: B010 (not all have it)


def fixed_texts(block: Block) -> list[tuple[str, Any]]:
    """The (attribute, text) pairs of a component that people read; its value only if it is a button or a heading.

    Gradio copies such a value to a plain string, so it becomes a `Message` again here. Texts that begin with `MARK`
    are `fixed` already and left out.
    """
    names = ["label", "info"] + ["value"] * isinstance(block, gr.Button | gr.Markdown)
    texts = [(name, getattr(block, name, None)) for name in names]
    said = [(name, text) for name, text in texts if isinstance(text, str) and text and not text.startswith(MARK)]
    return [(name, Message(text) if name == "value" else text) for name, text in said]


def fixed(text: str) -> str | I18nData:
    """A message as a text that each browser translates, see `later`; any other text is returned unchanged."""
    return later(partial(told, text)) if isinstance(text, Message) else text
