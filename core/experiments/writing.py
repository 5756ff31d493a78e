"""Several policies and the full model write stories from the same prompts, with the same random numbers.

For its n-th token every policy draws with the same random numbers, one for each token of the vocabulary, whatever the
other policies have written. `torch.multinomial` draws the token whose probability, divided by its random number, is
the greatest. So two policies with nearly equal distributions nearly always draw the same token, and two stories differ
because of their policies, not by chance.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Unpack

from core.engine.generate import iter_generate
from core.engine.options import ReadKeywords
from core.errors import BadInput
from core.experiments.stories import Telling, stories
from core.messages import Message
from core.model.chat import turn
from core.model.language_model import LanguageModel
from core.policies import Full, Policy
from core.whole_numbers import MOST_SEED, whole


@dataclass(frozen=True)
class WritingProgress:
    """How far the writing is.

    Attributes:
        done: tokens written for this prompt, in the longest of its stories.
        max_new_tokens: the most that `done` can be.
        prompt: the index of the prompt, from 0.
        telling: the stories of this prompt so far.
        finished: whether these stories are complete.
    """

    done: int
    max_new_tokens: int
    prompt: int
    telling: Telling
    finished: bool


def iter_stories(
    lm: LanguageModel,
    prompts: Sequence[str],
    policies: Sequence[Policy],
    *,
    max_new_tokens: int,
    temperature: float = 1.0,
    top_p: float = 1.0,
    seed: int = 0,
    **options: Unpack[ReadKeywords],
) -> Iterator[WritingProgress]:
    """Write a story from every prompt under every policy and under the full model; reports several times a second.

    Closing the generator ends the run and frees its memory.

    Args:
        lm: the model.
        prompts: a model with a chat template gets each as a user's message, any other as the beginning of the text.
        policies: with any budgets; the full model is added, once.
        max_new_tokens: the most tokens of a story.
        temperature: as in `generate`.
        top_p: as in `generate`.
        seed: the seed of the first prompt; the second has seed + 1, and so on.
        options: as in `generate`.

    Yields:
        Progress; the last report of every prompt is `finished`.

    Raises:
        BadInput: no prompt or policy, or a seed of the last prompt that would be above `MOST_SEED`.
        BadInput, TextTooLong, NumericalError, OutOfMemory: as `generate`.
        UnsupportedModel: as `turn`.
    """
    if not prompts:
        raise BadInput("Write a story prompt first.")
    if not policies:
        raise BadInput("Choose at least one policy.")
    seed = whole(Message("seed"), seed, 0, MOST_SEED - len(prompts) + 1)
    beside_full = [Full(), *(policy for policy in policies if policy.budget is not None)]
    read = [turn(lm, prompt)[0] for prompt in prompts]
    for index, (prompt, tokens) in enumerate(zip(prompts, read, strict=True)):
        reports = iter_generate(
            lm,
            tokens,
            beside_full,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            top_p=top_p,
            seed=seed + index,
            **options,
        )
        for report in reports:
            telling = Telling(prompt, seed + index, tuple(stories(report.traces, lm.eos_ids)))
            done = max(report.done - len(tokens), 0)
            yield WritingProgress(done, max_new_tokens, index, telling, finished=False)
        yield WritingProgress(done, max_new_tokens, index, telling, finished=True)
