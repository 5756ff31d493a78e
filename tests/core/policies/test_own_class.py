"""A policy of one's own as Python evicts what its settings evict, also where the README has its example."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core import make_policy, presets, replay
from core.policies.own_class import NAME, class_of
from tests.conftest import text

ROOT = Path(__file__).parents[3]
SETTINGS: list[dict[str, Any]] = [
    *presets(6).values(),
    {},
    {"gamma": 7, "w_attention": 3, "w_recent": 2, "w_keys": 4, "n_sink": 2, "n_recent": 3, "per_head": 1},
    {"gamma": 93, "w_attention": 1, "w_recent": 0, "w_keys": 1, "n_recent": 1},
    {"w_attention": 0, "w_recent": 1, "w_keys": 2, "n_sink": 1},
    {"gamma": 0, "w_attention": 10, "w_recent": 10, "per_head": 1},
]


def made(settings: dict[str, Any]) -> type:
    names: dict[str, Any] = {"__name__": "pasted"}
    exec(class_of(make_policy("own", 6, **settings)), names)
    return names[NAME]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("name", ["llama-gqa", "gpt2"])
def test_the_class_evicts_what_the_settings_evict(tiny, name, settings):
    lm, ids = tiny(name).lm, text(name)
    own, mine = make_policy("own", 6, **settings), made(settings)(budget=6)
    assert (mine.scope, mine.reads_attention, mine.reads_rows) == (own.scope, own.reads_attention, own.reads_rows)
    for options in ({"chunk": 1}, {"chunk": 7, "every": 3}, {"prefill": "one-shot"}):
        expected, found = replay(lm, ids, own, **options), replay(lm, ids, mine, **options)
        np.testing.assert_array_equal(found.evicted_at, expected.evicted_at)
        for what in ("importance_at_eviction", "runner_up_importance", "nll"):
            np.testing.assert_allclose(getattr(found, what), getattr(expected, what), atol=2e-5)


def test_the_class_can_be_pasted_into_the_example_of_the_readme():
    snippets = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.DOTALL)
    (example,) = (snippet for snippet in snippets if "(Policy):" in snippet)
    own = make_policy("own", 4, n_sink=1)
    with_ours = re.sub(r"@dataclass.*?(?=^lm = )", lambda _: class_of(own), example, flags=re.DOTALL | re.MULTILINE)
    pasted = re.sub(r"\w+\(budget=4\)", f"{NAME}(budget=4)", with_ours)
    names: dict[str, Any] = {"__name__": "pasted"}
    exec(pasted, names)
    expected = replay(names["lm"], names["trace"].tokens, own)
    np.testing.assert_array_equal(names["trace"].evicted_at, expected.evicted_at)


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_the_class_is_written_as_the_rest_of_the_code(settings):
    command = [sys.executable, "-m", "ruff", "format", "--diff", "--config", str(ROOT / "pyproject.toml"), "-"]
    code = class_of(make_policy("own", 6, **settings))
    subprocess.run(command, input=code, text=True, check=True, cwd=ROOT)
