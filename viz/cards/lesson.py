"""A step of the lesson as HTML."""

from markupsafe import Markup

from viz.cards.markup import LANGUAGES
from viz.lesson.lesson import bars, numbers
from viz.templates import fill
from viz.words.lesson_words import LESSON, LESSON_LABELS, Language


def lesson_html(step: int, language: Language) -> Markup:
    """The words of a step, its question with the answer folded, and the perplexities so far."""
    labels = LESSON_LABELS[language]
    title, told, question, answer = (part.format(**numbers()) for part in LESSON[language][step])
    return fill(
        "cards/lesson.html",
        lang=LANGUAGES[language],
        title=title,
        told=told,
        question=question,
        answer=answer,
        labels=labels,
        bars=bars(step),
        about=labels["about"].format(**numbers()),
    )
