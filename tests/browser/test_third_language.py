"""A third language is one file: here a made-up one with accents on all vowels, and the page in it."""

import re
import shutil
from collections.abc import Callable, Iterator

import pytest
from babel.messages.catalog import Catalog
from babel.messages.pofile import write_po
from playwright.sync_api import Page, expect

from core.policies import POLICIES
from tests.make_words import said
from viz.words import catalogue

LANGUAGE = "eo"  # of none that Gradio has words of its own for

# Names, and the user's tokens, are the same in every language.
NAMES = re.compile(
    r"TOVA( per head)?|Window(\+i)?|Random|Oracle|smollm2-135m-instruct|SmolLM2( \w+ Instruct)?|English|Esperanto"
    r"|original|in-cache|log-gap|distinct|\w+ et al|arXiv|“[^”]*”|⟦Márkéd: [^⟧]*⟧",
    re.IGNORECASE,
)
POLICY_NAMES = {policy.label for policy in POLICIES.values()}
OF_GRADIO = {"Plot", "Radio", "or", "- or -", "Drop File Here", "Click to Upload"}
WORD = re.compile("(?=[a-z]*[aeiouy])[a-z]{2,}", re.ASCII | re.IGNORECASE)

# All texts that the page shows, and what the maps say when the pointer rests on something and to those who cannot see.
SHOWN = """() => {
    const others = ".rm-text > *, .rm-token, .text, style, script, textarea, .modebar, footer, .progress-text";
    const of = (element) => [
        ...(element.closest(".rm") ? [element.title, element.ariaLabel, element.ariaValueText] : []),
        ...Array.from(element.childNodes, node => node.nodeType === Node.TEXT_NODE ? node.data : ""),
    ];
    const elements = [...document.querySelectorAll(".gradio-container *")].filter(element => !element.closest(others));
    return [...new Set(elements.flatMap(of).filter(Boolean))];
}"""

ACCENTED = str.maketrans("aeiouyAEIOUY", "áéíóúýÁÉÍÓÚÝ")


def made_up(english: str) -> str:
    """The text in brackets, a heading still a heading, with an accent on every vowel outside of holes and tags."""
    parts = re.split(r"(\{[^}]*\}|<[^>]*>)", english)
    parts[::2] = [part.translate(ACCENTED) for part in parts[::2]]
    return re.sub("^(#* *)(.*)$", r"\1⟦\2⟧", "".join(parts), flags=re.DOTALL)


@pytest.fixture(scope="module", autouse=True)
def third_language(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The one file that a language is, beside those that are there."""
    locales = tmp_path_factory.mktemp("words") / "locales"
    shutil.copytree(catalogue.LOCALES, locales)
    words = Catalog(locale=LANGUAGE, fuzzy=False)
    for entry in filter(lambda entry: entry.id, said()):
        forms = tuple(map(made_up, entry.id)) if isinstance(entry.id, tuple) else made_up(entry.id)
        words.add(entry.id, forms, locations=entry.locations)
    file = locales / LANGUAGE / "LC_MESSAGES" / "messages.po"
    file.parent.mkdir(parents=True)
    with file.open("wb") as text:
        write_po(text, words)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalogue, "LOCALES", locales)
        yield


@pytest.fixture
def page(open_page: Callable[..., Page], whole_page: str) -> Page:
    page = open_page(whole_page, locale=LANGUAGE)
    expect(page.locator(".rm-number").first).to_have_text("325 / 325")
    return page


def left_in_english(page: Page) -> set[str]:
    """The texts with a word that has vowels and no accent, and is neither a name nor of Gradio."""
    return {
        text
        for text in map(str.strip, page.evaluate(SHOWN))
        if text not in OF_GRADIO | POLICY_NAMES and any(map(WORD.fullmatch, re.findall(r"\w+", NAMES.sub("", text))))
    }


def test_no_english_is_left_in_any_tab(page: Page) -> None:
    assert page.evaluate("document.documentElement.lang") == LANGUAGE
    left = {}
    for tab in range(page.get_by_role("tab").count()):
        page.get_by_role("tab").nth(tab).click()
        page.wait_for_timeout(700)
        left |= {tab: left_in_english(page)}
    assert not any(left.values()), left
