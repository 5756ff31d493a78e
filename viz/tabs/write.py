"""Write: stories of several policies side by side, and which of them people prefer without knowing the names."""

import time
from collections.abc import Generator, Iterator
from functools import partial
from os import PathLike
from typing import Any

import gradio as gr

import core
from core.errors import BadInput
from core.experiments.judge import judge_from
from core.experiments.stories import Lengths, Telling, length_table
from core.experiments.votes import LONGEST_PROMPT, VoteStore, pairs_of
from core.messages import Message
from core.policies import make_policy
from core.texts import without_mark
from viz.cards.card import CSS
from viz.cards.markup import note, status
from viz.cards.story_cards import telling_html
from viz.figures.tables import table_in
from viz.page import limits
from viz.page.buttons import starting, stopping
from viz.page.contenders import contenders, pairs
from viz.page.models import QUIETLY
from viz.page.number_table import number_table
from viz.page.runs import LoggedRun, a_run
from viz.page.to_try import texts_to_try
from viz.tabs.judging import judging
from viz.words.catalogue import _
from viz.words.labels import later
from viz.words.policies import policy_name

PROMPTS: dict[str, str] = {
    Message("The lighthouse"): "Write a story about a lighthouse keeper who finds a letter in a bottle.",
    Message("The baker"): "Write a story about a baker whose bread makes people remember their childhood.",
    Message("Two robots"): "Write a story about two robots who are lost in a library at night.",
    Message("The crow"): "Write a story about a girl who teaches a crow to tell the time.",
}
MOST_PROMPTS = 100  # as many as the paper has
TOP_P = 0.95
COLUMNS = (
    *("policy", "stories", "mean length", "ended by themselves", "distinct-1", "distinct-2", "distinct-3"),
    *("differ from full", "from token (median)", "paper: length"),
)


def write_tab(tab: gr.Tab, model: gr.Dropdown, votes: str | PathLike[str]) -> None:
    """Stories of several policies from one seed, side by side; below them, blind judging.

    Args:
        tab: in which this stands: opening it brings the tally up to date.
        model: the menu of models.
        votes: the file in which stories and votes are stored, see `VoteStore`.

    Raises:
        VotesUnavailable: that file cannot be used.
        BadInput: the environment names a judge only by half.
    """
    store, judge = VoteStore(votes), judge_from()
    # Under a fixed key, and a fixed secret, which is none: a browser keeps its id when the app starts again.
    voter = gr.BrowserState("", storage_key="multi-state-voter", secret="multi-state")
    _writing(model, store, voter)
    judging(tab, store, judge, voter)


def _writing(model: gr.Dropdown, store: VoteStore, voter: gr.BrowserState) -> None:
    gr.Markdown(
        Message(
            "### What does it write when it forgets?\n"
            "Every policy writes from what it remembers, beside the full model, which forgets nothing. At every "
            "token all of them draw with the same random numbers, so what differs comes from forgetting alone."
        )
    )
    with gr.Row():
        with gr.Column(scale=3, min_width=320):
            prompts = gr.Textbox(
                PROMPTS["The lighthouse"],
                label=Message("Story prompt; several, one per line, give the table of lengths"),
                lines=3,
                max_lines=8,
                elem_id="write-prompts",
            )
        with gr.Column(scale=2, min_width=300):
            texts_to_try(
                Message("Prompts to try"), PROMPTS | {Message("All four"): "\n".join(PROMPTS.values())}, prompts
            )
    chosen = contenders("write", ["tova", "window+i", "window"], 64)
    most = limits.current.max_new_tokens
    with gr.Row():
        length = gr.Slider(
            min(16, most),
            most,
            value=min(160, most),
            step=1,
            label=Message("Longest story, in tokens"),
            elem_id="write-length",
        )
        temperature = gr.Slider(
            0,
            1.5,
            value=0.8,
            step=0.05,
            label=Message("Temperature (0: always the likeliest)"),
            elem_id="write-temperature",
        )
        seed = gr.Number(
            0, label=Message("Seed"), minimum=0, maximum=999_999, precision=0, elem_id="write-seed", min_width=90
        )
        with gr.Column(min_width=220), gr.Row():
            run_button = gr.Button(Message("Run"), variant="primary", elem_id="write-run", min_width=90)
            stop_button = gr.Button(Message("Stop"), elem_id="write-stop", min_width=90)
    line = gr.HTML(later(lambda: status(_("Choose policies and press Run."))), elem_id="write-status")
    halted = gr.HTML(elem_id="write-stopped")
    cards = gr.HTML(css_template=CSS, elem_id="write-stories")
    gr.Markdown(
        Message(
            "### Lengths and repetition\n"
            "Lengths are in tokens. *distinct-n* is the share of a story's runs of n tokens that are different ones: "
            "the lower, the more it repeats itself; it falls with the length, so compare stories of about the same "
            "length. The paper's lengths are of a 13B model and 100 prompts."
        )
    )
    table = number_table(COLUMNS, "write-table")
    gr.on(fn=lambda: table_in(COLUMNS, []), outputs=table, concurrency_limit=None, **QUIETLY)

    @a_run("write", outputs=3, line=0)
    def run(record: LoggedRun, *inputs: Any) -> Generator[tuple[Any, Any, Any]]:
        yield from run_write(record, store, *inputs)

    running = starting(
        run_button,
        run,
        [voter, model, prompts, length, temperature, seed, *chosen],
        [line, cards, table],
        line,
    )
    stays = Message("What has been written stays; only finished stories can be judged.")
    stopping(run_button, stop_button, running, halted, stays)


def run_write(
    run: LoggedRun,
    store: VoteStore,
    voter: str,
    model: str,
    prompts: str,
    length: int,
    temperature: float,
    seed: int | None,
    *chosen: Any,
) -> Iterator[tuple[Any, Any, Any]]:
    """Write the stories and store them for judging: status, cards, table of lengths."""
    skip, started = gr.skip(), time.monotonic()
    sampling: dict[str, Any] = {"max_new_tokens": int(length), "temperature": float(temperature), "top_p": TOP_P}
    finished: list[Telling] = []
    limits.current.check_text(prompts)
    limits.current.check_new_tokens(int(length))
    lines = prompts_in(prompts)
    policies = [make_policy(key, budget) for key, budget in pairs(chosen)]
    yield status(_("Loading the model …")), skip, skip
    run.under(policies)
    alone = len(lines) == 1
    if not alone:
        yield skip, note(_("A batch of stories is not shown here, so that you can judge it blind, below.")), skip
    writing = partial(core.experiments.writing.iter_stories, seed=int(seed or 0), **sampling)
    for report in run.using(model, writing, lines, policies):
        run.tokens = max(run.tokens, report.done)
        done: dict[str, Any] = {"done": report.done, "most": report.max_new_tokens}
        if alone:
            doing = _("Writing: {done:,} of at most {most:,} tokens", **done)
        else:
            done |= {"prompt": report.prompt + 1, "prompts": len(lines)}
            doing = _("Prompt {prompt} of {prompts}: {done:,} of at most {most:,} tokens", **done)
        yield status(doing), telling_html(report.telling, report.finished) if alone else skip, skip
        if report.finished:
            finished.append(report.telling)
            yield skip, skip, table_in(COLUMNS, length_rows(length_table(finished)))
            store.add(pairs_of(report.telling, model, **sampling), seen_by=voter if alone else None)
    blind = _("Others can judge these blind, below.") if alone else _("They can be judged blind, below.")
    yield status([_("Done in {seconds:.1f} s.", seconds=time.monotonic() - started), blind], "done"), skip, skip


def prompts_in(text: str) -> list[str]:
    """The prompts, one per line.

    Raises:
        BadInput: none, too many, or one that is too long.
    """
    lines = [line.strip() for line in without_mark(text).splitlines() if line.strip()]
    if not lines:
        raise BadInput("Write a story prompt first.")
    if len(lines) > MOST_PROMPTS:
        raise BadInput(
            "These are {n:,} prompts; a batch takes {most}. Every line is a prompt.", n=len(lines), most=MOST_PROMPTS
        )
    if len(longest := max(lines, key=len)) > LONGEST_PROMPT:
        raise BadInput("A prompt has {n:,} characters; shorten it to {most:,}.", n=len(longest), most=LONGEST_PROMPT)
    return lines


def length_rows(table: list[Lengths]) -> list[list[Any]]:
    """The table's rows, the full model's first."""
    return [
        [
            policy_name(row.policy),
            row.stories,
            round(row.mean, 1),
            row.ended,
            *(round(value, 3) for value in row.distinct),
            row.left if row.policy.budget is not None else None,
            None if row.left_at is None else row.left_at + 1,
            row.paper,
        ]
        for row in table
    ]
