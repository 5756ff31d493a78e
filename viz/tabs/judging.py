"""Blind judging: which of two stories people, or a language model, prefer without knowing who wrote them."""

import uuid
from collections.abc import Iterator
from typing import Any

import gradio as gr

from core.errors import BadInput, UserError
from core.experiments.judge import Judge
from core.experiments.votes import Verdict, VoteStore, full_comes_first
from core.messages import Message
from viz.cards.card import CSS
from viz.cards.markup import note, status
from viz.cards.story_cards import pair_html
from viz.figures.tally import tally_figure
from viz.page.buttons import stopping
from viz.page.export import new_folder, table_file
from viz.page.models import QUIETLY
from viz.page.stored import Updates
from viz.words.catalogue import _, told
from viz.words.labels import fixed, later

WAITING = Message("Press “Next pair” to read two stories without knowing who wrote them.")
NO_PAIR = Message(
    "There is no pair that you have neither judged nor seen with its names. Write from several prompts at once, one "
    "per line: those stories are not shown above, so that you can judge them blind, too."
)
SAID = {
    "A": Message("You find A better."),
    "B": Message("You find B better."),
    "tie": Message("You find neither better."),
}


def judging(tab: gr.Tab, store: VoteStore, judge: Judge | None, voter: gr.BrowserState) -> None:
    """Two stories to choose between, the tally, and the judge that the environment names, if it does.

    Args:
        tab: in which this stands: opening it brings the tally up to date.
        store: of the stories and the votes.
        judge: a language model that may be asked.
        voter: the browser's id, made when the tab is first opened.
    """
    plot = _pairs(store, voter)
    if judge is not None:
        _asking(store, judge, plot)
    _export(store)

    def up_to_date(known: str) -> tuple[str, Any]:
        return known or uuid.uuid4().hex, tally_figure(store.tallies())

    tab.select(up_to_date, voter, [voter, plot], **QUIETLY)


def _pairs(store: VoteStore, voter: gr.BrowserState) -> gr.Plot:
    gr.Markdown(
        Message(
            "### Blind judging\n"
            "Two stories from the same prompt and seed: one by the full model, one by a policy. Which is better to "
            "read? The names come after your vote, and your first vote counts."
        )
    )
    shown = gr.State()
    stories = gr.HTML(later(lambda: note(told(WAITING))), css_template=CSS, elem_id="judge-pair")
    with gr.Row():
        a, tie, b = (
            gr.Button(label, interactive=False, elem_id=f"judge-{name}", min_width=90)
            for name, label in (("a", Message("A is better")), ("tie", Message("Tie")), ("b", Message("B is better")))
        )
        following = gr.Button(Message("Next pair"), variant="primary", elem_id="judge-next", min_width=110)
    line = gr.HTML(elem_id="judge-status")
    plot = gr.Plot(show_label=False, elem_id="judge-plot")

    def buttons(interactive: bool) -> Updates:
        return {each: gr.update(interactive=interactive) for each in (a, tie, b)}

    def next_pair(known: str) -> Updates:
        known = known or uuid.uuid4().hex
        try:
            pair = store.next_for(known)
            figure = tally_figure(store.tallies())
        except UserError as e:
            return {voter: known, line: status(e.message, "error"), **buttons(False)}
        html = note(told(NO_PAIR)) if pair is None else pair_html(pair, known)
        now = {voter: known, shown: None if pair is None else pair.id, stories: html, line: "", plot: figure}
        return now | buttons(pair is not None)

    def cast(answer: str, known: str, id_: str | None) -> Updates:
        if id_ is None:
            return buttons(False)
        try:
            pair = store.pair(id_)
            counted = store.vote(id_, known, verdict_of(answer, full_comes_first(id_, known)))
            figure = tally_figure(store.tallies())
        except UserError as e:
            return {shown: None, line: status(e.message, "error"), **buttons(False)}
        again = [_("You have judged this pair before: that counts.")]
        said = [SAID[answer], _("Your vote is stored.")] if counted else again
        html = pair_html(pair, known, named=True)
        return {shown: None, stories: html, line: status(said, "done"), plot: figure, **buttons(False)}

    filled = [shown, stories, line, plot, a, tie, b]
    following.click(next_pair, voter, [voter, *filled], **QUIETLY)
    for button, answer in ((a, "A"), (tie, "tie"), (b, "B")):
        button.click(
            lambda known, id_, answer=answer: cast(answer, known, id_),
            [voter, shown],
            filled,
            **QUIETLY,
        )
    return plot


def verdict_of(answer: str, full_is_a: bool) -> Verdict:
    """The policy's verdict, when a voter has answered A, B or tie."""
    if answer == "tie":
        return "tie"
    return "loss" if (answer == "A") == full_is_a else "win"


def _asking(store: VoteStore, judge: Judge, plot: gr.Plot) -> None:
    """Let the language model judge all pairs that it has not judged."""
    with gr.Row():
        ask = gr.Button(
            fixed(Message("Ask the judge ({model})", model=judge.model)), elem_id="judge-ask", min_width=240, scale=0
        )
        halt = gr.Button(Message("Stop the judge"), elem_id="judge-stop", min_width=170, scale=0)
    line = gr.HTML(elem_id="judge-progress")
    halted = gr.HTML(elem_id="judge-stopped")

    def run() -> Iterator[tuple[Any, Any]]:
        yield from run_judge(store, judge)

    asking = ask.click(
        run,
        None,
        [line, plot],
        api_visibility="private",
        show_progress="hidden",
        concurrency_id="judge",
        concurrency_limit=1,
    )
    stopping(ask, halt, asking, halted, Message("The verdicts so far are stored."))


def run_judge(store: VoteStore, judge: Judge) -> Iterator[tuple[Any, Any]]:
    """Status and figure, after each verdict."""
    silent, answers = 0, ""

    def line(message: str, kind: str = "info") -> str:
        unclear = _("{silent:,} without a verdict; the last answers: {answers}", silent=silent, answers=answers)
        return status([message, unclear] if silent else message, kind)

    try:
        waiting = store.without_verdict_of(judge.model)
        for i, id_ in enumerate(waiting):
            yield (
                line(_("The judge has read {done:,} of {all:,} pairs, each in both orders.", done=i, all=len(waiting))),
                gr.skip(),
            )
            try:
                pair = store.pair(id_)
            except BadInput:  # it has made room for a new one meanwhile
                continue
            judgement = judge.judge(pair)
            if judgement.verdict is None:
                silent += 1
                answers = " · ".join(judgement.answers)
                continue
            store.vote(id_, judge.model, judgement.verdict, judge=judge.model)
            yield gr.skip(), tally_figure(store.tallies())
        yield line(_("Done: {done:,} pairs judged.", done=len(waiting) - silent), "done"), gr.skip()
    except UserError as e:
        yield status(e.message, "error"), gr.skip()


def _export(store: VoteStore) -> None:
    button = gr.Button(Message("Export the votes"), elem_id="judge-export", min_width=180, scale=0)
    files = gr.Files(label=Message("All votes (.csv)"), elem_id="judge-files", visible=False, height=110)

    button.click(lambda: gr.update(value=[export_votes(store)], visible=True), None, files, **QUIETLY)


def export_votes(store: VoteStore) -> str:
    """Write all votes as votes.csv; returns its path."""
    path = new_folder() / "votes.csv"
    with table_file(path) as file:
        store.export(file)
    return str(path)
