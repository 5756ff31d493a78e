"""Stories written in lockstep from one seed, and what is counted of them."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

from core import LanguageModel, Trace, generate, load_model, make_policy
from core.engine.sampling import Sampler
from core.errors import BadInput
from core.experiments.stories import Story, Telling, distinct, left_at, length_table, stories
from core.experiments.writing import iter_stories
from core.model.chat import turn
from core.policies import settings_of
from core.trace import NEVER
from tests.traces import tokens_of, trace_of
from tests.writers import EOS, writer_model

PROMPTS = ("w1 w2 w3 w4 w5", "w9 w8 w7 w6 w5 w4 w3")
POLICIES = [make_policy("tova", 100), make_policy("tova", 4), make_policy("window", 6)]
SAMPLED = {"max_new_tokens": 30, "temperature": 1.0, "top_p": 0.9}


@pytest.fixture(scope="module")
def lm(tiny, tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    directory = tmp_path_factory.mktemp("writer") / "model"
    return load_model(writer_model(tiny("llama-gqa").directory, directory), dtype="float32", device="cpu")


def tellings_of(lm: LanguageModel, **settings) -> list[Telling]:
    reports = iter_stories(lm, PROMPTS, POLICIES, **SAMPLED | settings)
    return [report.telling for report in reports if report.finished]


def test_stories_are_what_generate_writes_with_one_more_seed_per_prompt(lm: LanguageModel) -> None:
    for i, telling in enumerate(tellings_of(lm, seed=5)):
        assert (telling.prompt, telling.seed) == (PROMPTS[i], 5 + i)
        traces = generate(lm, turn(lm, PROMPTS[i])[0], [make_policy("full"), *POLICIES], seed=5 + i, **SAMPLED)
        for story, trace in zip(telling.stories, traces, strict=True):
            assert story.policy == trace.policy
            written = trace.tokens.ids[trace.prompt_length :].tolist()
            assert story.tokens.ids.tolist() + [EOS] * story.ended == written


def test_the_full_model_writes_once_and_the_prompt_is_read_as_asked(lm: LanguageModel) -> None:
    chosen = [make_policy("full"), make_policy("window", 3)]
    (*_, at_once) = iter_stories(lm, PROMPTS[:1], chosen, prefill="one-shot", **SAMPLED)
    assert [story.policy.key for story in at_once.telling.stories] == ["full", "window"]
    (full, window) = generate(lm, turn(lm, PROMPTS[0])[0], chosen, prefill="one-shot", **SAMPLED)
    for story, trace in zip(at_once.telling.stories, (full, window), strict=True):
        assert story.tokens.ids.tolist() + [EOS] * story.ended == trace.tokens.ids[trace.prompt_length :].tolist()


def test_one_seed_is_the_same_draws_for_all_even_once_others_have_ended(lm: LanguageModel) -> None:
    ended = False
    for seed in (0, 2):
        for telling in tellings_of(lm, seed=seed):
            full, roomy, *small = telling.stories
            assert roomy.tokens.ids.tolist() == full.tokens.ids.tolist()
            assert roomy.left_at is None and roomy.ended == full.ended
            ended |= any(story.ended and len(story) < len(full) for story in small)
            assert any(story.left_at is not None for story in small)
    assert ended, "no policy ended before the full model: this text tests nothing"


def test_nearly_the_same_expectation_is_nearly_always_the_same_token() -> None:
    """The draws belong to the tokens: two samplers disagree no oftener than an exponential race lets them."""
    logits = torch.randn(50, generator=torch.Generator().manual_seed(0))
    other = logits + 0.2 * torch.randn(50, generator=torch.Generator().manual_seed(1))
    distance = (logits.softmax(-1) - other.softmax(-1)).abs().sum().item() / 2
    alone = logits.softmax(-1) @ other.softmax(-1)  # how often independent draws agree
    same = [Sampler(1.0, 1.0, seed).next(logits) == Sampler(1.0, 1.0, seed).next(other) for seed in range(1000)]
    assert np.mean(same) > (1 - distance) / (1 + distance) - 0.03 > alone + 0.5


def test_reports_grow_and_every_prompt_is_finished_once(lm: LanguageModel) -> None:
    reports = list(iter_stories(lm, PROMPTS, POLICIES, seed=1, **SAMPLED))
    assert [report.prompt for report in reports if report.finished] == [0, 1]
    for prompt in (0, 1):
        own = [report for report in reports if report.prompt == prompt]
        assert [report.finished for report in own] == [False] * (len(own) - 1) + [True]
        done = [report.done for report in own]
        assert done == sorted(done)
        assert done[-1] == max(len(story) + story.ended for story in own[-1].telling.stories) <= 30


def test_nothing_to_write_is_explained(lm: LanguageModel) -> None:
    for prompts, policies, says in (
        ([], POLICIES, "prompt"),
        (PROMPTS, [], "policy"),
        (["w1", " "], POLICIES, "empty"),
    ):
        with pytest.raises(BadInput, match=says):
            next(iter_stories(lm, prompts, policies, **SAMPLED))


# By hand.


def trace_with(ids: Sequence[int], policy: str = "full", budget: int | None = None) -> Trace:
    """A prompt of one token, and then these."""
    trace = trace_of([[[NEVER] * (len(ids) + 1)]], ("?", *(f" {id_}" for id_ in ids)), prompt_length=1)
    tokens = replace(trace.tokens, ids=np.array([7, *ids], np.int32))
    return replace(trace, tokens=tokens, policy=settings_of(make_policy(policy, budget)))


def story_with(ids: Sequence[int], policy: str = "full", budget: int | None = None, **more) -> Story:
    tokens = replace(tokens_of(tuple(f" {id_}" for id_ in ids)), ids=np.array(ids, np.int32))
    return Story(**{"policy": settings_of(make_policy(policy, budget)), "tokens": tokens} | more)


def telling_with(full: list[int], full_ended: bool, tova: list[int], ended: bool, left: int | None) -> Telling:
    """The full model's story, and TOVA's with a budget of 512."""
    stories = (
        story_with(full, ended=full_ended, left_at=None),
        story_with(tova, "tova", 512, ended=ended, left_at=left),
    )
    return Telling("a", 0, stories)


def test_a_story_is_without_its_prompt_and_its_end() -> None:
    full, short, other, unfinished = stories(
        [trace_with([3, 4, 5, 9]), trace_with([3, 9]), trace_with([3, 4, 6, 8]), trace_with([])], frozenset({9})
    )
    assert (full.text, full.ended, full.left_at) == (" 3 4 5", True, None)
    assert (short.text, len(short), short.ended, short.left_at) == (" 3", 1, True, 1)
    assert (other.text, other.ended, other.left_at) == (" 3 4 6 8", False, 2)
    assert (unfinished.text, len(unfinished), unfinished.ended, unfinished.left_at) == ("", 0, False, None)


def test_a_story_that_is_only_shorter_so_far_has_not_left() -> None:
    assert left_at(np.array([1, 2]), np.array([1, 2, 3])) is None
    assert left_at(np.array([1, 2, 4, 5]), np.array([1, 2, 3])) == 2
    assert left_at(np.array([0, 2, 3]), np.array([1, 2, 3])) == 0


def test_distinct_n_is_the_share_of_different_n_grams() -> None:
    story = story_with([1, 2, 1, 2, 1], ended=False, left_at=None)
    assert [distinct(story, n) for n in (1, 2, 3)] == [2 / 5, 2 / 4, 2 / 3]
    assert distinct(story_with([1, 2, 3], ended=False, left_at=None), 3) == 1
    assert math.isnan(distinct(story_with([1], ended=False, left_at=None), 2))


def test_the_length_table_is_means_over_prompts_beside_the_papers() -> None:
    tellings = [
        telling_with([1] * 4, True, [1, 2], True, 1),
        telling_with([1], False, [1, 2, 3], False, 2),
        telling_with([1, 2], False, [1], True, None),
    ]
    full, tova = length_table(tellings)
    assert (full.stories, full.mean, full.ended, full.left, full.left_at, full.paper) == (3, 7 / 3, 1, 0, None, 1566)
    assert (tova.mean, tova.ended, tova.left, tova.left_at, tova.paper) == (2, 2, 2, 1.5, 1503)
    assert full.distinct == pytest.approx(((1 / 4 + 1 + 1) / 3, (1 / 3 + 1) / 2, 1 / 2))
    assert math.isnan(length_table(tellings[2:])[1].distinct[2])
    of_another_budget = Telling("a", 0, (story_with([1], "tova", 64, ended=True, left_at=0),))
    assert length_table([of_another_budget])[0].paper is None
