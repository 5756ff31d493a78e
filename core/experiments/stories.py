"""Stories that several policies have written from one prompt, and what is counted of them. numpy only.

Oren et al. 2024 (section 6) let a model write stories with multi-states of several sizes, compare their lengths, and
let a judge compare each with the full model's.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from core.measures.paper import STORY_LENGTHS
from core.trace import Ints, PolicySettings, Tokens, Trace

DISTINCT = (1, 2, 3)  # the lengths of the n-grams that are counted


@dataclass(frozen=True, eq=False)
class Story:
    """What one policy has written.

    Attributes:
        policy: the policy and its settings.
        tokens: that were written, without the prompt and without an end-of-sequence token.
        ended: an end-of-sequence token came; otherwise the writing was stopped at its limit, or is still going on.
        left_at: the first position, from 0 at the story's first token, at which it differs from the full model's
            story; that may be the place where one of the two ended. None as long as they are the same.
    """

    policy: PolicySettings
    tokens: Tokens
    ended: bool
    left_at: int | None

    def __len__(self) -> int:
        """Length in tokens."""
        return len(self.tokens)

    @property
    def text(self) -> str:
        """The story as it reads; special tokens that the model wrote in between stand there by name."""
        return "".join(self.tokens.pieces)


def stories(traces: Sequence[Trace], eos_ids: frozenset[int]) -> list[Story]:
    """The stories of runs that have written on from one prompt in lockstep; the first run is the full model's.

    Args:
        traces: as `generate` returns them, also those of a run that is still going on.
        eos_ids: the model's end-of-sequence tokens.
    """
    full = _written(traces[0]).ids
    found = []
    for trace in traces:
        written = _written(trace)
        ended = len(written) > 0 and int(written.ids[-1]) in eos_ids
        found.append(Story(trace.policy, written[: len(written) - ended], ended, left_at(written.ids, full)))
    return found


def _written(trace: Trace) -> Tokens:
    return trace.tokens[trace.prompt_length :]


def left_at(ids: Ints, full: Ints) -> int | None:
    """The first position at which two token sequences differ; one that is merely shorter does not differ."""
    common = min(len(ids), len(full))
    different = np.flatnonzero(ids[:common] != full[:common])
    return int(different[0]) if len(different) else None


def distinct(story: Story, n: int) -> float:
    """Distinct-n: the share of a story's n-grams of tokens that are different ones. The lower, the more repetition.

    Source: Li et al. 2016 (arXiv 1510.03055), section 5.2. Two deviations. They divide by the number of tokens, we by
    the number of n-grams, so that a text without repetition has 1 for every n. They count words, we the model's
    tokens, which are there for every language and every model; of two tokenizers the values cannot be compared. The
    value falls with the length of a text: compare stories of about the same length.

    Returns:
        Between 0 and 1; NaN of a story shorter than n tokens.
    """
    if len(story) < n:
        return float("nan")
    grams = np.lib.stride_tricks.sliding_window_view(story.tokens.ids, n)
    return len(np.unique(grams, axis=0)) / len(grams)


@dataclass(frozen=True, eq=False)
class Telling:
    """The stories of one prompt.

    Attributes:
        prompt: as the user wrote it.
        seed: of the draws, the same for every policy.
        stories: the full model's, then one per policy.
    """

    prompt: str
    seed: int
    stories: tuple[Story, ...]


@dataclass(frozen=True)
class Lengths:
    """A row of the length table: one policy's stories of all prompts.

    Attributes:
        policy: the policy and its settings.
        stories: how many.
        mean: length in tokens. If some were stopped at the limit, the model would have written more.
        ended: how many ended by themselves.
        distinct: the mean of distinct-1, -2 and -3, over the stories long enough to have one.
        left: how many differ from the full model's story.
        left_at: the median of the positions at which these leave it; None if none does.
        paper: the mean length that Oren et al. 2024 report for this policy and budget, if they do.
    """

    policy: PolicySettings
    stories: int
    mean: float
    ended: int
    distinct: tuple[float, ...]
    left: int
    left_at: float | None
    paper: int | None


def length_table(tellings: Sequence[Telling]) -> list[Lengths]:
    """One row per policy, in the order of the stories; every telling has the same policies."""
    rows = []
    for own in zip(*(telling.stories for telling in tellings), strict=True):
        lengths = [len(story) for story in own]
        left = [story.left_at for story in own if story.left_at is not None]
        policy = own[0].policy
        rows.append(
            Lengths(
                policy=policy,
                stories=len(own),
                mean=float(np.mean(lengths)),
                ended=sum(story.ended for story in own),
                distinct=tuple(_mean([distinct(story, n) for story in own if len(story) >= n]) for n in DISTINCT),
                left=len(left),
                left_at=float(np.median(left)) if left else None,
                paper=STORY_LENGTHS.get((policy.key, policy.budget)),
            )
        )
    return rows


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else float("nan")
