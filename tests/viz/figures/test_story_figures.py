"""The tally as a figure, and stories as cards: the numbers are those of the votes, and a text stays text."""

import json
import re
from dataclasses import replace

import pytest

from core import make_policy
from core.experiments.stories import Story, Telling
from core.experiments.votes import Tally, full_comes_first
from core.policies import settings_of
from tests.traces import HOSTILE, tokens_of
from tests.writers import pair_of
from viz.cards.story_cards import pair_html, telling_html
from viz.figures.tally import tally_figure

TALLY = Tally("", "smollm2", "tova", 64, wins=2, ties=3, losses=5, pairs=8, weight=7.0)
BY_MODEL = replace(TALLY, judge="gpt", policy="window+i", wins=1, ties=0, losses=0, pairs=1, weight=1.0)
PAPER = [f"<i>The paper: TOVA, budget {budget}</i>" for budget in ("256", "512", "1,024")]


def labels(figure) -> list[str]:
    return [annotation.text for annotation in figure.layout.annotations]


def test_bars_are_the_shares_above_the_papers() -> None:
    figure = tally_figure([TALLY, BY_MODEL])
    win, tie, loss, *intervals = figure.data
    assert (list(win.x), list(tie.x), list(loss.x)) == (
        [20, 100, 6, 10, 5],
        [30, 0, 47, 71, 88],
        [50, 0, 47, 19, 6],
    )
    assert labels(figure) == [
        "TOVA, budget 64 · 10 votes on 8 pairs",
        "Window+i, budget 64 · gpt: 1 vote on 1 pair",
        *PAPER,
    ]
    assert figure.layout.barmode == "stack"
    assert "section 6" in figure.layout.title.text and "13B" in figure.layout.title.text
    assert [list(of_verdict.x) for of_verdict in intervals] == [[20, 100], [50, 100]]


def test_intervals_are_those_of_the_tally() -> None:
    (low, high), (few, many) = TALLY.interval("win"), TALLY.interval("loss")
    ends = [
        (of_verdict.x[0] - of_verdict.error_x.arrayminus[0], of_verdict.x[0] + of_verdict.error_x.array[0])
        for of_verdict in tally_figure([TALLY]).data[3:]
    ]
    assert ends[0] == pytest.approx((100 * low, 100 * high))
    assert ends[1] == pytest.approx((100 - 100 * many, 100 - 100 * few))  # from the right


def test_without_votes_there_is_the_papers_figure() -> None:
    figure = tally_figure([])
    assert labels(figure) == PAPER
    assert [list(bar.x) for bar in figure.data[:3]] == [[6, 10, 5], [47, 71, 88], [47, 19, 6]]


def test_models_are_named_if_there_are_several() -> None:
    figure = tally_figure([TALLY, replace(TALLY, model="/somewhere/<b>other")])
    assert [label.split(" · ")[0] for label in labels(figure)[:2]] == [
        "TOVA, budget 64, smollm2",
        "TOVA, budget 64, &lt;b&gt;other",
    ]


@pytest.mark.parametrize("name", HOSTILE)
def test_the_figure_takes_no_markup_from_a_name(name: str) -> None:
    hostile = replace(TALLY, judge=name, model=name, policy=name)
    figure = json.dumps(json.loads(tally_figure([TALLY, hostile]).to_json()))
    assert not any(markup in figure for markup in ("<img", "<b>", "</script"))
    assert tally_figure([TALLY]).layout.paper_bgcolor == "rgba(0,0,0,0)"


# Cards.


def story_of(*pieces: str, policy: str = "tova", budget: int | None = 8, ended: bool = True, left: int | None = None):
    return Story(settings_of(make_policy(policy, budget)), tokens_of(pieces), ended, left)


FULL = story_of("Once", " upon", " a", " time", policy="full", budget=None)


def cards(html: str) -> list[str]:
    return re.findall(r"<article.*?</article>", html)


def text_of(card: str) -> str:
    return re.search(r'<div class="text"><div>(.*)</div></div>', card)[1]


def test_a_card_marks_the_first_token_that_differs() -> None:
    other = story_of("Once", " more", " a", " time", left=1, ended=False)
    full, card = cards(telling_html(Telling("p", 0, (FULL, other)), finished=True))
    assert text_of(full) == "Once upon a time" and "Full model" in full
    assert text_of(card) == (
        '<span class="shared">Once</span><mark title="the first token that differs"> more</mark> a time'
    )
    assert "TOVA, budget 8" in card and "4 tokens, stopped at the limit" in card
    assert "leaves the full model&#39;s at token 2" in card and "distinct-1 / 2 / 3: 1.00 / 1.00 / 1.00" in card


def test_a_card_marks_where_a_story_ends_too_early() -> None:
    short = story_of("Once", left=1)
    card = cards(telling_html(Telling("p", 0, (FULL, short)), finished=True))[1]
    assert text_of(card).endswith('Once</span><mark title="here it ends, where the full model goes on"></mark>')
    assert "1 token, ended by itself" in card and "distinct" not in card


def test_a_story_that_does_not_differ_is_faint_as_a_whole() -> None:
    same = story_of("Once", " upon", ended=False)
    card = cards(telling_html(Telling("p", 0, (FULL, same)), finished=False))[1]
    assert text_of(card) == '<span class="shared">Once upon</span>'
    assert "writing …" in card and "so far the same" in card


def test_a_pair_shows_no_names_and_both_orders() -> None:
    pair = pair_of("p", full="F & F", story="S", prompt="<Prompt>")
    seen = set()
    for voter in map(str, range(20)):
        html = pair_html(pair, voter)
        assert "TOVA" not in html and "Full" not in html and "tokens" not in html
        assert '<p class="prompt">&lt;Prompt&gt;</p>' in html
        order = [text_of(card) for card in cards(html)]
        assert order == (["F &amp; F", "S"] if full_comes_first("p", voter) else ["S", "F &amp; F"])
        named = [re.search("<h4>(.*)</h4>", card)[1] for card in cards(pair_html(pair, voter, named=True))]
        assert named[order.index("S")].endswith(": TOVA, budget 64") and named[order.index("F &amp; F")].endswith(
            ": Full model"
        )
        seen.add(tuple(order))
    assert len(seen) == 2
    assert "word for word" not in html and "word for word" in pair_html(replace(pair, story=pair.full), "ann")


def test_cards_take_no_markup_from_a_text() -> None:
    pieces = (*HOSTILE, *HOSTILE)
    stories = (story_of(*pieces, policy="full", budget=None), story_of(*pieces, left=1), story_of(*pieces))
    html = telling_html(Telling(HOSTILE[0], 0, stories), finished=True)
    pair = pair_of("p", policy=HOSTILE[0], full=HOSTILE[0], story=HOSTILE[1], prompt=HOSTILE[0])
    html += pair_html(pair, "v") + pair_html(pair, "v", named=True)
    assert not any(markup in html for markup in ("<img", "<b>", "</script"))
