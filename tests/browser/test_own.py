"""A policy of one's own on a card: presets, the formula as it stands, the policy as Python; and what a menu says."""

import re
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from playwright.sync_api import Locator, Page, expect

import app
import core
from core.policies.own_class import class_of
from core.store import TraceStore
from tests.browser.lenses import choose
from tests.browser.runs import begin, says
from tests.writers import writer_model
from viz.page import models
from viz.page.asked import shown
from viz.page.models import ResidentModels
from viz.templates import static

TEXT = " ".join(f"w{i % 7 + i % 3}" for i in range(60))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> TraceStore:
    return TraceStore(tmp_path_factory.mktemp("own") / "runs", 10)


@pytest.fixture(scope="module")
def address(
    serve: Callable[..., str], store: TraceStore, tiny: Callable, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("app")
    model = writer_model(tiny("llama-gqa").directory, folder / "model")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "resident", ResidentModels((model,)))
        page = app.build(store, model, votes=folder / "votes.db")
        yield serve(page, theme=app.THEME, css=static("page.css"))


@pytest.fixture
def page(open_page: Callable[..., Page], address: str) -> Page:
    page = open_page(address)
    expect(page.locator("body.settled")).to_be_attached()
    choose(page, 1, "Your own")
    expect(formula(page)).to_have_text("importance = 5 · R(attention, γ 50 %) + 2 · R(position); the layer decides")
    return page


def formula(page: Page) -> Locator:
    return page.locator(".formula.now")


def begin_with(page: Page, preset: str) -> None:
    page.get_by_role("group", name="Begin with").get_by_role("button", name=preset, exact=True).click()


def slide(page: Page, setting: str, presses: int) -> None:
    slider = page.get_by_role("slider", name=setting)
    slider.focus()
    for _press in range(presses):
        slider.press("ArrowRight")


def number(page: Page, setting: str) -> Locator:
    return page.get_by_role("spinbutton", name=setting)


def test_the_formula_follows_sliders_and_presets_also_as_python_and_with_that_of_h2o_evicts_what_h2o_evicts(
    page: Page, store: TraceStore
) -> None:
    code = page.locator(".class pre")
    page.get_by_text("As Python").click()
    expect(code).to_have_text(class_of(core.make_policy("own", 64)))
    slide(page, "Weight of short keys", 3)
    expect(formula(page)).to_contain_text("+ 2 · R(position) + 3 · R(short key);")
    for preset, expected in {
        "TOVA": "importance = 1 · R(attention, γ 0 %); the layer decides",
        "Window": "importance = 1 · R(position); the layer decides",
        "Window+i": "importance = 1 · R(position); first 4 spared; the layer decides",
    }.items():
        begin_with(page, preset)
        expect(formula(page)).to_have_text(expected)
    expect(code).to_have_text(class_of(core.make_policy("own", 64, **core.presets(64)["window+i"])))
    number(page, "First tokens spared").fill("64")
    expect(code).to_contain_text("leave no room for others in a budget of 64")
    begin_with(page, "Knorm")
    expect(formula(page)).to_have_text("importance = 1 · R(short key); each KV head decides")
    number(page, "Weight of short keys").fill("0")
    expect(formula(page)).to_have_text("importance = give one of them a weight; each KV head decides")
    begin(page.locator("#run"), page.locator("#status"))
    expect(says(page.locator("#status"))).to_contain_text("All weights are zero")

    page.locator("#budget-1").fill("9")
    expect(page.locator("#budget-3")).to_have_value("9")
    begin_with(page, "H2O")
    expect(formula(page)).to_have_text("importance = 1 · R(attention, γ 100 %); last 4 spared; each KV head decides")
    expect(number(page, "Last rows spared")).to_have_value("4")
    page.locator("#text textarea").fill(TEXT)
    begin(page.locator("#run"), page.locator("#status"))
    expect(says(page.locator("#status"))).to_contain_text("Done")
    names, notes = page.locator(".rm-name:visible"), page.locator(".rm-note:visible")
    expect(names).to_have_text(["Your own, budget 9", "H2O, budget 9", "Window, budget 9"])
    own, h2o, window = notes.all_inner_texts()
    assert own == h2o != window
    evicted = [trace.evicted_at for trace in shown(store.get(re.search(r"trace=(\w+)", page.url)[1]))]
    np.testing.assert_array_equal(evicted[0], evicted[1])


def test_a_menu_has_its_groups_a_card_tells_how_its_policy_decides_and_two_of_ones_own_do_not_disturb_each_other(
    page: Page,
) -> None:
    menu = page.locator("#policy-2")
    assert menu.locator("optgroup", has_text="Knorm").get_attribute("label") == "By keys and values"
    menu.select_option(label="Knorm")
    cards = page.locator(".card")
    told = cards.nth(1).locator(".how")
    expect(told.locator("summary")).to_contain_text("By keys and values · per KV head")
    expect(told.get_by_text("the longest key")).to_be_hidden()
    told.locator("summary").click()
    expect(told.get_by_text("the longest key")).to_be_visible()
    expect(told.locator(".formula")).to_have_text("importance(j) = −‖kj‖")
    expect(told.get_by_role("link")).to_have_attribute("href", "https://arxiv.org/abs/2406.11430")

    choose(page, 3, "Your own")
    cards.nth(2).get_by_role("button", name="Knorm").click()
    expect(formula(page).nth(1)).to_have_text("importance = 1 · R(short key); each KV head decides")
    expect(formula(page).first).to_contain_text("5 · R(attention, γ 50 %)")
    page.locator("#remove-1").click()
    expect(formula(page)).to_have_text(["importance = 1 · R(short key); each KV head decides"])
