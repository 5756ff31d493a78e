"""Lesson: what finite memory does, in seven steps on stored runs; needs neither a model nor a network."""

from typing import Any

import gradio as gr

from viz.cards.lesson import lesson_html
from viz.cards.markup import paragraphs
from viz.lesson.lesson import STEPS, picture, progress
from viz.maps.colours import properties
from viz.maps.retention_map import RetentionMap
from viz.page.models import QUIETLY
from viz.templates import static
from viz.words.catalogue import _, language, languages, own_name, speaking

# The keys that presenters' remote controls send.
ON_PAGE_KEYS = """() => document.addEventListener("keydown", (event) => {
  const buttons = { PageUp: "lesson-back", PageDown: "lesson-next" };
  const button = document.getElementById(buttons[event.key]);
  if (!button || button.offsetParent === null || event.target.matches("input, textarea, select")) return;
  event.preventDefault();
  button.click();
})"""

ALWAYS: dict[str, Any] = {**QUIETLY, "concurrency_limit": None}


def lesson_tab(page: gr.Blocks) -> None:
    """The words of a step beside its map, a button back and one onwards, and a choice of language."""
    step = gr.State(0)
    with gr.Row(elem_id="lesson"):
        with gr.Column(scale=2, min_width=300, elem_classes="projected"):
            with gr.Row(elem_id="lesson-steps"):
                back = gr.Button(interactive=False, min_width=100, elem_id="lesson-back")
                where = gr.HTML(elem_id="lesson-progress")
                onwards = gr.Button(variant="primary", min_width=100, elem_id="lesson-next")
            words = gr.HTML(css_template=properties(".lesson") + static("lesson.css"), elem_id="lesson-words")
            speech = gr.Radio([], show_label=False, container=False, elem_id="lesson-language")
        with gr.Column(scale=5, min_width=320):
            retention_map = RetentionMap()
    told = [words, where, back, onwards]

    def begin() -> list[Any]:
        names = [(own_name(each), each) for each in languages()]
        return [gr.update(choices=names, value=language()), *tell(0, language())]

    page.load(begin, None, [speech, *told], **ALWAYS)
    page.load(lambda: picture(0), None, retention_map, **ALWAYS)
    page.load(None, js=ON_PAGE_KEYS, **QUIETLY)
    speech.input(tell, [step, speech], told, **ALWAYS)
    back.click(lambda *at: go(-1, *at), [step, speech], [step, retention_map, *told], **ALWAYS)
    onwards.click(lambda *at: go(1, *at), [step, speech], [step, retention_map, *told], **ALWAYS)


def go(by: int, step: int, speech: str) -> list[Any]:
    """The step that is so many further: its number, its map, and what `tell` tells."""
    step = min(max(step + by, 0), len(STEPS) - 1)
    return [step, picture(step), *tell(step, speech)]


def tell(step: int, speech: str) -> list[Any]:
    """The words of a step, how far it is, and the two buttons."""
    with speaking(speech):
        return [
            lesson_html(step),
            paragraphs([progress(step)]),
            gr.update(value=_("← Back"), interactive=step > 0),
            gr.update(value=_("Next →"), interactive=step < len(STEPS) - 1),
        ]
