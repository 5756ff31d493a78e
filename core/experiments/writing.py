"""Several policies write stories from the same prompts beside the full model, in lockstep and sampled alike.

One seed means: at the n-th token every policy draws with the same random numbers, whatever the others have written or
whether they have ended. Each random number belongs to one token of the vocabulary (an exponential race, as
`torch.multinomial` runs for a single draw), so two policies that expect nearly the same next token nearly always draw
the same one. What differs between two stories comes from their policies.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from core.engine.generate import iter_generate
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
        done: tokens written of this prompt's stories, by those that write longest.
        max_new_tokens: the most it can be.
        prompt: which prompt is being written from, from 0.
        telling: its stories so far.
        finished: its stories are complete.
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
) -> Iterator[WritingProgress]:
    """Write a story from every prompt under every policy and under the full model; reports several times a second.

    Closing it ends the run and frees its memory.

    Args:
        lm: the model.
        prompts: a model that has a chat template gets each as the user's message, any other as the beginning of the
            text.
        policies: with any budgets; the full model is always there and need not be among them.
        max_new_tokens: of a story.
        temperature: as in `generate`.
        top_p: as in `generate`.
        seed: of the first prompt's draws; every further prompt has the next one.

    Yields:
        Progress; every prompt's last report is `finished`.

    Raises:
        BadInput: no prompt or policy, or a seed that leaves none for the last prompt.
        BadInput, TextTooLong, NumericalError, OutOfMemory: as `generate`.
        UnsupportedModel: as `turn`.
    """
    if not prompts:
        raise BadInput("Write a story prompt first.")
    if not policies:
        raise BadInput("Choose at least one policy.")
    seed = whole(Message("seed"), seed, 0, MOST_SEED - len(prompts) + 1)
    read = [turn(lm, prompt)[0] for prompt in prompts]
    for index, (prompt, tokens) in enumerate(zip(prompts, read, strict=True)):
        reports = iter_generate(
            lm,
            tokens,
            [Full(), *policies],
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            top_p=top_p,
            seed=seed + index,
        )
        for report in reports:
            telling = Telling(prompt, seed + index, tuple(stories(report.traces, lm.eos_ids)))
            done = max(report.done - len(tokens), 0)
            yield WritingProgress(done, max_new_tokens, index, telling, finished=False)
        yield WritingProgress(done, max_new_tokens, index, telling, finished=True)
