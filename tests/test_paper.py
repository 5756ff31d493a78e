"""The paper's numbers are those of its tables, stand in one place, and are drawn beside ours."""

import ast
import re
from pathlib import Path

import numpy as np

from core.experiments.records import LABELS
from core.measures import kinds, paper
from viz.figures.kinds import BESIDE
from viz.figures.sweep import paper_sweep_figure

ROOT = Path(__file__).parent.parent
CODE = [*(ROOT / "core").rglob("*.py"), *(ROOT / "viz").rglob("*.py"), ROOT / "app.py"]


def test_tables_are_read_off_right() -> None:
    assert paper.PERPLEXITIES["tova"][64] == 9.53 and paper.PERPLEXITIES["window"][2048] == 240
    assert {of_budget[4096] for of_budget in paper.PERPLEXITIES.values()} == {paper.FULL_PERPLEXITY} == {7.16}
    assert paper.PERPLEXITIES.keys() <= LABELS.keys()
    assert paper.LIVES["possessive ’s"] == {256: 1134, 512: 1393, 1024: 1736, 2048: 2061}
    assert paper.LIVES["average"] == {256: 249, 512: 481, 1024: 897, 2048: 1537}
    for curve in (*paper.LIVES.values(), *({-k: v for k, v in of.items()} for of in paper.PERPLEXITIES.values())):
        values = [curve[budget] for budget in sorted(curve)]
        assert values == sorted(values), "the larger the budget the longer tokens live and the lower perplexity"
    assert all(98 <= sum(shares) <= 102 for shares in paper.VERDICT_PERCENT.values())
    assert paper.STORY_LENGTHS["full", None] == paper.STORY_LENGTHS["tova", 1024] == 1566


def test_every_part_of_speech_stands_beside_one_of_our_kinds() -> None:
    assert set(BESIDE) <= {*kinds.KINDS, kinds.ALL_TOKENS}
    assert sorted(name for names in BESIDE.values() for name in names) == sorted(paper.LIVES)


def test_all_numbers_of_table_3_are_drawn() -> None:
    drawn = {line.name: np.asarray(line.y).tolist() for line in paper_sweep_figure().data}
    assert set(drawn.pop("Full model: 7.2")) == {7.16}
    assert drawn == {LABELS[policy]: list(of_budget.values()) for policy, of_budget in paper.PERPLEXITIES.items()}


TABLES = {
    *(value for of_budget in paper.PERPLEXITIES.values() for value in of_budget.values()),
    *(value for of_budget in paper.LIVES.values() for value in of_budget.values()),
    *paper.STORY_LENGTHS.values(),
}
SHARES = {
    "–".join(map(str, paper.RECENT_PERCENT)),
    *("/".join(map(str, row)) for row in paper.VERDICT_PERCENT.values()),
}


def found_in(file: Path) -> set[str | float]:
    """The paper's numbers in texts and in code; in code a short one may be something else, pixels say.

    In texts a number with a letter is something else, such as the size of a model.
    """
    written = {f"{number:.2f}" if isinstance(number, float) else f"{number:,}" for number in TABLES}
    written |= {text.replace(",", "") for text in written}
    found: set[str | float] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            found |= written.intersection(re.findall(r"\d+(?:[.,]\d+)*(?!\w)", node.value))
            found |= {shares for shares in SHARES if shares in node.value}
        elif isinstance(node, ast.Constant) and type(node.value) in (int, float) and node.value in TABLES:
            found |= {node.value} if isinstance(node.value, float) or node.value > 1000 else set()
    return found


def test_no_number_of_the_paper_stands_anywhere_else() -> None:
    here = ROOT / "core/measures/paper.py"
    assert {9.53, 4812, 1566} <= found_in(here)
    elsewhere = {str(file.relative_to(ROOT)): found for file in CODE if file != here and (found := found_in(file))}
    assert elsewhere == {}
