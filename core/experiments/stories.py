"""Stories that several policies have written from one prompt, their lengths and repetition. numpy only.

As in Oren et al. 2024 (section 6), where a model writes stories with several budgets, their lengths are compared, and a
language model judges each against the full model's story.
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
        tokens: the tokens written, without the prompt and without an end-of-sequence token.
        ended: whether the model wrote an end-of-sequence token; if not, it was stopped at its limit or still writes.
        left_at: the index, from 0, of the first token that differs from that of the full model's story, where an
            end-of-sequence token counts as a token, too. None as long as they are the same.
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
        """The story as text; special tokens inside it appear by name."""
        return "".join(self.tokens.pieces)


def stories(traces: Sequence[Trace], eos_ids: frozenset[int]) -> list[Story]:
    """The stories of several runs from one prompt.

    Args:
        traces: as `generate` returns them, or those of its progress; the first must be the full model's.
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
    """The first index at which two token sequences differ; None if one is the beginning of the other."""
    common = min(len(ids), len(full))
    different = np.flatnonzero(ids[:common] != full[:common])
    return int(different[0]) if len(different) else None


def distinct(story: Story, n: int) -> float:
    """Distinct-n: the number of different n-grams of tokens, divided by the number of all n-grams; low if repetitive.

    Source: Li et al. 2016 (arXiv 1510.03055), section 5.2. Deviations: they divide by the number of tokens, we by the
    number of n-grams, so that a text without repetition has 1 for every n. They count words, we count the model's
    tokens, which work for every language; so values of different tokenizers cannot be compared. The value is lower for
    longer texts, so only stories of about the same length should be compared.

    Returns:
        Above 0 and at most 1; NaN for a story shorter than n tokens.
    """
    if len(story) < n:
        return float("nan")
    grams = np.lib.stride_tricks.sliding_window_view(story.tokens.ids, n)
    return len(np.unique(grams, axis=0)) / len(grams)


@dataclass(frozen=True, eq=False)
class Telling:
    """The stories of one prompt.

    Attributes:
        prompt: the prompt as the user wrote it.
        seed: the seed of the random draws, the same for every policy.
        stories: the full model's story, then one per policy.
    """

    prompt: str
    seed: int
    stories: tuple[Story, ...]


@dataclass(frozen=True)
class Lengths:
    """A row of the length table: one policy's stories of all prompts.

    Attributes:
        policy: the policy and its settings.
        stories: the number of stories.
        mean: their mean length in tokens; too low if some were stopped at the limit.
        ended: how many the model ended itself.
        distinct: distinct-1, -2 and -3, each averaged over the stories that are long enough.
        left: how many differ from the full model's story.
        left_at: the median of `Story.left_at` of these; None if none differs.
        paper: the mean length in Oren et al. 2024 for this policy and budget; None if they do not report it.
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
    """One row per policy, in the order of the stories; every telling must have the same policies."""
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
