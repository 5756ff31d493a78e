"""Answers side by side, as cards for the page."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from core.experiments.answers import f1
from core.trace import PolicySettings
from viz.cards.card import Card, cards_html
from viz.words.catalogue import _
from viz.words.policies import policy_name


@dataclass(frozen=True)
class Given:
    """An answer to show.

    Attributes:
        policy: the one that it was written under.
        text: the answer.
        finished: whether the model ended it itself, before the limit.
        kept: the share of the marked passage that was kept when the question came; None if none is marked.
    """

    policy: PolicySettings
    text: str
    finished: bool
    kept: float | None


def answers_html(answers: Sequence[Given], reference: str, over: bool) -> Markup:
    """One card per answer, the full model's first.

    Args:
        answers: the full model's first; they may still be growing.
        reference: the right answer; blank if none is known.
        over: whether all answers are complete.
    """
    full = answers[0].text
    unwritten = _("(nothing)") if over else "…"
    cards = []
    for answer in answers:
        is_full = answer.policy.budget is None
        facts = []
        if answer.text and reference.strip():
            facts.append(_("F1 with the right answer: {f1:.0%}", f1=f1(answer.text, [reference])))
        if answer.text and full and not is_full:
            facts.append(_("F1 with the full model: {f1:.0%}", f1=f1(answer.text, [full])))
        if answer.kept is not None:
            facts.append(_("evidence kept at the question: {share:.0%}", share=answer.kept))
        if over and not answer.finished:
            facts.append(_("stopped at the limit"))
        name = _("Full model") if is_full else policy_name(answer.policy)
        cards.append(Card(name, facts, None if answer.text else unwritten, text=answer.text))
    return cards_html(cards, text_first=True)
