"""How each policy decides: in one sentence, as a formula, and where it is from.

In a formula ``*j*`` is set in italics and ``_h`` lowered, see `viz.cards.policy`; so translators read plain text.
"""

from dataclasses import dataclass

from core.messages import Message


@dataclass(frozen=True)
class Explanation:
    """How a policy decides.

    Attributes:
        sentence: for anybody.
        formula: of the importance; the row with the lowest goes.
        link: the address of its source; empty if the policy is ours.
        source: what stands there if it is not the policy's `paper`.
    """

    sentence: Message
    formula: Message
    link: str = ""
    source: Message | None = None


def _arxiv(number: str) -> str:
    return f"https://arxiv.org/abs/{number}"


SYMBOLS = Message(
    "*j*: a row; *a*_h: the attention that head *h* of the query just read pays to it; *k*, *v*: its key and value."
)

EXPLANATIONS = {
    "tova": Explanation(
        Message("Forgets the token to which the one just read pays the least attention."),
        Message("importance(*j*) = mean of *a*_h(*j*) over the layer's heads *h*"),
        _arxiv("2401.06104"),
    ),
    "tova-head": Explanation(
        Message("As TOVA, but every KV head forgets for itself."),
        Message("importance(*j*) = mean of *a*_h(*j*) over the heads *h* that share the KV head"),
        _arxiv("2401.06104"),
    ),
    "h2o": Explanation(
        Message("Keeps the newest half, and of the older tokens those that have received the most attention so far."),
        Message("importance(*j*) = Σ_t Σ_h *a*_t,h(*j*) over all queries *t* so far; ∞ for the newest ⌊*B*/2⌋ rows"),
        _arxiv("2306.14048"),
    ),
    "observed": Explanation(
        Message("Forgets the token that has received the least attention per query that could see it."),
        Message("importance(*j*) = mean of *a*_t,h(*j*) over the queries *t* since *j* was read and the heads *h*"),
        "https://github.com/NVIDIA/kvpress",
    ),
    "snapkv": Explanation(
        Message(
            "The last few tokens stay; of the older ones, those to which these paid attention, and their neighbours."
        ),
        Message(
            "importance(*j*) = mean of *a*_t,h over the last *window* queries *t*, the heads *h*, and *kernel* "
            "neighbours of *j*; ∞ for the last *window* rows"
        ),
        _arxiv("2404.14469"),
    ),
    "decay": Explanation(
        Message("Remembers a token by its best moment of attention, which fades a little with every step."),
        Message(
            "importance(*j*) ← max(α · importance(*j*), *s*(*j*)), *s* = mean of *a*_h over the heads, as a share of "
            "its greatest"
        ),
        _arxiv("2512.00504"),
    ),
    "raas": Explanation(
        Message("Forgets the token that has gone longest without being among the most attended."),
        Message("importance(*j*) = last step at which *a*(*j*) was among the greatest; among equals, *a*(*j*)"),
        _arxiv("2502.11147"),
    ),
    "window": Explanation(
        Message("Forgets the oldest token first, as in a queue."),
        Message("importance(*j*) = position of *j*"),
        _arxiv("2401.06104"),
        Message("Wang et al. 2019, as told in Oren et al. 2024"),
    ),
    "window+i": Explanation(
        Message("As Window, but the first few tokens of the text always stay."),
        Message("importance(*j*) = position of *j*; ∞ for the first *i* tokens"),
        _arxiv("2309.17453"),
    ),
    "knorm": Explanation(
        Message("Forgets the token with the longest key, since short keys tend to receive much attention."),
        Message("importance(*j*) = −‖*k*_j‖"),
        _arxiv("2406.11430"),
    ),
    "keydiff": Explanation(
        Message("Forgets the token whose key is most like all others, and keeps what is different."),
        Message("importance(*j*) = −cos(*k*_j, *m*), *m* = mean of *k* / ‖*k*‖ over the rows held"),
        _arxiv("2504.15364"),
    ),
    "rkv": Explanation(
        Message("The last few tokens stay; of the older ones, those that are asked for and are not like others."),
        Message(
            "importance(*j*) = λ · vote(*j*) − (1 − λ) · redundancy(*j*); ∞ for the last *window* rows. Vote: the "
            "attention of the last queries to the older rows, the greatest of *kernel* neighbours. Redundancy: softmax "
            "of the mean cosine with the other keys"
        ),
        _arxiv("2505.24133"),
    ),
    "caote": Explanation(
        Message("Forgets the token without which the output of the attention would change least."),
        Message("importance(*j*) = mean over *h* of *a*_h(*j*) / (1 − *a*_h(*j*)) · ‖*o*_h − *v*_j‖, *o* = the output"),
        _arxiv("2504.14051"),
    ),
    "expected": Explanation(
        Message("Guesses from the queries so far what those to come will ask for, and keeps that."),
        Message(
            "importance(*j*) = softmax(*k*_j·μ / √*d* + *k*_j·Σ*k*_j / 2*d*) · ‖*v*_j‖; μ, Σ = mean and covariance of "
            "the queries so far, turned to the positions to come; ∞ for the first tokens"
        ),
        _arxiv("2510.00636"),
    ),
    "random": Explanation(
        Message("Draws lots. A policy that does no better is useless."),
        Message("importance(*j*) = a random number"),
    ),
    "full": Explanation(
        Message("Forgets nothing: the ordinary model."),
        Message("importance(*j*) = ∞"),
        _arxiv("1706.03762"),
    ),
    "oracle": Explanation(
        Message("Has read the whole text before, and forgets what will be attended to least."),
        Message(
            "importance(*j*) = Σ_t *a*_t(*j*) of the full model over all queries *t* still to come, mean of its heads"
        ),
    ),
    "own": Explanation(
        Message("You say how much it counts that a token is attended to, recent, or has a short key."),
        Message(
            "importance(*j*) = *w*_1 · R(memory of *j*) + *w*_2 · R(position of *j*) + *w*_3 · R(−‖*k*_j‖), memory ← "
            "γ · memory + *a*; R = rank among the rows held, from 0 to 1"
        ),
    ),
}
"""By key of the policy."""
