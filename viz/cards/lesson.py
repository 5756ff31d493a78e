"""A step of the lesson as HTML."""

from markupsafe import Markup

from viz.lesson.lesson import bars, numbers
from viz.lesson.words import LESSON
from viz.templates import fill
from viz.words.catalogue import _, language


def lesson_html(step: int) -> Markup:
    """One step (from 0): its text, its question with the answer folded, and the perplexities of the policies so far."""
    title, told, question, answer, about = (_(part, **numbers()) for part in LESSON[step])
    return fill(
        "cards/lesson.html",
        lang=language().replace("_", "-"),
        title=title,
        told=told,
        question=question,
        answer=answer,
        bars=bars(step),
        about=about,
    )
