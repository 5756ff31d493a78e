"""The figures of what survives show the numbers they claim to show, and take no markup from a token."""

import base64
import io
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from core.errors import BadInput
from core.measures import kinds, survival
from core.measures.overlap import layer_overlap
from core.policies import POLICIES, make_policy, settings_of
from core.trace import NEVER
from tests.core.measures.test_survival import BY_HAND, full_of, window_of
from tests.traces import HOSTILE, random_trace, tokens_of, trace_of
from viz.cards.lives import lives_html
from viz.figures.early_tokens import early_figure, early_layers_figure
from viz.figures.kinds import kinds_figure, paper_budget
from viz.figures.lives import small_lives
from viz.figures.overlap import head_overlap_figure, layer_overlap_figure, trace_overlap_figure
from viz.figures.recency import age_figure, recency_by_layer_figure, recency_figure
from viz.figures.style import POLICY_COLOURS, colours_of, run_names
from viz.figures.survival import survival_figure, survival_layers_figure
from viz.words.run_sentence import first_token_kept, run_sentence

TWO = [random_trace(1), replace(random_trace(2, budget=12), tokens=random_trace(1).tokens)]
OF_RUNS = [
    recency_figure,
    recency_by_layer_figure,
    age_figure,
    early_figure,
    survival_figure,
    kinds_figure,
    trace_overlap_figure,
]
OF_ONE_RUN = [
    early_layers_figure,
    survival_layers_figure,
    layer_overlap_figure,
    lambda trace: head_overlap_figure(trace, 0),
]


def values(figure, index: int = 0, axis: str = "y") -> np.ndarray:
    return np.asarray(figure.data[index][axis], float)


def names(figure) -> list[str]:
    return [trace.name for trace in figure.data]


def test_lines_are_the_measures() -> None:
    recency = recency_figure(TWO)
    assert names(recency) == ["TOVA, budget 8", "TOVA, budget 12", "the paper: 73–76 %"]
    assert values(recency, 1, "x").tolist() == list(range(12, 40))
    assert values(recency, 1) == pytest.approx(survival.recent_share(TWO[1])[:, 12:].mean(axis=0))
    by_layer = recency_by_layer_figure(TWO)
    assert values(by_layer) == pytest.approx(survival.mean_recent_share(TWO[0]))
    assert values(early_figure(TWO), 1) == pytest.approx(survival.early_steps_kept(TWO[1]).mean(axis=0))
    assert values(survival_figure(TWO)) == pytest.approx(survival.survival(TWO[0]).overall, nan_ok=True)


def test_a_single_run_shows_the_span_of_its_layers() -> None:
    share = survival.recent_share(TWO[0])[:, 8:]
    span = values(recency_figure(TWO[:1]))
    assert span.max() == share.max() and span.min() == share.min()


def test_at_once_the_budget_the_ages_give_the_recency() -> None:
    figure = age_figure([TWO[0]])
    x, y = values(figure, 0, "x"), values(figure)
    assert y[x == 1] == pytest.approx(survival.mean_recent_share(TWO[0]).mean())
    assert names(figure) == ["TOVA, budget 8", "Window, any budget"]
    own, windows = age_figure([window_of(40, 8)]).data
    assert np.interp(np.asarray(own.x), windows.x, windows.y)[:17] == pytest.approx(np.asarray(own.y)[:17])


def test_early_tokens_have_their_names() -> None:
    figure = early_figure([BY_HAND])
    assert figure.data[0].x[1] == "“ harbour” 1"
    assert list(early_figure([BY_HAND, TWO[0]]).data[0].x) == [0, 1, 2, 3, 4]
    by_layer = early_layers_figure(BY_HAND)
    assert by_layer.layout.title.text == "TOVA, budget 2<br>the first tokens, by layer"
    assert by_layer.data[0].x[1] == "“ harbour” 1"
    assert np.asarray(by_layer.data[0].z).tolist() == [[5, 1, 1, 1, 1], [2, 2, 3, 1, 1]]


def test_a_run_in_a_sentence() -> None:
    assert run_sentence(BY_HAND) == (
        "TOVA, budget 2: first token kept to the end in 1 of 2 layers; 67% of the rows kept are recent; half of the "
        "tokens are gone after 1 steps."
    )
    assert run_sentence(full_of(5)) == "Full: nothing had to be evicted."
    assert first_token_kept(random_trace(1, groups=2)).endswith("of 6 KV heads")


def test_runs_of_one_name_are_numbered() -> None:
    assert run_names(TWO) == ["TOVA, budget 8", "TOVA, budget 12"]
    assert run_names([BY_HAND, TWO[1], BY_HAND]) == [
        "1: TOVA, budget 2",
        "2: TOVA, budget 12",
        "3: TOVA, budget 2",
    ]


def test_kinds_stand_beside_the_papers_nearest_budget() -> None:
    figure = kinds_figure([BY_HAND])
    bars, paper = figure.data
    assert list(bars.y) == [kinds.FUNCTION_WORD, kinds.ALL_TOKENS, kinds.OTHER_WORD, kinds.COMMA]
    assert list(bars.x) == [2.25, 1.8, 1.75, 1.0]
    assert paper.name == "the paper, budget 256" and "tables 2 and 5" in paper.hovertemplate
    assert dict(zip(paper.customdata, paper.x, strict=True))["comma"] == 236
    assert [paper_budget(budget) for budget in (1, 370, 700, 9999)] == [256, 512, 512, 2048]
    assert len(kinds_figure([full_of(5)]).data) == 1


@pytest.mark.parametrize("groups", [1, 2])
def test_small_lives_show_every_step(groups: int) -> None:
    trace = random_trace(3, groups=groups)
    lives = small_lives(trace)
    assert lives.shape == (3, 40, 40)
    for step in range(len(trace)):
        share = trace.kept(step).mean(axis=1)
        assert (lives[:, step, : step + 1] == 1 + np.rint(100 * np.sqrt(share[:, : step + 1]))).all()
        assert (lives[:, step, step + 1 :] == 0).all()


def pictures(page: str) -> list[Image.Image]:
    return [Image.open(io.BytesIO(base64.b64decode(data))) for data in re.findall(r'base64,([^"]+)"', page)]


def test_small_lives_are_pictures_of_what_is_kept() -> None:
    page = lives_html(BY_HAND, opened=1)
    first, second = pictures(page)
    blue, grey, nothing = (31, 131, 184, 255), (128, 128, 128, 77), (0, 0, 0, 0)
    # after step 2: layer 0 holds the tokens 0 and 2, layer 1 holds 1 and 2
    assert [first.getpixel((x, 2)) for x in range(5)] == [blue, grey, blue, nothing, nothing]
    assert [second.getpixel((x, 2)) for x in range(5)] == [grey, blue, blue, nothing, nothing]
    assert re.findall(r'data-layer="(\d)" aria-pressed="(\w+)"', page) == [("0", "false"), ("1", "true")]
    assert '<line x1="0" y1="2" x2="3" y2="5"/>' in page and "<line" not in lives_html(full_of(5), 0)


def test_small_lives_of_a_long_run_stay_small_and_true() -> None:
    n, layers = 3000, 32
    window = window_of(n, 500).evicted_at
    trace = trace_of(np.tile(window, (layers, 1, 1)), ("x",) * n, "window", 500)
    assert len(lives_html(trace, 0)) < 500_000
    life = small_lives(trace)[9]
    side = len(life)
    assert side * side * layers <= 600_000
    row, column = (side * np.array([2000, 1800]) / n).astype(int)
    assert life[row, column] == 101  # 200 steps ago
    assert life[row, side * 1000 // n] == 1  # 1,000 steps ago
    assert life[row, side * 2500 // n] == 0  # not yet read


def test_overlaps_are_the_measures() -> None:
    assert np.asarray(layer_overlap_figure(TWO[0]).data[0].z) == pytest.approx(layer_overlap(TWO[0]), rel=1e-6)
    figure = trace_overlap_figure(TWO)
    assert figure.layout.xaxis.ticktext == ("TOVA<br>budget 8", "TOVA<br>budget 12")
    with pytest.raises(BadInput):
        trace_overlap_figure([TWO[0], BY_HAND])


@pytest.mark.parametrize("figure", [*OF_RUNS, *(lambda ts, f=f: f(ts[0]) for f in OF_ONE_RUN)])
def test_figures_take_no_markup_from_a_run_and_stand_any(figure) -> None:
    pieces = (*HOSTILE, *HOSTILE)
    hostile = trace_of([[[NEVER] * len(pieces)]], pieces, budget=20)
    hostile = replace(hostile, policy=replace(hostile.policy, label="<img src=x>"))
    for trace in (hostile, replace(full_of(14), tokens=tokens_of(pieces)), trace_of([[[NEVER]]], ("<b>",))):
        text = json.dumps(json.loads(figure([trace]).to_json())["data"]) + json.dumps(figure([trace]).layout.title.text)
        assert "<img" not in text and "<b>" not in text and "</script" not in text


def test_figures_are_transparent_for_light_and_dark_pages() -> None:
    made = [figure(TWO) for figure in OF_RUNS] + [figure(TWO[0]) for figure in OF_ONE_RUN]
    assert {figure.layout.paper_bgcolor for figure in made} == {"rgba(0,0,0,0)"}


@pytest.mark.parametrize("figure", OF_RUNS)
def test_any_number_of_runs(figure) -> None:
    many = [TWO[0]] * 12
    assert len(figure(many).data) >= 1


def test_a_policy_has_one_colour_in_all_figures() -> None:
    runs = [replace(random_trace(1), policy=settings_of(make_policy(key, 8))) for key in ("window", "tova")]
    assert colours_of(runs) == [POLICY_COLOURS["window"], POLICY_COLOURS["tova"]]
    assert colours_of(runs[::-1]) == colours_of(runs)[::-1]
    twice = colours_of([runs[0], runs[0], runs[1]])
    assert len(set(twice)) == 3
    assert POLICY_COLOURS.keys() >= POLICIES.keys()
