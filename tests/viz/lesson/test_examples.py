"""The run that the page opens with is one of our engine, not a drawing."""

import numpy as np

from core import LanguageModel
from tests.make_examples import first_run as computed
from viz.examples.example_texts import EXAMPLES, first_run
from viz.page.asked import asked_in, shown
from viz.page.policy_cards import FIRST


def test_the_stored_run_is_what_the_engine_gives(smollm2: LanguageModel) -> None:
    stored, again = first_run(), computed(smollm2)
    assert asked_in(stored) == asked_in(again)
    assert [trace.policy for trace in shown(stored)] == [chosen.described() for chosen in FIRST]
    for old, new in zip(stored.traces, again.traces, strict=True):
        assert old.tokens.pieces == new.tokens.pieces and old.policy == new.policy
        # another processor rounds otherwise, which may turn over an eviction decided by a hair
        assert (old.evicted_at != new.evicted_at).mean() < 1e-3
        np.testing.assert_allclose(old.nll[1:], new.nll[1:], atol=0.02)
    np.testing.assert_allclose(stored.arrays["kl"][:, 1:], again.arrays["kl"][:, 1:], atol=0.02)


def test_every_example_can_be_read(smollm2: LanguageModel) -> None:
    for example in EXAMPLES:
        tokens = smollm2.encode(example.text)
        assert "".join(tokens.pieces) == example.text
        assert len(tokens) > 150, "too short to show a policy at its default budget"
