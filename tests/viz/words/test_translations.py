"""The page's fixed texts have a translation each, and no translation is left over."""

from collections.abc import Iterator
from pathlib import Path

import gradio as gr
import pytest
from gradio.components.api_component import Api
from gradio.i18n import I18nData

import app
from core import POLICIES
from core.store import TraceStore
from viz.tabs.lesson import LANGUAGES
from viz.words.lesson_words import LESSON_LABELS
from viz.words.translations import CHINESE, I18N, fixed_texts

# Names, what a browser translates itself, and what has its own way into two languages.
SAME_IN_BOTH = {
    *(policy.label for policy in POLICIES.values()),
    *(name for name, _ in LANGUAGES),
    *LESSON_LABELS["en"].values(),
    *("Oracle", "–", "original", "log-gap", "in-cache", "128", "256", "512", "1,024"),
}


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> gr.Blocks:
    folder: Path = tmp_path_factory.mktemp("page")
    return app.build(TraceStore(folder / "runs", 10), votes=folder / "votes.db")


def translated(page: gr.Blocks) -> Iterator[str]:
    for block in page.blocks.values():
        texts = [getattr(block, name, None) for name in ("label", "info", "value")]
        texts += [shown for shown, _ in getattr(block, "choices", None) or []]
        yield from (I18N.translations["en"][text.key] for text in texts if isinstance(text, I18nData))


def left_in_english(page: gr.Blocks) -> Iterator[str]:
    for block in page.blocks.values():
        if isinstance(block, gr.State | Api) or getattr(block, "show_label", True) is False:
            continue
        yield from (text for _, text in fixed_texts(block))
        yield from (shown for shown, _ in getattr(block, "choices", None) or [] if isinstance(shown, str))


def test_every_fixed_text_has_a_translation(page: gr.Blocks) -> None:
    assert set(left_in_english(page)) - SAME_IN_BOTH == set()


def test_every_translation_is_used(page: gr.Blocks) -> None:
    assert set(CHINESE) == {*translated(page), *app.TIPS.values()}


def test_the_tip_says_where_every_policy_is_from() -> None:
    for tip in (app.TIPS["policy"], app.CHINESE_TIPS["policy"]):
        lines = tip.splitlines()[1:]
        assert len(lines) == len(POLICIES)
        for line, policy in zip(lines, POLICIES.values(), strict=True):
            assert line.startswith(policy.label) and (policy.paper in line or policy.paper == "ours")


def test_both_languages_have_the_same_keys_and_no_empty_text() -> None:
    english, chinese = I18N.translations["en"], I18N.translations["zh-CN"]
    assert english.keys() == chinese.keys()
    assert all(english.values()) and all(chinese.values())


def test_no_value_is_taken_for_a_text(page: gr.Blocks) -> None:
    values = {value for block in page.blocks.values() for _, value in getattr(block, "choices", None) or []}
    values |= {value for block in page.blocks.values() if isinstance(value := getattr(block, "value", None), str)}
    assert "the run in Explore" in values
    assert values.isdisjoint(I18N.translations["en"]), "the browser would translate it and send back what nobody knows"


def test_headings_stay_headings() -> None:
    for english, chinese in CHINESE.items():
        marks = [text.split(" ")[0] if text.startswith("#") else "" for text in (english, chinese)]
        assert marks[0] == marks[1]
        assert english.count("\n") == chinese.count("\n")
        assert "}" not in english, "gradio would not find the end of the key"
