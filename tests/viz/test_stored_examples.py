"""What Budget, Ask and Write open with are runs of our engine, not drawings."""

import numpy as np
import pytest

from core import LanguageModel, Trace, budget_sentences, make_policy, replay, sweep
from core.experiments.ask import answer_of, prompt_of
from core.experiments.haystack import QUESTION, contains_fact, hide
from core.measures.evidence import fate
from core.model.chat import turn
from core.policies import settings_of
from core.store import load_stored
from viz.examples import answer, needle, telling
from viz.examples import sweep as swept
from viz.examples.example_texts import EXAMPLES
from viz.page.policy_cards import FIRST

POLICIES = [make_policy("full"), *(make_policy(chosen.key, chosen.budget) for chosen in FIRST)]


def is_what_the_engine_gives(lm: LanguageModel, stored: Trace) -> None:
    """Reading the stored tokens once more gives the same but where another processor rounds otherwise."""
    trace = replay(lm, stored.tokens, make_policy(stored.policy.key, stored.policy.budget))
    assert stored.tokens.pieces == trace.tokens.pieces
    assert (stored.evicted_at != trace.evicted_at).mean() < 1e-3
    np.testing.assert_allclose(stored.nll[1:], trace.nll[1:], atol=0.02)


@pytest.mark.parametrize("i", range(len(POLICIES)))
def test_the_answers_are_those_of_the_policies_that_stand_on_the_cards(smollm2: LanguageModel, i: int) -> None:
    example = answer.example_answer()
    prompt = prompt_of(smollm2, answer.DOCUMENT, answer.QUESTION)
    assert example.prompt.tokens.ids.tolist() == prompt.tokens.ids.tolist()
    assert (example.prompt.document, example.prompt.question) == (prompt.document, prompt.question)
    start = answer.DOCUMENT.index(answer.EVIDENCE)
    passage = (start, start + len(answer.EVIDENCE))
    assert example.prompt.passage(*passage) == prompt.passage(*passage)
    own = example.answers[i]
    assert len(example.answers) == len(POLICIES) and own.trace.policy == settings_of(POLICIES[i])
    known = answer_of(smollm2, own.trace)
    assert (own.text, own.finished) == (known.text, known.finished)
    is_what_the_engine_gives(smollm2, own.trace)
    written = own.trace.nll[own.trace.prompt_length :]
    assert (written < np.log(smollm2.model.config.vocab_size)).all(), "not the likeliest tokens"


@pytest.mark.parametrize("i", range(len(POLICIES)))
def test_the_stories_are_those_of_the_policies_that_stand_on_the_cards(smollm2: LanguageModel, i: int) -> None:
    stories, stored = telling.example_telling().stories, load_stored(telling.FILE)
    trace = stored.traces[i]
    assert len(stories) == len(POLICIES) and stories[i].policy == settings_of(POLICIES[i])
    prompt, _ = turn(smollm2, telling.PROMPT)
    assert trace.tokens.ids[: trace.prompt_length].tolist() == prompt.ids.tolist()
    assert frozenset(stored.arrays["eos_ids"].tolist()) == smollm2.eos_ids
    assert len(stories[i]) == telling.NEW_TOKENS
    is_what_the_engine_gives(smollm2, trace)


def test_the_matrix_is_what_the_engine_gives(smollm2: LanguageModel) -> None:
    stored = needle.example_needle()
    cells = [(length, depth) for length in needle.LENGTHS for depth in needle.DEPTHS]
    assert [(result.length, result.depth, result.policy) for result in stored] == [
        (*cell, settings_of(policy)) for cell in cells for policy in POLICIES
    ]
    for result in stored:
        assert result.found == contains_fact(result.answer)
    known = {(result.length, result.depth, result.policy.key): result for result in stored}
    for depth in (0.0, 1.0):
        hay = hide(smollm2, depth, 128)
        prompt = prompt_of(smollm2, hay.document, QUESTION)
        passage, question = prompt.passage(hay.start, hay.stop), prompt.question.start
        for policy in POLICIES:
            trace = replay(smollm2, prompt.tokens, policy)
            expected = fate(trace, passage, question).at_question
            assert known[128, depth, policy.key].fate.at_question == pytest.approx(expected, abs=0.01)


def test_the_sweep_is_what_the_engine_gives(smollm2: LanguageModel) -> None:
    stored = swept.example_sweep()
    pairs = [(record.policy, record.budget) for record in stored]
    keys = ["baseline", *(chosen.key for chosen in FIRST)]
    assert pairs == [("full", None), *((key, budget) for budget in swept.BUDGETS for key in keys)]
    assert len(budget_sentences(stored)) == len(keys)
    again = sweep(smollm2, smollm2.encode(EXAMPLES[0].text), ["tova"], [16])
    known = {(record.policy, record.budget): record for record in stored}
    for record in again:
        same = known[record.policy, record.budget]
        assert (record.text_hash, record.tokens) == (same.text_hash, same.tokens)
        assert record.perplexity == pytest.approx(same.perplexity, rel=0.01)
