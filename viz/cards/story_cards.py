"""Stories as cards for the page. Every text, a user's or a model's, is escaped."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

from core.experiments.records import LABELS
from core.experiments.stories import DISTINCT, Story, Telling, distinct
from core.experiments.votes import Pair, full_comes_first
from viz.words.lesson_words import Language
from viz.words.say import amount, policy_name, say

CSS = (Path(__file__).parents[1] / "static" / "stories.css").read_text(encoding="utf-8")
FULL = "Full model"
KEY = "Fainter: word for word as the full model. <mark></mark> marks the first token that differs."


def telling_html(telling: Telling, finished: bool, language: Language = "en") -> str:
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
        text = _plain(story.text, language) if is_full else _marked(story, language)
        cards.append(card(name, _numbers(story, is_full, finished, language), text))
    return f'<p class="note">{say(language, KEY)}</p>{side_by_side(cards, "" if finished else " writing")}'


def pair_html(pair: Pair, voter: str, named: bool = False, language: Language = "en") -> str:
    """Two stories to be compared, in this voter's order, as A and B or, once they have voted, by their names."""
    policy = LABELS.get(pair.policy, pair.policy)
    names = (
        say(language, FULL),
        say(language, "{policy}, budget {budget:,}", policy=policy, budget=pair.budget),
    )
    texts = [(pair.full, names[0], pair.full_tokens), (pair.story, names[1], pair.story_tokens)]
    if not full_comes_first(pair.id, voter):
        texts.reverse()
    cards = [
        card(
            say(language, "{letter}: {name}", letter=letter, name=name)
            if named
            else say(language, "Story {letter}", letter=letter),
            amount(language, tokens, "token") if named else "",
            _plain(text, language),
        )
        for letter, (text, name, tokens) in zip("AB", texts, strict=True)
    ]
    same = f"<p>{say(language, 'The two are the same, word for word.')}</p>" if pair.full == pair.story else ""
    return f'<p class="prompt">{escape(pair.prompt)}</p>{same}{side_by_side(cards)}'


def side_by_side(cards: Sequence[str], more: str = "") -> str:
    """Cards in columns, as many as there is room for."""
    return f'<div class="stories{more}">{"".join(cards)}</div>'


def card(name: str, numbers: str, text: str) -> str:
    """A card with this name, which is escaped here, and with numbers and text, which are HTML already."""
    numbers = f'<p class="numbers">{numbers}</p>' if numbers else ""
    return f'<article class="story"><h4>{escape(name)}</h4>{numbers}<div class="text"><div>{text}</div></div></article>'


def _numbers(story: Story, is_full: bool, finished: bool, language: Language) -> str:
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
    return "<br>".join(escape(part) for part in parts)


def _marked(story: Story, language: Language) -> str:
    """The text; what the full model wrote as well is fainter, up to a mark on the first token that differs."""
    pieces, at = story.tokens.pieces, len(story) if story.left_at is None else story.left_at
    shared, first, rest = (escape("".join(part)) for part in (pieces[:at], pieces[at : at + 1], pieces[at + 1 :]))
    what = "the first token that differs" if at < len(pieces) else "here it ends, where the full model goes on"
    mark = "" if story.left_at is None else f'<mark title="{say(language, what)}">{first}</mark>'
    return f'<span class="shared">{shared}</span>{mark}{rest}'


def _plain(text: str, language: Language) -> str:
    return escape(text) if text.strip() else f'<span class="shared">{say(language, "(nothing)")}</span>'
