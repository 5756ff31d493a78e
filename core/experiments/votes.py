"""Pairs of stories and the votes on them, in one SQLite file that several processes may write at once.

A pair is the full model's story and a policy's story, from one prompt with one seed. A verdict says whether the policy
wins, ties or loses against the full model, as in Oren et al. 2024, section 6. Only the first vote of a voter on a pair
counts: after it the voter is shown which policy wrote which story, so a second vote would not be blind.
"""

import csv
import hashlib
import math
import sqlite3
import time
import uuid
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import astuple, dataclass, fields
from os import PathLike
from pathlib import Path
from statistics import NormalDist
from typing import Any, Literal, TextIO, TypeAlias, get_args

from core.errors import BadInput, VotesUnavailable
from core.experiments.stories import Telling

Verdict: TypeAlias = Literal["win", "tie", "loss"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)

MOST_PAIRS = 2000
LONGEST_STORY = 40_000  # characters
LONGEST_PROMPT = 4_000
LONGEST_NAME = 200  # of a voter or a judge
WAIT = 30.0  # seconds for another process that is writing


@dataclass(frozen=True)
class Pair:
    """The full model's story and a policy's story from the same prompt.

    Attributes:
        id: a unique id.
        model: the id of the model that wrote both.
        prompt: the prompt as the user wrote it.
        policy, budget: the policy's key and its budget; its other settings have their defaults.
        temperature, top_p, seed, max_new_tokens: as in `generate`.
        full, story: the full model's story and the policy's story.
        full_tokens, story_tokens: their lengths in tokens.
    """

    id: str
    model: str
    prompt: str
    policy: str
    budget: int
    temperature: float
    top_p: float
    seed: int
    max_new_tokens: int
    full: str
    story: str
    full_tokens: int
    story_tokens: int


def pairs_of(telling: Telling, model: str, *, temperature: float, top_p: float, max_new_tokens: int) -> list[Pair]:
    """One pair for each policy of a complete telling. Longer texts than `LONGEST_STORY` are cut."""
    full, *others = telling.stories
    return [
        Pair(
            id=uuid.uuid4().hex,
            model=model,
            prompt=_cut(telling.prompt, LONGEST_PROMPT),
            policy=story.policy.key,
            budget=story.policy.budget,
            temperature=temperature,
            top_p=top_p,
            seed=telling.seed,
            max_new_tokens=max_new_tokens,
            full=_cut(full.text, LONGEST_STORY),
            story=_cut(story.text, LONGEST_STORY),
            full_tokens=len(full),
            story_tokens=len(story),
        )
        for story in others
        if story.policy.budget is not None
    ]


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"


def full_comes_first(pair: str, voter: str) -> bool:
    """Whether this voter is shown the full model's story as A: random, but always the same for this pair and voter."""
    return hashlib.sha256(f"{pair} {voter}".encode()).digest()[0] % 2 == 0


@dataclass(frozen=True)
class Tally:
    """The votes on one policy against the full model.

    Attributes:
        judge: the name of the language model that judged; empty for people.
        model: the id of the model that wrote the stories.
        policy, budget: as in `Pair`.
        wins, ties, losses: the numbers of votes.
        pairs: the number of different pairs voted on.
        weight: the effective number of independent votes, see `interval`.
    """

    judge: str
    model: str
    policy: str
    budget: int
    wins: int
    ties: int
    losses: int
    pairs: int
    weight: float

    @property
    def votes(self) -> int:
        return self.wins + self.ties + self.losses

    def share(self, verdict: Verdict) -> float:
        """The share of all votes that have this verdict."""
        return {"win": self.wins, "tie": self.ties, "loss": self.losses}[verdict] / self.votes

    def interval(self, verdict: Verdict, confidence: float = 0.95) -> tuple[float, float]:
        """Wilson's confidence interval of `share`.

        Thirty votes on one pair say much about that pair and little about the policy. So the interval is computed for
        n² / Σ mᵢ² votes instead of n, where mᵢ of the n votes are on pair i (Kish's effective sample size). Example:
        10 votes on each of 3 pairs count as 3 votes; 3 votes on different pairs count as 3, too. This is cautious: it
        assumes that all votes on one pair agree.
        """
        z = NormalDist().inv_cdf((1 + confidence) / 2)
        p, n = self.share(verdict), self.weight
        middle = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + (z / (2 * n)) ** 2)
        return max(middle - half, 0.0), min(middle + half, 1.0)


_COLUMNS = ", ".join(f'"{column.name}"' for column in fields(Pair))
_SCHEMA = f"""
    CREATE TABLE IF NOT EXISTS pairs ({_COLUMNS}, seen_by TEXT, made REAL NOT NULL, PRIMARY KEY (id));
    CREATE TABLE IF NOT EXISTS votes (
        pair TEXT NOT NULL REFERENCES pairs (id),
        judge TEXT NOT NULL,
        voter TEXT NOT NULL,
        verdict TEXT NOT NULL CHECK (verdict IN {VERDICTS}),
        cast_at REAL NOT NULL,
        PRIMARY KEY (pair, judge, voter)
    );
"""
EXPORTED = (
    *("pair", "model", "prompt", "policy", "budget", "temperature", "top_p", "seed", "max_new_tokens"),
    *("full_tokens", "story_tokens", "judge", "voter", "verdict", "cast_at"),
)


class VoteStore:
    """Stores pairs and votes. Every call opens the file, so any number of threads and processes may use it.

    SQLite's write-ahead log needs a local disk: the file cannot be shared by several machines over a network.

    At most `most_pairs` pairs are kept. To make room, the oldest pairs without a vote are deleted; a pair with votes is
    never deleted.
    """

    def __init__(self, path: str | PathLike[str], most_pairs: int = MOST_PAIRS) -> None:
        """Open the file, or create it and its folder.

        Raises:
            VotesUnavailable: the file cannot be written, or has other content.
        """
        self.path = Path(path)
        self.most_pairs = most_pairs
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as e:
            raise VotesUnavailable(
                "{folder} cannot be made: {why}. Choose another folder.", folder=self.path.parent, why=e.strerror
            ) from e
        with self._open() as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(sqlite3.connect(self.path, timeout=WAIT, isolation_level=None)) as connection:
                connection.execute("PRAGMA foreign_keys = ON")
                yield connection
        except sqlite3.Error as e:
            raise VotesUnavailable(
                "The file of the votes, {path}, cannot be used ({reason}). Check the disk and the rights, or start "
                "the app with another file.",
                path=self.path,
                reason=str(e),
            ) from e

    def add(self, pairs: Sequence[Pair], seen_by: str | None = None) -> None:
        """Store pairs to be judged, either all of them or none.

        Args:
            pairs: the pairs.
            seen_by: the voter who has already seen who wrote them, and so cannot judge them blindly.

        Raises:
            VotesUnavailable: the file is full of judged pairs, or cannot be used.
        """
        with self._open() as connection:
            connection.execute("BEGIN IMMEDIATE")
            (have,) = connection.execute("SELECT count(*) FROM pairs").fetchone()
            connection.execute(
                "DELETE FROM pairs WHERE id IN (SELECT id FROM pairs WHERE id NOT IN (SELECT pair FROM votes) "
                "ORDER BY made LIMIT ?)",
                [max(have + len(pairs) - self.most_pairs, 0)],
            )
            (have,) = connection.execute("SELECT count(*) FROM pairs").fetchone()
            if have + len(pairs) > self.most_pairs:
                raise VotesUnavailable(
                    "The stories are not offered for judging: {n:,} pairs have been judged, and there is room for "
                    "{most:,}. Export the votes and start the app with a new file.",
                    n=have,
                    most=self.most_pairs,
                )
            connection.executemany(
                f"INSERT INTO pairs VALUES ({', '.join('?' * (len(fields(Pair)) + 2))})",
                [(*astuple(pair), seen_by, time.time()) for pair in pairs],
            )
            connection.execute("COMMIT")

    def next_for(self, voter: str) -> Pair | None:
        """A pair that this voter has not judged and whose writers this voter has not seen; None if there is none.

        Pairs with the fewest votes come first, since votes on many pairs say more; of these, the newest.
        """
        with self._open() as connection:
            row = connection.execute(
                f"SELECT {_COLUMNS} FROM pairs WHERE seen_by IS NOT :voter "
                "AND NOT EXISTS (SELECT 1 FROM votes WHERE pair = id AND judge = '' AND voter = :voter) "
                "ORDER BY (SELECT count(*) FROM votes WHERE pair = id AND judge = ''), made DESC, rowid DESC LIMIT 1",
                {"voter": voter},
            ).fetchone()
        return None if row is None else Pair(*row)

    def pair(self, id_: str) -> Pair:
        """The pair with this id.

        Raises:
            BadInput: there is no such pair, or it has been deleted.
        """
        with self._open() as connection:
            row = connection.execute(f"SELECT {_COLUMNS} FROM pairs WHERE id = ?", [id_]).fetchone()
        if row is None:
            raise BadInput("This pair of stories is no longer there. Take the next one.")
        return Pair(*row)

    def vote(self, pair: str, voter: str, verdict: Verdict, judge: str = "") -> bool:
        """Store a vote on the disk, unless the voter has voted on this pair before.

        Args:
            pair: the id of the pair.
            voter: a name that is always the same for one voter, such as a random id of the browser.
            verdict: whether the policy wins, ties or loses.
            judge: the name of the language model that judges; empty for a person.

        Returns:
            Whether the vote was stored.

        Raises:
            BadInput: no such pair or verdict, or a name that is empty or too long.
        """
        if verdict not in VERDICTS:
            raise BadInput("A verdict is one of {known}, not {verdict!r}.", known=", ".join(VERDICTS), verdict=verdict)
        if not 0 < len(voter) <= LONGEST_NAME or len(judge) > LONGEST_NAME:
            raise BadInput("The name of a voter has 1 to {most} characters.", most=LONGEST_NAME)
        self.pair(pair)
        with self._open() as connection:
            done = connection.execute(
                "INSERT INTO votes SELECT id, ?, ?, ?, ? FROM pairs WHERE id = ? ON CONFLICT DO NOTHING",
                [judge, voter, verdict, time.time(), pair],
            )
            return done.rowcount == 1

    def without_verdict_of(self, judge: str) -> list[str]:
        """The ids of the pairs that this language model has not judged, oldest first."""
        with self._open() as connection:
            rows = connection.execute(
                "SELECT id FROM pairs WHERE id NOT IN (SELECT pair FROM votes WHERE judge = ?) ORDER BY made, rowid",
                [judge],
            ).fetchall()
        return [id_ for (id_,) in rows]

    def tallies(self) -> list[Tally]:
        """One tally for each judge, model, policy and budget that has votes; those of people come first."""
        with self._open() as connection:
            rows = connection.execute(
                "SELECT judge, model, policy, budget, pair, sum(verdict = 'win'), sum(verdict = 'tie'), "
                "sum(verdict = 'loss') FROM votes JOIN pairs ON id = pair GROUP BY judge, model, policy, budget, pair "
                "ORDER BY judge, model, policy, budget"
            ).fetchall()
        of_row: dict[tuple[Any, ...], list[tuple[int, int, int]]] = defaultdict(list)
        for *row, _, wins, ties, losses in rows:
            of_row[tuple(row)].append((wins, ties, losses))
        return [_tally(row, votes) for row, votes in of_row.items()]

    def export(self, file: TextIO) -> None:
        """Write all votes as CSV, one line per vote, oldest first.

        Voters are exported as numbers, since their ids are private. Texts that a spreadsheet would take for a formula
        get an apostrophe in front.
        """
        with self._open() as connection:
            rows = connection.execute(
                f"SELECT {', '.join(EXPORTED)} FROM votes JOIN pairs ON id = pair ORDER BY cast_at, votes.rowid"
            ).fetchall()
        writer = csv.writer(file)
        writer.writerow(EXPORTED)
        numbers: dict[str, int] = {}
        voter = EXPORTED.index("voter")
        for row in rows:
            number = numbers.setdefault(row[voter], len(numbers) + 1)
            cells = [*row[:voter], number, *row[voter + 1 :]]
            writer.writerow(
                [f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell for cell in cells]
            )


_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def _tally(row: tuple[Any, ...], votes: list[tuple[int, int, int]]) -> Tally:
    wins, ties, losses = (sum(counts) for counts in zip(*votes, strict=True))
    of_pairs = [sum(counts) for counts in votes]
    judge, model, policy, budget = row
    return Tally(
        judge=judge,
        model=model,
        policy=policy,
        budget=budget,
        wins=wins,
        ties=ties,
        losses=losses,
        pairs=len(votes),
        weight=sum(of_pairs) ** 2 / sum(m * m for m in of_pairs),
    )
