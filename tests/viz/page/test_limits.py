"""What one person may ask for, and what everybody is told who asks for more."""

import argparse
import json
import logging
from dataclasses import fields, replace
from pathlib import Path

import gradio as gr
import pytest

from core.errors import BadInput, TextTooLong
from tests.pages import values_of
from tests.writers import writer_model
from viz.page import limits, models
from viz.page.asked import Asked, Chosen
from viz.page.limits import Limits, add_limits
from viz.page.models import ResidentModels
from viz.page.runs import a_run
from viz.page.uploads import text_of
from viz.tabs.budget import BudgetLens

TEXT = " ".join(f"w{i % 90}" for i in range(60))


@pytest.fixture
def model(tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    name = writer_model(tiny("llama-gqa").directory, tmp_path / "model")
    monkeypatch.setattr(models, "resident", ResidentModels((name,)))
    return name


def limit(monkeypatch: pytest.MonkeyPatch, **others: int) -> None:
    monkeypatch.setattr(limits, "current", replace(limits.current, **others))


def swept(model: str, text: str = TEXT, budgets: str = "4, 8") -> list[dict[str, str]]:
    """What a sweep of TOVA and Window has shown, by the names of the outputs."""
    with gr.Blocks():
        lens = BudgetLens()
    names = {
        component: name for name, component in vars(lens).items() if isinstance(component, gr.components.Component)
    }
    values = values_of(Asked(model, text, (Chosen("tova", 64), Chosen("window", 64))))
    sweep = a_run("budget", lens.status, lens.sweep)
    return [{names[component]: value for component, value in updates.items()} for updates in sweep(budgets, *values)]


def logged(caplog: pytest.LogCaptureFixture) -> dict:
    return json.loads(caplog.records[-1].getMessage())


def chosen(*arguments: str) -> Limits:
    parser = argparse.ArgumentParser()
    add_limits(parser)
    return Limits.chosen(parser.parse_args(arguments))


def test_flags_win_over_the_environment_and_this_over_the_defaults(monkeypatch, capsys):
    assert chosen() == Limits()
    monkeypatch.setenv("MULTI_STATE_MAX_TOKENS", "5")
    monkeypatch.setenv("MULTI_STATE_MAX_BUDGET", "6")
    assert chosen("--max-tokens", "7") == replace(Limits(), max_tokens=7, max_budget=6)
    for wrong in ("0", "-1", "many", ""):
        monkeypatch.setenv("MULTI_STATE_MAX_SECONDS", wrong)
        with pytest.raises(SystemExit):
            chosen()
        assert "--max-seconds" in capsys.readouterr().err


def test_the_page_states_every_limit():
    each = {limit.name: 1001 + i for i, limit in enumerate(fields(Limits))}
    stated = " ".join(Limits(**each).sentences())
    assert all(f"{value:,}" in stated for value in each.values())


@pytest.mark.parametrize(
    ("name", "check", "kind"),
    [
        ("max_characters", lambda of, n: of.check_text("x" * n), TextTooLong),
        ("max_tokens", lambda of, n: of.check_tokens(n), TextTooLong),
        ("max_new_tokens", lambda of, n: of.check_new_tokens(n), BadInput),
        ("max_budget", lambda of, n: of.check_budgets([1, n]), BadInput),
    ],
)
def test_what_is_past_a_limit_is_refused_with_the_limit_and_the_remedy(name, check, kind):
    of = replace(Limits(), **{name: 1234})
    check(of, 1234)
    flag = "--" + name.replace("_", "-")
    with pytest.raises(kind, match=rf"1,235 .* at most 1,234 .*{flag}"):
        check(of, 1235)


def test_a_file_is_measured_before_it_is_read_and_no_other_kind_is_opened(tmp_path, monkeypatch):
    limit(monkeypatch, max_upload_mb=1)
    file = tmp_path / "text.txt"
    file.write_bytes(b"\xff" * 1_100_000)  # read, it would be refused for not being UTF-8
    with pytest.raises(BadInput, match=r"1\.1 MB .* at most 1 .*--max-upload-mb"):
        text_of(str(file))
    (tmp_path / "text.html").write_text("a text")
    with pytest.raises(BadInput, match=r"not a \.txt"):
        text_of(str(tmp_path / "text.html"))


def test_a_long_text_is_refused_before_its_model_is_loaded_and_nothing_is_lost(monkeypatch, caplog):
    caplog.set_level(logging.INFO, "multi_state")
    limit(monkeypatch, max_characters=10)
    (refused,) = swept("no such model", text="eleven char")
    assert list(refused) == ["status"] and "at most 10" in refused["status"] and "error" in refused["status"]
    assert logged(caplog)["outcome"] == "refused"


def test_a_run_leaves_one_line_without_the_text(model, caplog):
    caplog.set_level(logging.INFO, "multi_state")
    steps = swept(model)
    line = logged(caplog)
    assert "Done" in steps[-1]["status"]
    assert line["tab"] == "budget" and line["model"] == model and line["outcome"] == "done"
    assert line["policies"] == ["tova", "tova", "window", "window"] and line["budgets"] == [4, 8, 4, 8]
    assert line["tokens"] == 7 * 59 and line["seconds"] > 0
    assert "w17" not in caplog.text


def test_a_run_past_its_time_ends_with_what_there_is(model, monkeypatch, caplog):
    caplog.set_level(logging.INFO, "multi_state")
    whole = swept(model)
    limit(monkeypatch, max_seconds=0)
    steps = swept(model)
    assert len(steps) < len(whole)
    assert "Stopped after 0 seconds" in steps[-1]["status"] and "--max-seconds" in steps[-1]["status"]
    assert logged(caplog)["outcome"] == "stopped"


def test_an_error_of_ours_is_told_by_a_number_and_its_traceback_is_in_the_log(model, caplog):
    caplog.set_level(logging.INFO, "multi_state")
    models.language_model(model).model.lm_head = None
    (*_, last) = swept(model)
    reference = last["status"].split("Reference ")[1][:6]
    assert "NoneType" not in last["status"] and "Traceback" not in last["status"]
    assert logged(caplog)["outcome"] == "failed"
    (error,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert reference in error.getMessage() and error.exc_info[1] is not None
