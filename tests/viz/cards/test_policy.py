"""Every policy of the menu is explained: in a sentence, by a formula, with its source, in every language."""

import html
import re

import pytest

from core.policies import GROUPS, POLICIES, Oracle, Window
from viz.cards.policy import policies_html, policy_html
from viz.page.asked import KINDS
from viz.words.catalogue import speaking
from viz.words.policies import policy_traits

CHINESE = re.compile(r"[\u4e00-\u9fff]")


def test_the_menu_has_every_policy_once_and_your_own_last() -> None:
    assert KINDS.keys() == {*POLICIES, Oracle.key}
    assert next(iter(KINDS)) == "tova" and list(KINDS)[-1] == "own"
    assert sum(map(len, GROUPS.values())) == len(KINDS)


@pytest.mark.parametrize("key", KINDS)
def test_a_policy_has_a_sentence_a_formula_and_its_source(key: str) -> None:
    policy = KINDS[key]
    explained = policy.explanation
    assert explained is not None
    assert explained.sentence.endswith(".") and "importance" in explained.formula
    assert bool(explained.link) == (policy.paper != "ours")
    with speaking("zh_CN"):
        chinese = policy_html(policy)
    for page in (policy_html(policy), chinese):
        assert "*" not in html.unescape(page).partition("</details>")[0].replace("window+i", "")
        assert not re.search(r"_\w", re.sub(r'"_blank"', "", page.partition("</details>")[0]))
        assert "<i>j</i>" in page and page.count("<i>") == page.count("</i>")
        assert not explained.link or f'href="{explained.link}"' in page
    assert CHINESE.search(chinese) and not CHINESE.search(policy_html(policy))


def test_a_policy_that_explains_nothing_has_a_card_too(monkeypatch: pytest.MonkeyPatch) -> None:
    class Mine(Window):
        key, label, paper, explanation = "mine", "Mine", "ours", None

    monkeypatch.setitem(GROUPS, "By recency", (Window, Mine))
    page = policies_html(6, 64)
    assert '<option value="mine">Mine</option>' in page
    card = policy_html(Mine)
    assert "By recency · per layer" in card and "Source: ours" in card and 'class="formula"' not in card


def test_traits_say_what_a_policy_goes_by_and_who_decides() -> None:
    said = {key: policy_traits(policy) for key, policy in KINDS.items()}
    assert said["tova"] == "By attention · per layer" and said["window"] == "By recency · per layer"
    assert said["knorm"] == "By keys and values · per KV head" and said["own"] == "A mix of yours"
    assert said["full"] == "Forgets nothing" and said["oracle"] == "Knows the future · per layer"


def test_each_group_has_its_heading_at_its_first_policy() -> None:
    first = re.findall(r'<optgroup label="([^"]+)"><option value="([^"]+)"', policies_html(6, 64))
    assert {key: title for title, key in first} == {
        "tova": "By attention",
        "window": "By recency",
        "knorm": "By keys and values",
        "random": "To compare with",
        "own": "A mix of yours",
    }
