"""Answers side by side, as cards for the page. Every text, a user's or a model's, is escaped."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from core.answers import f1
from core.trace import PolicySettings
from viz.story_cards import card, side_by_side


@dataclass(frozen=True)
class Given:
    """An answer as it is shown.

    Attributes:
        policy: whose it is.
        text: the answer.
        finished: the model itself ended it.
        kept: the share of the marked passage that was kept when the question came; None if none is marked.
    """

    policy: PolicySettings
    text: str
    finished: bool
    kept: float | None


def answers_html(answers: Sequence[Given], reference: str, over: bool) -> str:
    """One card per answer, the full model's first.

    Args:
        answers: as far as they are written, the full model's first.
        reference: the right answer; blank if none is known.
        over: nothing more will be written.
    """
    full = answers[0].text
    cards = []
    for answer in answers:
        is_full = answer.policy.budget is None
        facts = []
        if answer.text and reference.strip():
            facts.append(f"F1 with your reference: {f1(answer.text, [reference]):.0%}")
        if answer.text and full and not is_full:
            facts.append(f"F1 with the full model's answer: {f1(answer.text, [full]):.0%}")
        if answer.kept is not None:
            facts.append(f"of the marked passage {answer.kept:.0%} was kept when the question came")
        if over and not answer.finished:
            facts.append("stopped at the limit")
        text = escape(answer.text) if answer.text else f'<span class="shared">{"(nothing)" if over else "…"}</span>'
        cards.append(card("Full model" if is_full else str(answer.policy), "<br>".join(map(escape, facts)), text))
    return side_by_side(cards)
