"""Policies that count what several of the past queries attended to."""

from dataclasses import dataclass

import numpy as np

from core.errors import BadInput
from core.messages import Message
from core.policies.keys_values import unit
from core.policies.policy import Explanation, Policy, Rows, Step, a_budget, a_setting, arxiv
from core.trace import Floats, Ints

MOST_WINDOW = 1024  # queries whose votes are remembered for every row


@dataclass(frozen=True, kw_only=True)
class Observed(Policy):
    """Evicts what has received the least attention per query: H2O without its bias to the old, and without its window.

    Importance is the attention received since the row was written, averaged over the group's query heads, divided by
    the number of queries that could see the row, its own included. Source: kvpress's ObservedAttentionPress.
    """

    key = "observed"
    label = "Observed"
    paper = "kvpress"
    explanation = Explanation(
        Message("Forgets the token that has received the least attention per query that could see it."),
        Message("importance(*j*) = mean of *a*_t,h(*j*) over the queries *t* since *j* was read and the heads *h*"),
        "https://github.com/NVIDIA/kvpress",
    )
    scope = "kv_head"
    reads_attention = True
    reason = Message("least attended per query of {rows} rows, {importance}; next lowest {runner_up}")
    budget: int = a_budget()

    def observe(self, step: Step, memory: Floats) -> None:
        memory += mean_over_heads(step.attention)

    def importance(self, step: Step, memory: Floats) -> Floats:
        return memory / (step.position - step.positions + 1)


@dataclass(frozen=True, kw_only=True)
class SnapKV(Policy):
    """Keeps the last `window` rows, and of the older ones those that the last `window` queries attended to, smoothed.

    A row's vote is its attention averaged over the last `window` queries and the group's query heads; importance is the
    mean of the votes of `kernel` neighbouring rows in the order of the text, the row in the middle. Rows beyond the
    ends count as zero. Example with kernel 3: the votes .3 0 .6 0 become .1 .3 .2 .2. If the budget is not above the
    window, every row is spared, so the oldest goes, as under Window.

    Source: Li et al. 2024 (arXiv 2404.14469); kvpress calls it SnapKVPress. Deviations: the paper cuts a prompt once;
    here a row goes at every step, and the votes count as they were cast, each over the rows held at its own step.
    R-KV's SnapKV for decoding differs: it takes the maximum over the group's logits and of 7 neighbours.
    """

    key = "snapkv"
    label = "SnapKV"
    paper = "Li et al. 2024"
    explanation = Explanation(
        Message(
            "The last few tokens stay; of the older ones, those to which these paid attention, and their neighbours."
        ),
        Message(
            "importance(*j*) = mean of *a*_t,h over the last *window* queries *t*, the heads *h*, and *kernel* "
            "neighbours of *j*; ∞ for the last *window* rows"
        ),
        arxiv("2404.14469"),
    )
    scope = "kv_head"
    reads_attention = True
    reason = Message(
        "of {rows} rows, the one outside the last {window} that the last queries attended to least, {importance}; "
        "next lowest {runner_up}"
    )
    budget: int = a_budget()
    window: int = a_setting("window", Message("Queries that vote, rows spared"), 8, 1, MOST_WINDOW)
    kernel: int = a_setting("kernel", Message("Neighbours averaged (odd)"), 5, 1, MOST_WINDOW - 1)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_kernel(self.label, self.kernel)

    def born(self, rows: Rows) -> Floats:
        return np.zeros((*rows.shape, self.window), np.float32)

    def observe(self, step: Step, memory: Floats) -> None:
        memory[:, :, step.position % self.window] = mean_over_heads(step.attention)

    def importance(self, step: Step, memory: Floats) -> Floats:
        if step.positions.shape[1] <= self.window:
            return np.full(step.positions.shape, np.inf)
        order = step.positions.argsort(axis=1)
        votes = np.take_along_axis(memory.sum(axis=2) / self.window, order, axis=1)[:, : -self.window]
        return older_only(pooled(votes, self.kernel, 0.0, np.add) / self.kernel, order)


@dataclass(frozen=True, kw_only=True)
class Decay(Policy):
    """Evicts what has been least attended lately: a row's best attention counts, and fades a little at every step.

    memory ← max(α · memory, s), where s is the attention averaged over the group's query heads, divided by the greatest
    of any row. Importance is the memory. Source: G-KV (arXiv 2512.00504). Deviation, ours: its window is one query, and
    a row goes at every step, not many at once.
    """

    key = "decay"
    label = "Decay"
    paper = "G-KV 2025"
    explanation = Explanation(
        Message("Remembers a token by its best moment of attention, which fades a little with every step."),
        Message(
            "importance(*j*) ← max(α · importance(*j*), *s*(*j*)), *s* = mean of *a*_h over the heads, as a share of "
            "its greatest"
        ),
        arxiv("2512.00504"),
    )
    scope = "kv_head"
    reads_attention = True
    reason = Message("the row of {rows} whose attention has faded most, {importance}; next lowest {runner_up}")
    budget: int = a_budget()
    alpha: int = a_setting("alpha", Message("Stays per step (%)"), 80, maximum=100)

    def observe(self, step: Step, memory: Floats) -> None:
        mean = mean_over_heads(step.attention)
        greatest = np.maximum(mean.max(axis=1, keepdims=True), np.finfo(mean.dtype).tiny)  # sinks may have it all
        np.maximum(memory * (self.alpha / 100), mean / greatest, out=memory)

    def importance(self, step: Step, memory: Floats) -> Floats:
        return memory


@dataclass(frozen=True, kw_only=True)
class Raas(Policy):
    """Evicts what has been out of favour longest: the row whose last step among the most attended is furthest back.

    A row is among the most attended if it is one of the `share` per cent (rounded up; ties all count) with the most
    attention, averaged over the group's query heads. Of rows with the same last step, the least attended now goes:
    importance is the step plus the attention, which is less than 1.

    Source: RaaS (arXiv 2502.11147). Deviations: the original never evicts the prompt; here a prompt may be longer than
    the budget. Its constants were not checked against official code.
    """

    key = "raas"
    label = "RaaS"
    paper = "Hu et al. 2025"
    explanation = Explanation(
        Message("Forgets the token that has gone longest without being among the most attended."),
        Message("importance(*j*) = last step at which *a*(*j*) was among the greatest; among equals, *a*(*j*)"),
        arxiv("2502.11147"),
    )
    scope = "kv_head"
    reads_attention = True
    reason = Message("of {rows} rows, the one whose last step among the most attended is furthest back, {importance}")
    budget: int = a_budget()
    share: int = a_setting("share", Message("Most attended (%)"), 50, 1, 100)

    def observe(self, step: Step, memory: Floats) -> None:
        mean = mean_over_heads(step.attention)
        rows = mean.shape[1]
        lowest_of_most = rows - -(-rows * self.share // 100)
        threshold = np.partition(mean, lowest_of_most, axis=1)[:, lowest_of_most, None]
        np.copyto(memory, step.position, where=mean >= threshold)

    def importance(self, step: Step, memory: Floats) -> Floats:
        return memory + mean_over_heads(step.attention)


@dataclass(frozen=True, kw_only=True)
class RKV(Policy):
    """Keeps the last `window` rows, and of the older ones those that are asked for and not like others.

    Importance is λ · vote - (1 - λ) · redundancy, over the rows older than the last `window`. If the budget is not
    above the window, every row is spared, so the oldest goes, as under Window.

    Vote: each of the last `window` queries has a logit with every such row, the maximum over the group's query heads;
    the softmax over these rows, averaged over the queries; then the maximum over `kernel` neighbours in the order of
    the text. The logits are remembered, as they do not change while a row is held. (With positions other than the
    original they would; those of the query's own step count.)

    Redundancy: the cosines between the keys of all rows held, 0 between a row and itself. A row of this matrix is one
    key's view of the others: if some are above 0.5, the newest of these is set to 0, so that of several alike the
    newest survives; if none is, the official code sets the entry of the oldest row to 0, and so do we. The mean over
    all views gives each row a number; the softmax of these numbers over all rows is the redundancy.

    Source: R-KV (arXiv 2505.24133), official ``r1_kv.py``. Deviation: there the cache grows by a buffer before it is
    cut; here a row goes at every step, unless ``every`` says otherwise.
    """

    key = "rkv"
    label = "R-KV"
    paper = "Cai et al. 2025"
    explanation = Explanation(
        Message("The last few tokens stay; of the older ones, those that are asked for and are not like others."),
        Message(
            "importance(*j*) = λ · vote(*j*) − (1 − λ) · redundancy(*j*); ∞ for the last *window* rows. Vote: the "
            "attention of the last queries to the older rows, the greatest of *kernel* neighbours. Redundancy: softmax "
            "of the mean cosine with the other keys"
        ),
        arxiv("2505.24133"),
    )
    scope = "kv_head"
    reads_attention = False
    reads_logits = True
    reads_rows = True
    reason = Message(
        "of {rows} rows, the one outside the last {window} least asked for and most like others, {importance}; next "
        "lowest {runner_up}"
    )
    budget: int = a_budget()
    mix: int = a_setting("mix", Message("λ, weight of the votes (%)"), 7, maximum=100)
    window: int = a_setting("window", Message("Queries that vote, rows spared"), 8, 1, MOST_WINDOW)
    kernel: int = a_setting("kernel", Message("Neighbours, the greatest counts (odd)"), 7, 1, MOST_WINDOW - 1)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_kernel(self.label, self.kernel)

    def born(self, rows: Rows) -> Floats:
        assert rows.keys is not None
        no_logits = np.zeros((*rows.shape, self.window), np.float32)
        return np.concatenate([no_logits, unit(rows.keys[:, 0])], axis=2)

    def observe(self, step: Step, memory: Floats) -> None:
        assert step.logits is not None
        memory[:, :, step.position % self.window] = step.logits.max(axis=1)

    def importance(self, step: Step, memory: Floats) -> Floats:
        if step.positions.shape[1] <= self.window:
            return np.full(step.positions.shape, np.inf)
        order = step.positions.argsort(axis=1)
        in_order = memory[np.arange(len(order))[:, None], order]
        logits, keys = in_order[:, : -self.window, : self.window], in_order[:, :, self.window :]
        of_queries = np.ascontiguousarray(logits.swapaxes(1, 2), np.float64)
        votes = pooled(softmax(of_queries, axis=2).sum(axis=1) / self.window, self.kernel, -np.inf, np.maximum)
        mix = self.mix / 100
        return older_only(mix * votes - (1 - mix) * _redundancy(keys)[:, : -self.window], order)


def _redundancy(keys: Floats) -> Floats:
    """(groups, rows), from unit keys (groups, rows, head size) in the order of the text; see `RKV`."""
    cosines = keys @ keys.swapaxes(1, 2)
    rows = keys.shape[1]
    every = np.arange(rows)
    cosines[:, every, every] = 0.0
    newest = rows - 1 - (cosines[:, :, ::-1] > 0.5).argmax(axis=2)
    groups = np.arange(len(keys))[:, None]
    newest[cosines[groups, every, newest] <= 0.5] = 0
    cosines[groups, every, newest] = 0.0
    return softmax(cosines.sum(axis=1, dtype=np.float64) / rows, axis=1)


def mean_over_heads(attention: Floats | None) -> Floats:
    """(groups, slots): attention (groups, query heads, slots), averaged over the query heads."""
    assert attention is not None
    mean: Floats = attention.sum(axis=1) / attention.shape[1]  # numpy's own mean takes twice as long
    return mean


def softmax(logits: Floats, axis: int) -> Floats:
    """The softmax along an axis; zeros where every logit is minus infinity."""
    highest = logits.max(axis=axis, keepdims=True)
    shares = np.exp(logits - np.where(np.isfinite(highest), highest, 0.0))
    scaled: Floats = shares / np.maximum(shares.sum(axis=axis, keepdims=True), np.finfo(shares.dtype).tiny)
    return scaled


def pooled(votes: Floats, kernel: int, beyond: float, join: np.ufunc) -> Floats:
    """(groups, rows): `join` over the `kernel` rows around each row, which is in the middle; `beyond` the ends."""
    side, rows = kernel // 2, votes.shape[1]
    padded = np.full((len(votes), rows + 2 * side), beyond)
    padded[:, side : side + rows] = votes
    joined: Floats = padded[:, :rows].copy()
    for shift in range(1, kernel):
        join(joined, padded[:, shift : shift + rows], out=joined)
    return joined


def older_only(importance: Floats, order: Ints) -> Floats:
    """(groups, slots): the importance of the older rows, given in the order of the text; infinite for the others.

    Args:
        importance: (groups, older rows).
        order: (groups, slots), the slots in the order of the text.
    """
    of_slots = np.full(order.shape, np.inf)
    np.put_along_axis(of_slots, order[:, : importance.shape[1]], importance, axis=1)
    return of_slots


def check_kernel(label: str, kernel: int) -> None:
    """Raise BadInput unless a row can be in the middle of its `kernel` neighbours."""
    if kernel % 2 == 0:
        raise BadInput(
            "{policy} looks at {kernel} neighbours, of which none is in the middle: choose an odd number.",
            policy=label,
            kernel=kernel,
        )
