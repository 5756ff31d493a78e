"""Texts side by side, each in a card with a name and some facts about it."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from viz.maps.colours import JUST_EVICTED
from viz.templates import fill, static

CSS = f".stories, .note {{ --differs: {JUST_EVICTED.light}; }}\n" + static("stories.css")


@dataclass(frozen=True)
class Card:
    """What a card says, as plain text.

    Attributes:
        name: the heading, which says whose text it is.
        facts: one line each, about the text.
        faint: the beginning of the text, which is shown fainter; None if nothing is.
        mark: the next part, which is marked, and what the mark means; None if nothing is marked.
        text: the rest of the text.
    """

    name: str
    facts: Sequence[str] = ()
    faint: str | None = None
    mark: tuple[str, str] | None = None
    text: str = ""


def cards_html(cards: Sequence[Card], writing: bool = False, text_first: bool = False) -> Markup:
    """Cards in columns, as many as there is room for.

    Args:
        cards: from left to right.
        writing: whether the texts are still growing.
        text_first: whether the facts stand below the text.
    """
    return fill("cards/cards.html", cards=cards, writing=writing, text_first=text_first)
