"""The paper's sweep beside ours."""

import numpy as np

from viz.figures.paper_sweep import BUDGETS, PERPLEXITIES, paper_sweep_figure


def test_all_numbers_of_the_table_are_drawn_and_all_curves_end_at_the_full_model() -> None:
    drawn = {line.name: np.asarray(line.y) for line in paper_sweep_figure().data}
    assert len(drawn) == len(PERPLEXITIES) + 1
    full = drawn.pop("Full model: 7.2")
    for perplexities in drawn.values():
        assert len(perplexities) == len(BUDGETS)
        assert perplexities[-1] == full[0] == 7.16
    assert drawn["TOVA"][0] == min(perplexities[0] for perplexities in drawn.values())
