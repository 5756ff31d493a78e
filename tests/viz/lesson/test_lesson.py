"""The lesson says what is in its runs, and its runs are what the policies do."""

import re
from collections.abc import Iterable
from string import Formatter

import numpy as np
import pytest

from core import LanguageModel, make_policy, replay
from core.trace import NEVER
from viz.cards.lesson import lesson_html
from viz.lesson import lesson
from viz.lesson.words import LESSON
from viz.words.catalogue import _, languages, speaking

SECTIONS_AND_TABLES = {"7.3", "3", "5"}  # of the paper
BOOK = "100,000"


def stored(policy: str) -> dict[str, np.ndarray]:
    """The arrays as they lie in the file, read without our code."""
    with np.load(lesson.FOLDER / f"{policy}.npz", allow_pickle=False) as npz:
        return {name: npz[name] for name in npz.files}


def perplexity(policy: str, first: int = 1, last: int | None = None) -> str:
    nll = stored(policy)["nll"].astype(float)[first : None if last is None else last + 1]
    return f"{np.exp(nll.mean()):.1f}"


def told(step: int, language: str) -> str:
    """A step of the lesson, counted from 1, without the markup."""
    with speaking(language):
        return re.sub("<[^>]+>", "", lesson_html(step - 1))


@pytest.mark.parametrize("policy", ["h2o", "tova"])
def test_the_stored_runs_are_what_the_policies_do(smollm2: LanguageModel, policy: str) -> None:
    n = 250  # what comes later changes nothing before
    there = lesson.trace(policy)
    tokens = smollm2.encode(lesson.text())
    now = replay(smollm2, tokens[:n], make_policy(policy, lesson.BUDGET))

    assert there.tokens.pieces == tokens.pieces
    assert there.policy == now.policy
    until = np.where(there.evicted_at[..., :n] < n, there.evicted_at[..., :n], NEVER)
    # another processor rounds otherwise, which may turn over an eviction decided by a hair
    assert (until != now.evicted_at).mean() < 1e-3
    np.testing.assert_allclose(there.nll[1:n], now.nll[1:], atol=0.05)


def test_the_runs_keep_what_their_rules_say() -> None:
    n = len(lesson.trace("full"))
    position = np.arange(n)

    def evicted(end: np.ndarray) -> np.ndarray:
        return np.where(end < n, end, NEVER)

    assert (stored("full")["evicted_at"] == NEVER).all()
    assert (stored("window")["evicted_at"] == evicted(position + 64)).all()
    assert (stored("window+i")["evicted_at"] == evicted(np.where(position < 4, n, position + 60))).all()
    h2o = lesson.trace("h2o")
    assert (np.diff(np.concatenate([h2o.kept(step).sum(axis=-1) for step in range(63, n)])) == 0).all()
    assert (h2o.evicted_at - position >= 32).all(), "of the recent half nothing is evicted"
    for policy in lesson.POLICIES:
        assert "".join(lesson.trace(policy).tokens.pieces) == lesson.text()


def test_the_files_are_small() -> None:
    assert sum(file.stat().st_size for file in lesson.FOLDER.iterdir()) < 1_000_000


@pytest.mark.parametrize("language", languages())
def test_the_numbers_are_those_of_the_runs(language: str) -> None:
    full, h2o, tova = stored("full"), stored("h2o"), stored("tova")
    n = len(full["ids"])
    last = n - 1
    share = full["attention_received"].mean(axis=(0, 1)) / n
    ends = {name: np.minimum(run["evicted_at"], n) for name, run in (("h2o", h2o), ("tova", tova))}
    life = {name: (end - np.arange(n)).mean(axis=(0, 1)) for name, end in ends.items()}
    held = {name: end == n for name, end in ends.items()}
    recent = held["tova"][..., -64:].sum() / held["tova"].sum()
    stops = [piece == "." for piece in lesson.trace("tova").tokens.pieces]

    expected = {
        1: ["30", "401", perplexity("full"), f"{n}"],
        2: [
            *("72", perplexity("window"), perplexity("window", 65, 128), perplexity("full", 65, 128)),
            f"{share[0]:.0%}",
        ],
        3: ["60", perplexity("window+i"), f"{share[:4].sum():.0%}", "“The town of W”"],
        4: [
            *(f"{1 - held['h2o'][..., -64:].sum() / held['h2o'].sum():.0%}", perplexity("h2o"), "“ town”"),
            *(f"{life['h2o'][31]:.0f}", f"{held['h2o'][..., 1].mean():.0%}", "31", "32"),
        ],
        5: [
            "368",
            f"{(tova['evicted_at'][..., 0] > 368).sum()}",
            perplexity("tova"),
            f"{(tova['evicted_at'][..., 1:4] > 368).any(axis=-1).sum()}",
        ],
        6: [
            *(f"{recent:.0%}", f"{last - 664}", f"{held['tova'][..., 664].sum()}"),
            *(f"{life['tova'][stops].mean():.0f}", f"{life['tova'].mean():.0f}"),
        ],
    }
    for step, numbers in expected.items():
        for number in numbers:
            assert re.search(rf"(?<![\d.,]){re.escape(number)}(?!\d|\.\d)", told(step, language)), (step, number)


@pytest.mark.parametrize("language", languages())
def test_the_papers_numbers_are_told(language: str) -> None:
    assert all(number in told(5, language) for number in ("64", "9.53", "10.22", "10.28", "4,812"))
    assert all(number in told(6, language) for number in ("73–76%", "256", "350", "249"))


def test_what_the_words_claim_besides_is_so() -> None:
    ppl = {policy: float(perplexity(policy)) for policy in lesson.POLICIES}
    h2o, tova, last = lesson.trace("h2o"), lesson.trace("tova"), len(lesson.trace("full")) - 1
    held = tova.kept(last).sum(axis=(0, 1))
    old = held[4 : last - 63]

    assert float(perplexity("window", 1, 64)) == float(perplexity("full", 1, 64)), "nothing was missing"
    assert ppl["window"] > 3 * ppl["full"], "Window breaks"
    assert ppl["window+i"] < 1.2 * ppl["full"], "four tokens repair it"
    assert abs(ppl["tova"] - ppl["h2o"]) < 0.03 * ppl["h2o"], "nearly even"
    assert tova.kept(368)[..., 1:4].any(axis=-1).sum() < 3, "hardly any layer holds the three after the first"
    assert 4 + (np.minimum(h2o.evicted_at, last + 1) - np.arange(last + 1)).mean(axis=(0, 1))[4:].argmax() == 31
    assert 4 + old.argmax() == 664, "of the old ones the most widely held"
    assert h2o.tokens.pieces[31] == tova.tokens.pieces[664] == "."
    assert [step.moment.step for step in lesson.STEPS] == [400, 72, last, last, 368, last]


def in_language(language: str, words: Iterable[str]) -> list[str]:
    with speaking(language):
        return [_(part) for part in words]


def test_no_number_of_ours_is_typed_in() -> None:
    for words in (template for own in languages() for step in LESSON for template in in_language(own, step)):
        literal = "".join(text for text, *_rest in Formatter().parse(words))
        literal = re.sub(r"H2O|LLaMA-2-7B", "", literal).replace(BOOK, "")
        assert set(re.findall(r"\d+(?:[.,]\d+)*", literal)) <= SECTIONS_AND_TABLES | {"1"}


def test_every_language_says_it_briefly() -> None:
    assert len(LESSON) == len(lesson.STEPS) == 6
    for step in LESSON:
        for language, length in (("en", lambda told: len(told.split()) / 90), ("zh_CN", lambda told: len(told) / 200)):
            assert length(in_language(language, [step.told])[0].format(**lesson.numbers())) <= 1
