"""The paper's own sweep, to stand beside the user's: table 3 of Oren et al. 2024, arXiv 2401.06104 v2."""

import plotly.graph_objects as go

from core.experiments.records import BASELINE, FULL, Point
from viz.figures.figures import sweep_figure
from viz.words.lesson_words import Language
from viz.words.say import say

BUDGETS = (64, 128, 256, 512, 1024, 2048, 4096)
PERPLEXITIES = {
    BASELINE: (17.65, 12.97, 10.39, 8.92, 8.04, 7.50, 7.16),
    "tova": (9.53, 8.32, 7.71, 7.41, 7.25, 7.17, 7.16),
    "tova-head": (11.13, 9.55, 8.69, 7.90, 7.52, 7.27, 7.16),
    "h2o": (10.22, 8.97, 8.21, 7.75, 7.49, 7.32, 7.16),
    "window+i": (10.28, 8.98, 8.19, 7.73, 7.46, 7.30, 7.16),
    "window": (4812, 4025, 3276, 2185, 1001, 240, 7.16),
}
"""LLaMA-2-7B on PG-19, in windows of 4,096 tokens, where the full model has 7.16."""


def paper_sweep_figure(language: Language = "en") -> go.Figure:
    """The numbers of table 3, drawn as `sweep_figure` draws ours."""
    points = [Point(FULL, None, 0, 7.16, 0.0)]
    for policy, perplexities in PERPLEXITIES.items():
        points += [Point(policy, budget, 0, found, 0.0) for budget, found in zip(BUDGETS, perplexities, strict=True)]
    return sweep_figure(points, say(language, "The paper: LLaMA-2-7B on PG-19 (table 3)"), language)
