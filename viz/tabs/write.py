"""Write: stories of several policies side by side, and which of them people prefer without knowing the names."""

import time
from collections.abc import Generator, Iterator
from dataclasses import replace
from os import PathLike
from typing import TYPE_CHECKING, Any

import gradio as gr

import core
from core.errors import BadInput
from core.experiments.judge import judge_from
from core.experiments.stories import Lengths, Telling, length_table
from core.experiments.votes import LONGEST_PROMPT, VoteStore, pairs_of
from core.messages import Message
from core.policies import Policy
from core.texts import without_mark
from viz.cards.card import CSS
from viz.cards.markup import note, status
from viz.cards.story_cards import telling_html
from viz.examples import telling as example
from viz.examples.line import example_line
from viz.figures.tables import table_in
from viz.page import limits
from viz.page.asked import Asked
from viz.page.buttons import start_and_stop, starting, stopping
from viz.page.models import QUIETLY
from viz.page.number_table import number_table
from viz.page.runs import LoggedRun, a_run
from viz.page.sidebar import Sidebar, asked_by
from viz.page.stored import Updates
from viz.page.to_try import texts_to_try
from viz.tabs.judging import judging
from viz.tabs.writers import writers
from viz.words.catalogue import _
from viz.words.labels import later
from viz.words.policies import policy_name

if TYPE_CHECKING:
    from core import LanguageModel
    from core.experiments.writing import WritingProgress

RUN = Message("Write stories")
PROMPTS: dict[str, str] = {
    Message("The lighthouse"): example.PROMPT,
    Message("The baker"): "Write a story about a baker whose bread makes people remember their childhood.",
    Message("Two robots"): "Write a story about two robots who are lost in a library at night.",
    Message("The crow"): "Write a story about a girl who teaches a crow to tell the time.",
}
MOST_PROMPTS = 100  # as many as the paper has
COLUMNS = (
    *("policy", "stories", "mean length", "ended by themselves", "distinct-1", "distinct-2", "distinct-3"),
    *("differ from full", "from token (median)", "paper: length"),
)


def write_lens(tab: gr.Tab, sidebar: Sidebar, votes: str | PathLike[str]) -> None:
    """Stories of the sidebar's policies, side by side; below them, blind judging.

    Args:
        tab: in which this stands: when it is first opened, stored stories are shown.
        sidebar: says which model and which policies write, and from which seed.
        votes: the file in which stories and votes are stored, see `VoteStore`.

    Raises:
        VotesUnavailable: that file cannot be used.
        BadInput: the environment names a judge only by half.
    """
    store, judge = VoteStore(votes), judge_from()
    # Under a fixed key, and a fixed secret, which is none: a browser keeps its id when the app starts again.
    voter = gr.BrowserState("", storage_key="multi-state-voter", secret="multi-state")
    lens = WriteLens(store)
    tab.select(lens.example, lens.opened, [lens.opened, lens.cards, lens.table], **QUIETLY)
    running = starting(
        lens.run,
        a_run("write", lens.status, lens.write),
        [voter, lens.prompts, lens.length, lens.temperature, *sidebar.values],
        [lens.status, lens.cards, lens.table],
        lens.status,
    )
    stays = Message("What has been written stays; only finished stories can be judged.")
    stopping(lens.run, lens.stop, running, lens.halted, stays)
    judging(tab, store, judge, voter)


class WriteLens:
    """Prompts, the stories side by side, and their lengths.

    Attributes:
        store: where finished stories wait to be judged.
        opened: whether the tab has been opened before.
    """

    def __init__(self, store: VoteStore) -> None:
        self.store, self.opened = store, gr.State(False)
        gr.Markdown(
            Message(
                "### What does it write when it forgets?\n"
                "Every policy at the left writes from what it remembers, beside the full model, which forgets "
                "nothing. At every token all of them draw with the same random numbers, so what differs comes from "
                "forgetting alone."
            )
        )
        self._controls()
        self.status = gr.HTML(later(lambda: status(example_line(RUN))), elem_id="write-status")
        self.halted = gr.HTML(elem_id="write-stopped")
        self.cards = gr.HTML(css_template=CSS, elem_id="write-stories")
        gr.Markdown(
            Message(
                "### Lengths and repetition\n"
                "Lengths are in tokens. *distinct-n* is the share of a story's runs of n tokens that are different "
                "ones: the lower, the more it repeats itself; it falls with the length, so compare stories of about "
                "the same length. The paper's lengths are of a 13B model and 100 prompts."
            )
        )
        self.table = number_table(COLUMNS, "write-table")

    def _controls(self) -> None:
        with gr.Row():
            self.prompts = gr.Textbox(
                example.PROMPT,
                label=Message("Story prompt; several, one per line, give the table of lengths"),
                lines=2,
                max_lines=8,
                min_width=320,
                elem_id="write-prompts",
            )
            self.run, self.stop = start_and_stop(RUN, "write")
        most = limits.current.max_new_tokens
        with gr.Row():
            with gr.Column(min_width=300):
                several = PROMPTS | {Message("All four"): "\n".join(PROMPTS.values())}
                texts_to_try(Message("Prompts to try"), several, self.prompts)
            self.length = gr.Slider(
                min(16, most),
                most,
                value=min(example.NEW_TOKENS, most),
                step=1,
                label=Message("Longest story, in tokens"),
                min_width=180,
                elem_id="write-length",
            )
            self.temperature = gr.Slider(
                0,
                1.5,
                value=example.TEMPERATURE,
                step=0.05,
                label=Message("Temperature"),
                info=Message("Not that at the left: at 0, stories repeat themselves."),
                min_width=180,
                elem_id="write-temperature",
            )

    def example(self, was_opened: bool) -> Updates:
        """The stored stories, when the tab is opened for the first time: never in place of others."""
        if was_opened:
            return {self.opened: True}
        telling = example.example_telling()
        return {
            self.opened: True,
            self.cards: telling_html(telling, finished=True),
            self.table: table_in(COLUMNS, length_rows(length_table([telling]))),
        }

    def write(
        self, record: LoggedRun, voter: str, prompts: str, length: int, temperature: float, *values: Any
    ) -> Generator[Updates]:
        """Write the stories; those that are finished are stored for judging."""
        started, finished = time.monotonic(), list[Telling]()
        asked = replace(asked_by(values), text=prompts, new_tokens=int(length), temperature=float(temperature))
        asked.check()
        lines, policies = prompts_in(prompts), writers(asked)
        yield {self.status: status(_("Loading the model …"))}
        record.policies = asked.pairs
        alone = len(lines) == 1
        if not alone:
            blind = _("A batch of stories is not shown here, so that you can judge it blind, below.")
            yield {self.cards: note(blind)}
        sampling = sampling_of(asked)
        for report in record.using(asked.model, told_by, lines, policies, asked):
            record.tokens = max(record.tokens, report.done)
            updates: Updates = {self.status: status(_doing(report, len(lines)))}
            if alone:
                updates[self.cards] = telling_html(report.telling, report.finished)
            if report.finished:
                finished.append(report.telling)
                updates[self.table] = table_in(COLUMNS, length_rows(length_table(finished)))
            yield updates
            if report.finished:
                self.store.add(pairs_of(report.telling, asked.model, **sampling), seen_by=voter if alone else None)
        blind = _("Others can judge these blind, below.") if alone else _("They can be judged blind, below.")
        yield {self.status: status([_("Done in {seconds:.1f} s.", seconds=time.monotonic() - started), blind], "done")}


def sampling_of(asked: Asked) -> dict[str, Any]:
    """How the tokens of a story are drawn."""
    return {"max_new_tokens": asked.new_tokens, "temperature": asked.temperature, "top_p": example.TOP_P}


def told_by(lm: "LanguageModel", prompts: list[str], policies: list[Policy], asked: Asked) -> Iterator[Any]:
    """The reports of the stories of these policies."""
    yield from core.experiments.writing.iter_stories(
        lm,
        prompts,
        policies,
        seed=asked.seed,
        **asked.how,
        **sampling_of(asked),
    )


def _doing(report: "WritingProgress", prompts: int) -> str:
    """How far the writing is."""
    done: dict[str, Any] = {"done": report.done, "most": report.max_new_tokens}
    if prompts == 1:
        return _("Writing: {done:,} of at most {most:,} tokens", **done)
    done |= {"prompt": report.prompt + 1, "prompts": prompts}
    return _("Prompt {prompt} of {prompts}: {done:,} of at most {most:,} tokens", **done)


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
