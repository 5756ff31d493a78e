"""The trace that the page opens with is a run of our engine, not a drawing."""

import numpy as np

from core import LanguageModel, make_policy, replay
from viz.examples.example_texts import EXAMPLES, first_trace


def test_the_stored_trace_is_what_the_engine_gives(smollm2: LanguageModel) -> None:
    stored = first_trace()
    trace = replay(smollm2, smollm2.encode(EXAMPLES[0].text), make_policy("tova", budget=64))
    assert stored.tokens.pieces == trace.tokens.pieces
    assert stored.policy == trace.policy
    # another processor rounds otherwise, which may turn over an eviction decided by a hair
    assert (stored.evicted_at != trace.evicted_at).mean() < 1e-3
    np.testing.assert_allclose(stored.nll[1:], trace.nll[1:], atol=0.02)


def test_every_example_can_be_read(smollm2: LanguageModel) -> None:
    for example in EXAMPLES:
        tokens = smollm2.encode(example.text)
        assert "".join(tokens.pieces) == example.text
        assert len(tokens) > 150, "too short to show a policy at its default budget"
