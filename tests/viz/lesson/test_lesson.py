"""The lesson says what is in its runs, and its runs are what the policies do."""

import re
from collections.abc import Iterable
from string import Formatter

import numpy as np
import pytest

from core import LanguageModel, make_policy, replay
from core.trace import NEVER
from viz.cards.lesson import lesson_html
from viz.lesson import after, lesson
from viz.lesson.words import LESSON
from viz.words.catalogue import _, languages, speaking

SECTIONS_AND_TABLES = {"7.3", "3", "5"}  # of the paper
BOOK = "100,000"


def stored(policy: str) -> dict[str, np.ndarray]:
    """The arrays as they lie in the file, read without our code."""
    with np.load(lesson.FOLDER / f"{policy}.npz", allow_pickle=False) as npz:
        return {name: npz[name] for name in npz.files}


def ferry(policy: str) -> np.ndarray:
    """(layers, groups, n) from a file of the last step, read without our code: the step at which each token is gone."""
    with np.load(after.FOLDER / f"{policy}.npz", allow_pickle=False) as npz:
        return np.minimum(npz["evicted_at"], npz["evicted_at"].shape[-1])


def ferry_pieces() -> list[str]:
    return [piece.strip() for piece in after.trace("tova").tokens.pieces]


def perplexity(policy: str, first: int = 1, last: int | None = None) -> str:
    nll = stored(policy)["nll"].astype(float)[first : None if last is None else last + 1]
    return f"{np.exp(nll.mean()):.1f}"


def told(step: int, language: str) -> str:
    """A step of the lesson, counted from 1, without the markup."""
    with speaking(language):
        return re.sub("<[^>]+>", "", lesson_html(step - 1))


@pytest.mark.parametrize("policy", after.POLICIES)
def test_the_stored_runs_of_the_last_step_are_what_the_policies_do(smollm2: LanguageModel, policy: str) -> None:
    there, tokens = after.trace(policy), smollm2.encode(after.TEXT)
    now = replay(smollm2, tokens, make_policy(policy, after.BUDGET))
    assert there.tokens.pieces == tokens.pieces
    assert there.policy == now.policy
    # another processor rounds otherwise, which may turn over an eviction decided by a hair
    assert (there.evicted_at != now.evicted_at).mean() < 1e-2
    np.testing.assert_allclose(there.nll[1:], now.nll[1:], atol=0.05)


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
    assert sum(file.stat().st_size for file in lesson.FOLDER.rglob("*.npz")) < 1_000_000
    assert sum(file.stat().st_size for file in after.FOLDER.iterdir()) < 100_000


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
        7: ferry_numbers(),
    }
    for step, numbers in expected.items():
        for number in numbers:
            assert re.search(rf"(?<![\d.,]){re.escape(number)}(?!\d|\.\d)", told(step, language)), (step, number)


def ferry_numbers() -> list[str]:
    """Those of the last step."""
    pieces = ferry_pieces()
    n = len(pieces)
    life = {policy: (ferry(policy) - np.arange(n)).mean(axis=(0, 1)) for policy in after.POLICIES}
    names = [i for i, piece in enumerate(pieces) if piece in ("Il", "Bruno", "Pet")]
    names += [i + 1 for i in names if pieces[i] != "Bruno"]
    copies = [i for start in (50, 94, 121) for i in range(start, start + 15)]
    assert {" ".join(pieces[i : i + 15]) for i in copies[::15]} == {" ".join(pieces[16:31])}
    stops = [piece == "." for piece in pieces]
    stretches = {}
    for policy in ("tova", "snapkv"):
        lines = ["".join("01"[int(end == n)] for end in line) for group in ferry(policy) for line in group[:, :-8]]
        stretches[policy] = np.mean([len(found) for line in lines for found in re.findall("1+", line)])
    return [
        *(f"{n}", "4", "32", "3", "8", f"{life['tova'].mean():.0f}", f"{life['tova'][stops].mean():.0f}"),
        *(f"{stretches['snapkv']:.1f}", f"{stretches['tova']:.1f}"),
        *(f"{life[policy][group].mean():.0f}" for policy in ("keydiff", "rkv") for group in (names, copies)),
        f"{(ferry('keydiff')[..., -8:] == n).mean():.0%}",
    ]


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
    assert [step.moment.step for step in lesson.STEPS] == [400, 72, last, last, 368, last, 175]


def test_what_the_last_step_says_of_the_four_is_so() -> None:
    pieces, n = ferry_pieces(), len(after.trace("tova"))
    life = {policy: (ferry(policy) - np.arange(n)).mean(axis=(0, 1)) for policy in after.POLICIES}
    mean = life["tova"].mean()
    stops, copies = np.array(pieces) == ".", after.tokens_of(after.SENTENCE, after=1)
    names, outside = after.tokens_of(*after.NAMES), ~after.tokens_of(after.SENTENCE)
    stretch = {policy: after.stretch(after.trace(policy)) for policy in after.POLICIES}
    cost = {policy: np.nanmean(after.trace(policy).nll) for policy in after.POLICIES}

    assert "".join(after.trace("tova").tokens.pieces) == after.TEXT and pieces[after.STOP] == "."
    assert all(abs(own.mean() - mean) < 0.01 for own in life.values()), "which tokens, not how long"
    of_stops = {policy: own[stops].mean() for policy, own in life.items()}
    assert of_stops.pop("tova") > 1.5 * max(*of_stops.values(), mean), "TOVA loves full stops"
    assert stretch.pop("snapkv") > 1.5 * max(stretch.values()), "SnapKV loves phrases"
    assert max(cost, key=lambda policy: cost[policy]) == "keydiff"
    for policy in ("keydiff", "rkv"):
        assert life[policy][names].mean() > 1.5 * max(mean, life["tova"][names].mean()), "unlike the rest"
        assert life[policy][copies].mean() < 0.8 * min(mean, life["tova"][copies].mean()), "like what came before"
        assert life[policy][copies].mean() < 0.7 * life[policy][outside].mean()
    for policy in ("snapkv", "rkv"):
        assert (ferry(policy)[..., -8:] == n).all(), "the last are spared"
    held = {policy: (ferry(policy) == n).mean(axis=(0, 1))[after.STOP] for policy in after.POLICIES}
    assert max(held, key=lambda policy: held[policy]) == "tova", "the marked full stop"
    assert after.trace("tova").evicted_at.shape[1] == 1
    assert all(after.trace(policy).evicted_at.shape[1] == 3 for policy in ("snapkv", "keydiff", "rkv"))


def in_language(language: str, words: Iterable[str]) -> list[str]:
    with speaking(language):
        return [_(part) for part in words]


def test_no_number_of_ours_is_typed_in() -> None:
    for words in (template for own in languages() for step in LESSON for template in in_language(own, step)):
        literal = "".join(text for text, *_rest in Formatter().parse(words))
        literal = re.sub(r"H2O|LLaMA-2-7B|SmolLM2 135M", "", literal).replace(BOOK, "")
        assert set(re.findall(r"\d+(?:[.,]\d+)*", literal)) <= SECTIONS_AND_TABLES | {"1"}


def test_every_language_says_it_briefly() -> None:
    assert len(LESSON) == len(lesson.STEPS) == 7
    for step in LESSON:
        for language, length in (("en", lambda told: len(told.split()) / 90), ("zh_CN", lambda told: len(told) / 200)):
            assert length(in_language(language, [step.told])[0].format(**lesson.numbers())) <= 1
