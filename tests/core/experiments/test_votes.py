"""Pairs of stories and the votes on them: nothing is counted twice, nothing is lost, and the interval is right."""

import csv
import io
import multiprocessing
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from core import make_policy
from core.errors import BadInput, VotesUnavailable
from core.experiments.stories import Story, Telling
from core.experiments.votes import (
    EXPORTED,
    LONGEST_NAME,
    LONGEST_STORY,
    Pair,
    Tally,
    VoteStore,
    full_comes_first,
    pairs_of,
)
from core.policies import settings_of
from tests.traces import HOSTILE, tokens_of
from tests.writers import pair_of


def tally_of(wins: int, ties: int, losses: int, weight: float | None = None) -> Tally:
    n = wins + ties + losses
    return Tally("", "m", "tova", 64, wins, ties, losses, n, n if weight is None else weight)


@pytest.fixture
def store(tmp_path: Path) -> VoteStore:
    return VoteStore(tmp_path / "new" / "votes.db")


def test_the_first_vote_of_a_voter_on_a_pair_counts(store: VoteStore) -> None:
    store.add([pair_of("p"), pair_of("q")])
    assert store.vote("p", "ann", "win")
    assert not store.vote("p", "ann", "loss")
    assert (
        store.vote("q", "ann", "tie") and store.vote("p", "bob", "loss") and store.vote("p", "bob", "win", judge="gpt")
    )
    people, gpt = VoteStore(store.path).tallies()  # as after a restart
    assert (people.judge, people.policy, people.budget, people.model) == ("", "tova", 64, "m")
    assert (people.wins, people.ties, people.losses, people.votes, people.pairs) == (1, 1, 1, 3, 2)
    assert people.weight == pytest.approx(9 / 5)  # two votes on one pair, one on the other
    assert (gpt.judge, gpt.wins, gpt.votes, gpt.weight) == ("gpt", 1, 1, 1)


def test_policies_budgets_and_models_have_their_own_tally(store: VoteStore) -> None:
    store.add([pair_of("a"), pair_of("b", budget=128), pair_of("c", "window"), pair_of("d", model="n")])
    for id_ in "abcd":
        store.vote(id_, "ann", "tie")
    found = {(tally.model, tally.policy, tally.budget) for tally in store.tallies()}
    assert found == {("m", "tova", 64), ("m", "tova", 128), ("m", "window", 64), ("n", "tova", 64)}


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    # published examples of Wilson's interval: Newcombe 1998, Statistics in Medicine 17, table I, method 3
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_the_interval_is_wilsons(successes: int, n: int, low: float, high: float) -> None:
    assert tally_of(successes, n - successes, 0).interval("win") == pytest.approx((low, high), abs=5e-5)
    assert tally_of(0, n - successes, successes).interval("loss") == pytest.approx((low, high), abs=5e-5)


def test_many_votes_on_one_pair_say_little_about_the_policy(store: VoteStore) -> None:
    store.add([pair_of("p"), pair_of("q")])
    for i in range(30):
        store.vote("p", f"voter {i}", "win")
    (tally,) = store.tallies()
    assert tally.weight == pytest.approx(1)
    assert tally.interval("win")[0] < 0.25
    for i in range(30):
        store.vote("q", f"voter {i}", "win")
    (tally,) = store.tallies()
    assert tally.weight == pytest.approx(2)
    assert tally.interval("win") == pytest.approx(tally_of(2, 0, 0).interval("win"))


def test_a_pair_is_offered_until_it_is_judged_or_seen(store: VoteStore) -> None:
    store.add([pair_of("old")])
    store.add([pair_of("new")])
    store.add([pair_of("shown")], seen_by="ann")
    assert store.next_for("bob") == pair_of("shown")
    store.vote("shown", "bob", "tie")
    assert store.next_for("ann") == pair_of("new")
    store.vote("new", "ann", "win")
    assert store.next_for("eve").id == "old"  # the only one that nobody has judged
    store.vote("old", "robot", "win", judge="gpt")
    assert store.next_for("eve").id == "old"  # a language model's verdict is not a person's
    assert store.next_for("ann").id == "old"
    store.vote("old", "ann", "win")
    assert store.next_for("ann") is None


def test_texts_come_back_as_they_were(store: VoteStore) -> None:
    strange = "".join(HOSTILE) + " \x00 ' \" ; DROP TABLE votes; --\r\n 海"
    pair = pair_of("p", prompt=strange, story=strange, full=strange, model=strange)
    store.add([pair])
    assert store.pair("p") == pair == store.next_for(strange)
    assert store.vote("p", strange, "win") and not store.vote("p", strange, "win")


def test_the_order_is_by_chance_and_the_same_for_a_voter() -> None:
    first = [full_comes_first(f"pair {i}", "ann") for i in range(400)]
    assert first == [full_comes_first(f"pair {i}", "ann") for i in range(400)]
    assert 160 < sum(first) < 240
    others = [full_comes_first("pair 0", f"voter {i}") for i in range(400)]
    assert 160 < sum(others) < 240


def test_old_pairs_make_room_but_judged_ones_stay(tmp_path: Path) -> None:
    store = VoteStore(tmp_path / "votes.db", most_pairs=3)
    store.add([pair_of("a"), pair_of("b"), pair_of("c")])
    store.vote("a", "ann", "win")
    store.add([pair_of("d")])
    assert store.without_verdict_of("") == ["c", "d"]
    assert store.pair("a")
    with pytest.raises(BadInput, match="no longer there"):
        store.vote("b", "ann", "win")
    store.vote("c", "ann", "win")
    store.vote("d", "ann", "win")
    with pytest.raises(VotesUnavailable, match="room for 3"):
        store.add([pair_of("e")])
    assert store.tallies()[0].pairs == 3


def test_pairs_are_stored_all_or_none(store: VoteStore) -> None:
    store.add([pair_of("a")])
    with pytest.raises(VotesUnavailable):
        store.add([pair_of("b"), pair_of("a")])
    assert store.without_verdict_of("gpt") == ["a"]


def test_what_is_no_vote_is_refused(store: VoteStore) -> None:
    store.add([pair_of("p")])
    for pair, voter, verdict in (
        ("p", "ann", "best"),
        ("p", "", "win"),
        ("p", "a" * (LONGEST_NAME + 1), "win"),
        ("?", "ann", "win"),
    ):
        with pytest.raises(BadInput):
            store.vote(pair, voter, verdict)
    assert store.tallies() == []


ROUNDS = 12


def cast(path: Path, process: int) -> int:
    """Open the file and vote: once as somebody of our own, once as somebody who is in all processes."""
    store, counted = VoteStore(path), 0
    for i in range(ROUNDS):
        store.add([pair_of(f"{process} {i}")])
        assert store.vote("shared", f"voter {process} {i}", "win")
        counted += store.vote("shared", f"everywhere {i}", "loss")
    return counted


def test_several_processes_lose_nothing_and_count_nothing_twice(tmp_path: Path) -> None:
    path = tmp_path / "votes.db"
    VoteStore(path).add([pair_of("shared")])
    with multiprocessing.get_context("fork").Pool(3) as pool:  # quick: they need not load torch again
        counted = pool.starmap(cast, [(path, i) for i in range(3)])
    (tally,) = VoteStore(path).tallies()
    assert sum(counted) == ROUNDS
    assert (tally.wins, tally.losses) == (3 * ROUNDS, ROUNDS)
    assert len(VoteStore(path).without_verdict_of("gpt")) == 1 + 3 * ROUNDS


def test_a_file_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    other = tmp_path / "notes.txt"
    other.write_text("not a database, but something that somebody wants to keep. " * 50)
    before = other.read_bytes()
    for path in (other, tmp_path, other / "votes.db"):
        with pytest.raises(VotesUnavailable, match=r"Choose another folder|with another file"):
            VoteStore(path)
    assert other.read_bytes() == before


def test_a_damaged_file_is_a_user_error(store: VoteStore) -> None:
    with sqlite3.connect(store.path) as connection:
        connection.execute("DROP TABLE votes")
    with pytest.raises(VotesUnavailable, match=str(store.path)):
        store.tallies()


def test_the_export_is_a_line_per_vote_without_the_voters_ids(store: VoteStore) -> None:
    prompt = '=HYPERLINK("http://x", "y")\nand, more'
    store.add([pair_of("p", prompt=prompt), pair_of("q", "window+i", 16)])
    for id_, voter, verdict in (("p", "secret-1", "win"), ("q", "secret-1", "tie"), ("p", "secret-2", "loss")):
        store.vote(id_, voter, verdict)
    file = io.StringIO(newline="")
    store.export(file)
    assert "secret" not in file.getvalue()
    rows = list(csv.DictReader(io.StringIO(file.getvalue(), newline="")))
    assert tuple(rows[0]) == EXPORTED
    assert [(row["pair"], row["voter"], row["verdict"]) for row in rows] == [
        ("p", "1", "win"),
        ("q", "1", "tie"),
        ("p", "2", "loss"),
    ]
    assert rows[0]["prompt"] == "'" + prompt  # not a formula
    assert (rows[1]["policy"], rows[1]["budget"], rows[1]["seed"], rows[1]["top_p"]) == ("window+i", "16", "3", "0.95")


def test_a_telling_gives_a_pair_for_every_policy() -> None:
    tokens = tokens_of(("x" * LONGEST_STORY, "and more"))
    written = [
        Story(settings_of(make_policy(*policy)), own, ended=True, left_at=None)
        for policy, own in ((("full",), tokens), (("tova", 8), tokens_of((" a", " b"))), (("h2o", 16), tokens))
    ]
    sampling = {"temperature": 0.5, "top_p": 0.9, "max_new_tokens": 77}
    tova, h2o = pairs_of(Telling("Write.", 4, tuple(written)), "m", **sampling)
    assert len(tova.full) == LONGEST_STORY and tova.full.endswith("x…")
    assert replace(tova, id="", full="") == Pair("", "m", "Write.", "tova", 8, 0.5, 0.9, 4, 77, "", " a b", 2, 2)
    assert (h2o.policy, h2o.budget, h2o.story) == ("h2o", 16, tova.full)
    assert tova.id != h2o.id
