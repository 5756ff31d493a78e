"""What the policies beyond the paper's hold every row to be worth, from their formulas, in plain Python.

Every function gets a `Sight`: what one decider (a KV head, or a layer) has before it at one step. The lowest
importance goes first. Nothing here comes from `core`.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise
from typing import Any

NEVER = 2**31 - 1
TOO_SMALL = 1e-35  # two such numbers may both be zero in float32

Vector = list[float]

DEFAULTS: dict[str, dict[str, int]] = {
    "knorm": {},
    "keydiff": {},
    "observed": {},
    "snapkv": {"window": 8, "kernel": 5},
    "decay": {"alpha": 80},
    "raas": {"share": 50},
    "rkv": {"mix": 7, "window": 8, "kernel": 7},
    "caote": {},
    "expected": {"n_sink": 4, "future": 512},
    "own": {
        "gamma": 0,
        "w_attention": 0,
        "w_recent": 0,
        "w_keys": 0,
        "n_sink": 0,
        "n_recent": 0,
        "per_head": 0,
    },
}


@dataclass
class Row:
    """One token in one decider's multi-state, and what has happened to it; keys and values by KV head.

    Of every query since its birth, its own first: `votes` has the attention it gave (mean over the decider's query
    heads), `logits` the greatest logit of those heads, minus infinity beyond a sliding window. `memory` is what
    ``decay`` and ``own`` keep, `stamp` what ``raas`` does.
    """

    position: int
    key: dict[int, Vector]
    value: dict[int, Vector]
    accumulated: float = 0.0
    received: float = 0.0
    votes: Vector = field(default_factory=list)
    logits: Vector = field(default_factory=list)
    memory: float = 0.0
    stamp: int = 0
    evicted_at: int = NEVER
    importance: float = math.nan
    runner_up: float = math.nan


@dataclass
class Sight:
    """What one decider has before it at one step.

    Args:
        step: the position of the query.
        settings: the policy's.
        rows: those held, the newest last.
        attention: by query head, then row; a softmax over exactly these rows, and the head's sink if it has one.
        keys: by KV head, then row, as the multi-state holds them.
        values: by KV head, then row.
        output: by query head; what the attention gives.
        kv_head: of each query head, among the decider's own.
        foreseen: by query head, of every query so far: what ``expected`` thinks it could be in the future.
        margins: the policy's own narrow choices; see `Oracle.closest`.
    """

    step: int
    settings: Mapping[str, int]
    rows: list[Row]
    attention: list[Vector]
    keys: list[list[Vector]]
    values: list[list[Vector]]
    output: list[Vector]
    kv_head: list[int]
    foreseen: list[list[Vector]] = field(default_factory=list)
    margins: Vector = field(default_factory=list)

    @property
    def mean_attention(self) -> Vector:
        return means(self.attention)


# ---- after every step


def remember(policy: str, sight: Sight) -> None:
    """What the policy notes of a step, before anything is evicted; every row's votes are noted already."""
    attention = sight.mean_attention
    match policy:
        case "decay":
            for row, received in zip(sight.rows, attention, strict=True):
                row.memory = max(sight.settings["alpha"] / 100 * row.memory, received / max(attention))
        case "own":
            for row, received in zip(sight.rows, attention, strict=True):
                row.memory = sight.settings["gamma"] / 100 * row.memory + received
        case "raas":
            stamp(sight, attention)


def stamp(sight: Sight, attention: Vector) -> None:
    """Rows with at least as much attention as the last of the share bear the step's number."""
    n = math.ceil(Fraction(sight.settings["share"] * len(attention), 100))
    ranked = sorted(attention, reverse=True)
    for row, received in zip(sight.rows, attention, strict=True):
        if received >= ranked[n - 1]:
            row.stamp = sight.step
    sight.margins += [relative(received, ranked[n - 1]) for received in attention]


# ---- when rows go


def knorm(sight: Sight) -> Vector:
    """Minus the key's length."""
    return [-norm(key) for key in sight.keys[0]]


def keydiff(sight: Sight) -> Vector:
    """Minus the cosine with the mean of all keys, each scaled to length 1."""
    units = [[x / norm(key) for x in key] for key in sight.keys[0]]
    return [-cosine(key, means(units)) for key in sight.keys[0]]


def observed(sight: Sight) -> Vector:
    """Mean attention over all queries that could see the row: its own and those after it."""
    return [row.received / (sight.step - row.position + 1) for row in sight.rows]


def snapkv(sight: Sight) -> Vector:
    """Mean vote of the window's queries, averaged over neighbours in text order; the window itself stays."""
    window, old = before_the_window(sight)
    votes = [math.fsum(row.votes[-window:]) / window for row in old]
    pooled = average_pool(votes, sight.settings["kernel"])
    return pooled + [math.inf] * (len(sight.rows) - len(old))


def rkv(sight: Sight) -> Vector:
    """Votes of the window's queries less redundancy of the keys; the window itself stays."""
    window, old = before_the_window(sight)
    votes = means([votes_of([row.logits[query] for row in old]) for query in range(-window, 0)])
    pooled = greatest_pool(votes, sight.settings["kernel"])
    share = sight.settings["mix"] / 100
    worth = [share * vote - (1 - share) * like for vote, like in zip(pooled, redundancy(sight), strict=False)]
    return worth + [math.inf] * (len(sight.rows) - len(old))


def votes_of(logits: Vector) -> Vector:
    """A query that can see none of the rows, with a sliding window, has no vote."""
    return softmax(logits) if max(logits, default=0) > -math.inf else [0.0] * len(logits)


def redundancy(sight: Sight) -> Vector:
    """How alike each row's key is to all others, a softmax over the rows.

    Of the rows very much like row i, the newest is spared by setting its cosine with i to zero; where there is none,
    the oldest row is, as in the official code.
    """
    (keys,) = sight.keys
    matrix = [[cosine(one, other) if one is not other else 0.0 for other in keys] for one in keys]
    sight.margins += [abs(like - 0.5) for row in matrix for like in row]
    for row in matrix:
        alike = [column for column, like in enumerate(row) if like > 0.5]
        row[alike[-1] if alike else 0] = 0.0
    return softmax(means(matrix))


def decay(sight: Sight) -> Vector:
    """The greatest attention ever received (1 for the step's most attended row), each step's fading since."""
    return [row.memory for row in sight.rows]


def raas(sight: Sight) -> Vector:
    """The last step at which the row was among the share; of equal ones, the least attended now goes first."""
    return [row.stamp + received for row, received in zip(sight.rows, sight.mean_attention, strict=True)]


def caote(sight: Sight) -> Vector:
    """How far the attention's output would move without the row, mean over the query heads.

    Without row j the others' attention, and a sink's, grows by 1 / (1 - a): the output moves by a / (1 - a) times its
    distance from the row's value.
    """

    def moves(attention: float, output: Vector, value: Vector) -> float:
        return attention / (1 - attention) * math.dist(output, value) if attention < 1 else math.inf

    of_heads = [
        [moves(a, output, value) for a, value in zip(attention, sight.values[head], strict=True)]
        for attention, output, head in zip(sight.attention, sight.output, sight.kv_head, strict=True)
    ]
    return means(of_heads)


def expected(sight: Sight) -> Vector:
    """The attention that queries of the future would give, times the value's length; the sinks stay.

    If they are spread as a normal distribution, exp(logit) is exp(mean + variance / 2) on average. The mean and the
    variance of a key's logits are those over all queries foreseen.
    """
    n_sink = sight.settings["n_sink"]
    old = [i for i, row in enumerate(sight.rows) if row.position >= n_sink]
    of_heads = []
    for queries, head in zip(sight.foreseen, sight.kv_head, strict=True):
        keys = [sight.keys[head][i] for i in old]
        of_heads.append(softmax([mean_and_half_variance(key, queries[n_sink:]) for key in keys]))
    worth = dict(zip(old, means(of_heads), strict=True))
    lengths = [norm(value) for value in sight.values[0]]
    return [worth[i] * lengths[i] if i in worth else math.inf for i in range(len(sight.rows))]


def mean_and_half_variance(key: Vector, queries: list[Vector]) -> float:
    if not queries:
        return 0.0
    logits = [dot(key, query) / math.sqrt(len(key)) for query in queries]
    mean = math.fsum(logits) / len(logits)
    return mean + math.fsum((logit - mean) ** 2 for logit in logits) / len(logits) / 2


def own(sight: Sight) -> Vector:
    """Ranks by memory, by position and by the shortness of the key, weighted; first and last rows stay.

    Fractions, since sums of ranks are often equal, and then the oldest must go.
    """
    settings = sight.settings
    measures = {
        "w_attention": [row.memory for row in sight.rows],
        "w_recent": [row.position for row in sight.rows],
        "w_keys": [-length for length in means([[norm(key) for key in keys] for keys in sight.keys])],
    }
    worth = [Fraction(0)] * len(sight.rows)
    for weight, numbers in measures.items():
        if settings[weight]:
            worth = [w + settings[weight] * rank for w, rank in zip(worth, ranks(numbers), strict=True)]
            sight.margins += [relative(a, b) for a, b in pairwise(sorted(numbers))]
    last = sight.step - settings["n_recent"]
    spared = [row.position < settings["n_sink"] or row.position > last for row in sight.rows]
    return [math.inf if stays else float(w) for w, stays in zip(worth, spared, strict=True)]


IMPORTANCE: dict[str, Callable[[Sight], Vector]] = {
    "knorm": knorm,
    "keydiff": keydiff,
    "observed": observed,
    "snapkv": snapkv,
    "decay": decay,
    "raas": raas,
    "rkv": rkv,
    "caote": caote,
    "expected": expected,
    "own": own,
}


def needs(policy: str, settings: Mapping[str, int]) -> int:
    """Rows that the policy never evicts: a budget must be greater. (Of a window not all rows need fit.)"""
    match policy:
        case "window+i" | "expected":
            return settings["n_sink"]
        case "own":
            return settings["n_sink"] + settings["n_recent"]
    return 0


# ---- how narrow a choice was


def margin(policy: str, evicted: Vector, staying: Vector) -> float:
    """The narrowest of all differences between a row that went and one that stayed; the same number is no difference.

    In units in which rounding is alike everywhere. Most importances are products of positive numbers: there it is
    relative to the greater. Cosines, and differences of votes: relative to the spread of them all. ``raas``: attention.
    ``own`` adds ranks, which are equal or far apart.
    """
    finite = [x for x in evicted + staying if x < math.inf]
    spread = max(finite, default=0) - min(finite, default=0)
    match policy:
        case "own":
            return math.inf
        case "raas":
            unit = 1.0
        case "keydiff" | "rkv":
            unit = spread
        case _:
            unit = None
    pairs = [(low, high) for low in evicted for high in staying if low != high and high < math.inf]
    return min([abs(low - high) / unit if unit else relative(low, high) for low, high in pairs], default=math.inf)


def relative(a: float, b: float) -> float:
    """The difference of two numbers relative to the greater; none if they are equal, narrow if both may round to 0."""
    greater = max(abs(a), abs(b))
    if a == b:
        return math.inf
    return abs(a - b) / greater if greater > TOO_SMALL else 0.0


# ---- arithmetic


def before_the_window(sight: Sight) -> tuple[int, list[Row]]:
    """The number of the last queries that have a vote, and the rows older than all of them."""
    window = sight.settings["window"]
    return window, [row for row in sight.rows if row.position <= sight.step - window]


def average_pool(numbers: Vector, kernel: int) -> Vector:
    """The mean over `kernel` neighbours; beyond the ends there are zeros, and they count."""
    half = kernel // 2
    return [math.fsum(numbers[max(0, i - half) : i + half + 1]) / kernel for i in range(len(numbers))]


def greatest_pool(numbers: Vector, kernel: int) -> Vector:
    """The greatest of `kernel` neighbours; beyond the ends there is nothing."""
    half = kernel // 2
    return [max(numbers[max(0, i - half) : i + half + 1]) for i in range(len(numbers))]


def ranks(numbers: Vector) -> list[Fraction]:
    """From 0 for the lowest to 1 for the highest; equal ones share their mean."""
    n = len(numbers) - 1
    return [
        Fraction(sum(other < number for other in numbers) * 2 + numbers.count(number) - 1, 2 * n) for number in numbers
    ]


def softmax(logits: Vector) -> Vector:
    exps = [math.exp(logit - max(logits)) for logit in logits]
    return [e / sum(exps) for e in exps]


def means(rows: Iterable[Iterable[Any]]) -> Vector:
    """Of each column."""
    return [sum(column) / len(column) for column in zip(*rows, strict=True)]


def dot(one: Vector, other: Vector) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


def norm(vector: Vector) -> float:
    return math.hypot(*vector)


def cosine(one: Vector, other: Vector) -> float:
    return dot(one, other) / norm(one) / norm(other)


# ---- the rotary embedding


def turned(vector: Vector, by: float, theta: float, part: float, before: int = 0) -> Vector:
    """A query or key moved by so many positions: number i of the first half of its rotary part, and of the second.

    That part begins after so many numbers that are never moved.
    """
    return turned_on_average(vector, (by,), theta, part, before)


def turned_on_average(vector: Vector, places: Sequence[float], theta: float, part: float, before: int = 0) -> Vector:
    """The mean of the vector moved by each of these."""
    half = round(part * len(vector)) // 2
    moved = list(vector)
    for i, (cos, sin) in enumerate(mean_turns(places, theta, half), start=before):
        a, b = vector[i], vector[i + half]
        moved[i] = a * cos - b * sin
        moved[i + half] = a * sin + b * cos
    return moved


@lru_cache(maxsize=10_000)
def mean_turns(places: Sequence[float], theta: float, half: int) -> list[tuple[float, ...]]:
    """Mean cosine and sine of the angle by which number i of the first half turns when moved by each of the places."""
    angles = [[by * theta ** (-i / half) for by in places] for i in range(half)]
    return [tuple(math.fsum(map(f, of_i)) / len(of_i) for f in (math.cos, math.sin)) for of_i in angles]
