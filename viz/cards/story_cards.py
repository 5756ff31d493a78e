"""Stories as cards for the page."""

from markupsafe import Markup

from core.experiments.records import LABELS
from core.experiments.stories import DISTINCT, Story, Telling, distinct
from core.experiments.votes import Pair, full_comes_first
from core.messages import tokens
from viz.cards.card import Card, cards_html
from viz.templates import fill
from viz.words.catalogue import _, told
from viz.words.policies import policy_name


def telling_html(telling: Telling, finished: bool) -> Markup:
    """The stories of one prompt side by side, the full model's first, each with its numbers and its first difference.

    Args:
        telling: the stories, which may still be growing.
        finished: whether they are complete.
    """
    cards = []
    for story in telling.stories:
        is_full = story.policy.budget is None
        name = _("Full model") if is_full else policy_name(story.policy)
        facts = _facts(story, is_full, finished)
        cards.append(_plain(name, facts, story.text) if is_full else _marked(name, facts, story))
    key = _(
        "Fainter: word for word as the full model. {mark} marks the first token that differs.",
        mark="{mark}",  # kept for the template, which puts a mark there
    )
    return fill("cards/telling.html", key=key, cards=cards_html(cards, writing=not finished))


def pair_html(pair: Pair, voter: str, named: bool = False) -> Markup:
    """Two stories to compare, as A and B in this voter's order; `named` tells whose they are, once they have voted."""
    policy = LABELS.get(pair.policy, pair.policy)
    names = (
        _("Full model"),
        _("{policy}, budget {budget:,}", policy=policy, budget=pair.budget),
    )
    texts = [(pair.full, names[0], pair.full_tokens), (pair.story, names[1], pair.story_tokens)]
    if not full_comes_first(pair.id, voter):
        texts.reverse()
    cards = []
    for letter, (text, name, length) in zip("AB", texts, strict=True):
        title = _("{letter}: {name}", letter=letter, name=name)
        anonymous = _("Story {letter}", letter=letter)
        facts = [told(tokens(length))] if named else []
        cards.append(_plain(title if named else anonymous, facts, text))
    same = _("The two are the same, word for word.") if pair.full == pair.story else ""
    return fill("cards/pair.html", prompt=pair.prompt, same=same, cards=cards_html(cards))


def _facts(story: Story, is_full: bool, finished: bool) -> list[str]:
    length = tokens(len(story))
    if story.ended:
        parts = [_("{tokens}, ended by itself", tokens=length)]
    elif finished:
        parts = [_("{tokens}, stopped at the limit", tokens=length)]
    else:
        parts = [_("{tokens}, writing …", tokens=length)]
    if len(story) >= max(DISTINCT):
        values = " / ".join(f"{distinct(story, n):.2f}" for n in DISTINCT)
        parts.append(_("distinct-{n}: {values}", n=" / ".join(map(str, DISTINCT)), values=values))
    if not is_full and story.left_at is not None:
        parts.append(_("leaves the full model's at token {token:,}", token=story.left_at + 1))
    elif not is_full:
        parts.append(_("the same as the full model's") if finished else _("so far the same as the full model's"))
    return parts


def _marked(name: str, facts: list[str], story: Story) -> Card:
    """A policy's story: fainter as long as it equals the full model's, with a mark on the first token that differs."""
    pieces, at = story.tokens.pieces, len(story) if story.left_at is None else story.left_at
    faint, first, rest = ("".join(part) for part in (pieces[:at], pieces[at : at + 1], pieces[at + 1 :]))
    what = _("the first token that differs") if at < len(pieces) else _("here it ends, where the full model goes on")
    mark = None if story.left_at is None else (first, what)
    return Card(name, facts, faint, mark, rest)


def _plain(name: str, facts: list[str], text: str) -> Card:
    return Card(name, facts, text=text) if text.strip() else Card(name, facts, faint=_("(nothing)"))
