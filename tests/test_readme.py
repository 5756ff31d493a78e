"""What the README shows runs as it stands there."""

import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import fields
from pathlib import Path

import pytest

from core.trace_store import TraceStore
from viz.tabs.api import api
from viz.tabs.limits import Limits
from viz.tabs.page import Page

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


ADDRESS = "http://127.0.0.1:7860"  # of the app in the snippets; another may be there while the tests run


@contextmanager
def running_app(folder: Path) -> Iterator[str]:
    with Page(analytics_enabled=False) as page:
        api(TraceStore(folder / "runs"))
    yield page.launch(prevent_thread_lock=True, quiet=True)[1]
    page.close(verbose=False)


def test_there_is_a_snippet() -> None:
    assert SNIPPETS


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_snippets_run(snippet: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with running_app(tmp_path) if ADDRESS in snippet else nullcontext(ADDRESS) as address:
        exec(compile(snippet.replace(ADDRESS, address), "README.md", "exec"), {})


@pytest.mark.parametrize("limit", fields(Limits), ids=lambda limit: limit.name)
def test_every_limit_is_told_with_its_default(limit) -> None:
    flag, variable = f"--{limit.name.replace('_', '-')}", f"MULTI_STATE_{limit.name.upper()}"
    assert re.search(rf"\| `{flag}` \| `{variable}` \| [^|]+ \| {limit.default:,} \|", README)
