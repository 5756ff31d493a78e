"""What the README shows runs as it stands there."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import fields
from functools import cache
from pathlib import Path

import pytest

import core
from core import LanguageModel, __main__, make_policy, replay
from core.measures.costs import perplexity
from core.store import TraceStore
from viz.api import api
from viz.page.limits import Limits
from viz.page.page import Page

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = [" ".join(found.split()) for found in re.findall(r"\bpython -m core [^`]*?--out\s\S+\w", README)]
SNIPPETS = [
    snippet
    for snippet in re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    if "kvpress" not in snippet  # tests/record/test_readme.py runs those
]


ADDRESS = "http://127.0.0.1:7860"  # of the app in the snippets; another may be there while the tests run


@pytest.fixture(scope="module", autouse=True)
def one_model() -> Iterator[None]:
    """A model that several of them load is loaded once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(core, "load_model", cache(core.load_model))
        patch.setattr(__main__, "load_model", core.load_model)
        yield


@contextmanager
def running_app(folder: Path) -> Iterator[str]:
    with Page(analytics_enabled=False) as page:
        api(TraceStore(folder / "runs"))
    yield page.launch(prevent_thread_lock=True, quiet=True)[1]
    page.close(verbose=False)


def test_there_are_snippets_and_commands() -> None:
    assert SNIPPETS
    assert [command.split()[3] for command in COMMANDS] == ["trace", "sweep", "evaluate", "trace"]


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_snippets_run(snippet: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with running_app(tmp_path) if ADDRESS in snippet else nullcontext(ADDRESS) as address:
        exec(compile(snippet.replace(ADDRESS, address), "README.md", "exec"), {})


def files_for(folder: Path) -> None:
    """What the commands read."""
    story = "The keeper lit the lamp, and the lamp lit the sea, and the sea kept what it was told. " * 3
    (folder / "story.txt").write_text(story, encoding="utf-8")
    (folder / "book.txt").write_text(story, encoding="utf-8")
    task = "You are given a story and a question. Answer the question in one word."
    asked = f"{task}\n\nStory:\n{story}\n\nQuestion:\nWho lit the lamp?\n\nAnswer:\n"
    example = {"id": "1", "input": asked, "output": "the keeper"}
    (folder / "validation.jsonl").write_text(json.dumps(example) + "\n", encoding="utf-8")


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_run(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As processes of their own, commands run in test_sweep.py and test_evaluate.py."""
    files_for(tmp_path)
    monkeypatch.chdir(tmp_path)
    *_, out = arguments = command.removeprefix("python -m core ").split()
    assert __main__.main(arguments) == 0
    assert (tmp_path / out).stat().st_size > 100


@pytest.mark.parametrize("policy", ["tova", "keydiff"])
def test_the_perplexities_told_are_those_of_the_engine(smollm2: LanguageModel, policy: str) -> None:
    told = re.search(rf"^\| `{policy}` \| ([\d.]+) \|", README, flags=re.MULTILINE)
    tokens = smollm2.encode((ROOT / "LICENSE").read_text(encoding="utf-8"))[:512]
    found = perplexity(replay(smollm2, tokens, make_policy(policy, 64)))
    # another processor rounds otherwise, which may turn over an eviction decided by a hair
    assert told and found == pytest.approx(float(told[1]), rel=0.02)


@pytest.mark.parametrize("limit", fields(Limits), ids=lambda limit: limit.name)
def test_every_limit_is_told_with_its_default(limit) -> None:
    flag, variable = f"--{limit.name.replace('_', '-')}", f"MULTI_STATE_{limit.name.upper()}"
    assert re.search(rf"\| `{flag}` \| `{variable}` \| [^|]+ \| {limit.default:,} \|", README)
