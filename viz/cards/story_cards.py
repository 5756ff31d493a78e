"""Stories as cards for the page."""

from markupsafe import Markup

from core.experiments.records import LABELS
from core.experiments.stories import DISTINCT, Story, Telling, distinct
from core.experiments.votes import Pair, full_comes_first
from viz.cards.card import Card, cards_html
from viz.templates import fill
from viz.words.lesson_words import Language
from viz.words.say import amount, policy_name, say

FULL = "Full model"
KEY = "Fainter: word for word as the full model. {mark} marks the first token that differs."


def telling_html(telling: Telling, finished: bool, language: Language = "en") -> Markup:
    """The stories of one prompt side by side, the full model's first, each with its numbers and its first difference.

    Args:
        telling: the stories, perhaps still being written.
        finished: they are complete.
        language: of our own words.
    """
    cards = []
    for story in telling.stories:
        is_full = story.policy.budget is None
        name = say(language, FULL) if is_full else policy_name(story.policy, language)
        facts = _facts(story, is_full, finished, language)
        cards.append(_plain(name, facts, story.text, language) if is_full else _marked(name, facts, story, language))
    key = say(language, KEY, mark="{mark}")  # the template puts a mark there
    return fill("cards/telling.html", key=key, cards=cards_html(cards, writing=not finished))


def pair_html(pair: Pair, voter: str, named: bool = False, language: Language = "en") -> Markup:
    """Two stories to be compared, in this voter's order, as A and B or, once they have voted, by their names."""
    policy = LABELS.get(pair.policy, pair.policy)
    names = (
        say(language, FULL),
        say(language, "{policy}, budget {budget:,}", policy=policy, budget=pair.budget),
    )
    texts = [(pair.full, names[0], pair.full_tokens), (pair.story, names[1], pair.story_tokens)]
    if not full_comes_first(pair.id, voter):
        texts.reverse()
    cards = []
    for letter, (text, name, tokens) in zip("AB", texts, strict=True):
        title = say(language, "{letter}: {name}", letter=letter, name=name)
        anonymous = say(language, "Story {letter}", letter=letter)
        facts = [amount(language, tokens, "token")] if named else []
        cards.append(_plain(title if named else anonymous, facts, text, language))
    same = say(language, "The two are the same, word for word.") if pair.full == pair.story else ""
    return fill("cards/pair.html", prompt=pair.prompt, same=same, cards=cards_html(cards))


def _facts(story: Story, is_full: bool, finished: bool, language: Language) -> list[str]:
    stopped = "{tokens}, stopped at the limit" if finished else "{tokens}, writing …"
    length = "{tokens}, ended by itself" if story.ended else stopped
    parts = [say(language, length, tokens=amount(language, len(story), "token"))]
    if len(story) >= max(DISTINCT):
        values = " / ".join(f"{distinct(story, n):.2f}" for n in DISTINCT)
        parts.append(say(language, "distinct-{n}: {values}", n=" / ".join(map(str, DISTINCT)), values=values))
    if not is_full and story.left_at is not None:
        parts.append(say(language, "leaves the full model's at token {token:,}", token=story.left_at + 1))
    elif not is_full:
        same = "the same as the full model's" if finished else "so far the same as the full model's"
        parts.append(say(language, same))
    return parts


def _marked(name: str, facts: list[str], story: Story, language: Language) -> Card:
    """What the full model wrote as well is fainter, up to a mark on the first token that differs."""
    pieces, at = story.tokens.pieces, len(story) if story.left_at is None else story.left_at
    faint, first, rest = ("".join(part) for part in (pieces[:at], pieces[at : at + 1], pieces[at + 1 :]))
    what = "the first token that differs" if at < len(pieces) else "here it ends, where the full model goes on"
    mark = None if story.left_at is None else (first, say(language, what))
    return Card(name, facts, faint, mark, rest)


def _plain(name: str, facts: list[str], text: str, language: Language) -> Card:
    return Card(name, facts, text=text) if text.strip() else Card(name, facts, faint=say(language, "(nothing)"))
