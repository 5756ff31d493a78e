"""The catalogue has every text of ours in every language, and tells them in the language of whoever asks."""

import pickle
import re
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from string import Formatter

import pytest
from babel.messages.catalog import Catalog
from babel.messages.catalog import Message as Entry
from babel.messages.pofile import read_po

from core.errors import BadInput
from core.messages import Message, tokens
from tests.make_words import files, said
from viz.words import catalogue
from viz.words.catalogue import _, joined, language, ngettext, preferred, script_words, speaking, told

OF_LANGUAGES = pytest.mark.parametrize("file", files(), ids=lambda file: file.parts[-3])
ALL_SAID = cache(said)


def entries(file: Path) -> Catalog:
    with file.open("rb") as text:
        return read_po(text, locale=file.parts[-3])


def forms(entry: Entry) -> tuple[list[str], list[str]]:
    """The English of an entry, and its translations."""
    english = [entry.id] if isinstance(entry.id, str) else [*entry.id]
    return english, [entry.string] if isinstance(entry.string, str) else [*entry.string]


def holes(template: str) -> list[str]:
    return sorted(
        f"{name}!{conversion}:{form}" for _text, name, form, conversion in Formatter().parse(template) if name
    )


@OF_LANGUAGES
def test_a_catalogue_has_what_the_code_says_and_nothing_else(file: Path) -> None:
    words = entries(file)
    assert not words.obsolete and {entry.id for entry in words} == {entry.id for entry in ALL_SAID()}, "make words"
    for entry in words:
        assert not entry.fuzzy and all(forms(entry)[1]), f"not translated: {entry.id}"


@OF_LANGUAGES
def test_a_translation_has_the_holes_lines_and_headings_of_the_english(file: Path) -> None:
    for entry in filter(lambda entry: entry.id, entries(file)):
        english, others = forms(entry)
        for other in others:
            assert holes(other) == holes(english[-1]), entry.id
            assert other.count("\n") == english[0].count("\n"), entry.id
            assert re.match("#*", other)[0] == re.match("#*", english[0])[0], entry.id
            assert re.findall("<[a-z]+>", other) == re.findall("<[a-z]+>", english[0]) or "<i>" in english[0]


def test_no_text_is_joined_from_values_where_it_cannot_be_found(capfd: pytest.CaptureFixture[str]) -> None:
    ALL_SAID.cache_clear()
    ALL_SAID()
    assert "cannot be translated" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        *(
            ("zh-CN,zh;q=0.9,en;q=0.8", "zh_CN"),
            ("zh-TW", "zh_CN"),
            ("zh-HK,zh;q=0.9", "zh_CN"),
            ("ZH-hans-CN", "zh_CN"),
        ),
        *(("zh", "zh_CN"), ("fr, zh;q=0.5, en;q=0.3", "zh_CN"), ("fr,en;q=0.8,zh;q=0.5", "en"), ("en-GB", "en")),
        *(
            ("zh;q=0.2, en;q=0.8", "en"),
            ("de", "en"),
            ("", "en"),
            ("*", "en"),
            (";;q=,-", "en"),
            ("zhx", "en"),
            ("fr, zh; q=0.9", "zh_CN"),
            ("fr, zh;q=0.0", "en"),
        ),
    ],
)
def test_the_language_is_the_first_of_ours_that_a_browser_prefers(header: str, expected: str) -> None:
    assert preferred(header) == expected


def test_a_guess_is_shown_neither_by_python_nor_by_the_maps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "es" / "LC_MESSAGES" / "messages.po"
    file.parent.mkdir(parents=True)
    file.write_text(
        '#: viz/static/x.js\n#, fuzzy\nmsgid "Run"\nmsgstr "Corre"\n\n'
        '#: viz/static/x.js\nmsgid "Stop"\nmsgstr "Alto"\n',
        encoding="utf-8",
    )
    monkeypatch.setattr(catalogue, "LOCALES", tmp_path)
    with speaking("es"):
        assert [_("Run"), _("Stop")] == ["Run", "Alto"]
        assert script_words()["messages"] == {"Stop": "Alto"}


def test_it_is_spoken_within_and_nowhere_else() -> None:
    with ThreadPoolExecutor() as others, speaking("zh_CN"):
        assert _("Run") == "运行"
        assert others.submit(_, "Run").result() == "Run"
        with speaking("en"):
            assert (_("Run"), language()) == ("Run", "en")
        assert language() == "zh_CN"
    assert language() == "en"


def test_values_are_told_too_and_the_texts_of_users_are_not() -> None:
    message = Message("{name} must be a whole number from {least:,} to {most:,}.", name="Run", least=1, most=2000)
    ours = Message(message.template, **message.values | {"name": Message("budget")})
    assert message == "Run must be a whole number from 1 to 2,000."
    with speaking("zh_CN"):
        assert told(message) == "Run应是 1 到 2,000 之间的整数。"
        assert told(ours) == "预算应是 1 到 2,000 之间的整数。"
        assert told("Run") == "Run" and told(Message("Nobody has said this.")) == "Nobody has said this."
        assert _("Marked: {passage}", passage="{x} <b>") == "已标记：{x} <b>"
        assert _("Marked: {passage}", passage="مرحبا") == "已标记：\u2068مرحبا\u2069"


def test_numbers_take_the_form_of_the_language() -> None:
    assert [ngettext("{n:,} vote", "{n:,} votes", n) for n in (0, 1, 2000)] == ["0 votes", "1 vote", "2,000 votes"]
    assert [tokens(n) for n in (1, 2)] == ["1 token", "2 tokens"]
    with speaking("zh_CN"):
        assert ngettext("{n:,} vote", "{n:,} votes", 2000) == "2,000 票"
        assert told(tokens(1)) == "1 个词元"


def test_sentences_follow_each_other_as_the_language_does_it() -> None:
    assert joined(["One.", "Two.", "Three."]) == "One. Two. Three."
    with speaking("zh_CN"):
        assert joined(["一。", "二。"]) == "一。二。" and joined(["一。"]) == "一。"


def test_an_error_is_told_in_any_language_also_after_it_was_pickled() -> None:
    error = pickle.loads(pickle.dumps(BadInput("A window of {window:,} tokens is more than the {limit:,} of {model}.",
                                               window=5000, limit=4096, model="{x}")))  # fmt: skip
    assert str(error) == "A window of 5,000 tokens is more than the 4,096 of {x}."
    with speaking("zh_CN"):
        assert told(error.message) == "5,000 个词元的窗口超过了 {x} 的 4,096 个。"
    assert str(BadInput("{braces} stay as they are")) == "{braces} stay as they are"
