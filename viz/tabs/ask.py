"""Ask: a question about a document, answered from what each policy still remembers of it."""

import time
import uuid
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import gradio as gr

import core
from core.errors import UserError
from core.experiments.haystack import FACT, QUESTION, Haystack, hide
from core.experiments.question import Answer, Prompt
from core.measures.evidence import fate
from core.messages import Message
from core.policies import Policy
from core.trace import Trace
from viz.cards.answer_cards import Given, answers_html
from viz.cards.card import CSS
from viz.cards.markup import paragraphs, status
from viz.examples import answer as stored
from viz.examples.line import example_line
from viz.figures.evidence import evidence_figure, evidence_layers_figure
from viz.maps.payload import Mark, View, payload
from viz.maps.retention_map import RetentionMap
from viz.page import limits
from viz.page.buttons import start_and_stop, starting, stopping
from viz.page.models import ALONE, QUIETLY, one_by_one, with_model
from viz.page.runs import LoggedRun, a_run
from viz.page.sidebar import Sidebar, asked_by
from viz.page.stored import Updates
from viz.page.uploads import text_of
from viz.tabs.evidence import NOTHING_MARKED, Evidence, mark, marked_html, still_marked
from viz.tabs.needle import needle_matrix
from viz.tabs.writers import writers
from viz.words.answer_sentences import fate_sentence
from viz.words.catalogue import _, told
from viz.words.labels import later
from viz.words.policies import policy_name

if TYPE_CHECKING:
    from core import LanguageModel

ASK = Message("Ask")
MARKED_AT_FIRST = Evidence.of(stored.DOCUMENT, stored.EVIDENCE)


@dataclass(frozen=True, eq=False)
class Answered:
    """A question that has been answered.

    Attributes:
        run: names the picture.
        document: in which the evidence is marked.
        prompt: the document and the question, as they were read.
        answers: the full model's first.
    """

    run: str
    document: str
    prompt: Prompt
    answers: list[Answer]

    @property
    def traces(self) -> list[Trace]:
        """Those of the policies, without the full model's."""
        return [answer.trace for answer in self.answers if answer.trace.policy.budget is not None]


def ask_lens(tab: gr.Tab, sidebar: Sidebar) -> None:
    """A question to the policies of the sidebar; a stored answer when the tab is first opened."""
    lens = AskLens()
    tab.select(lens.example, lens.opened, [lens.opened, lens.answered, *lens.drawn], **QUIETLY)
    running = starting(
        lens.run,
        a_run("ask", lens.status, lens.ask),
        [lens.document, lens.question, lens.reference, lens.evidence, *sidebar.values],
        [lens.status, lens.answered, *lens.drawn],
        lens.status,
    )
    stopping(lens.run, lens.stop, running, lens.halted, Message("What has been answered stays."))
    _marking(lens)
    _other_documents(lens, sidebar)
    needle_matrix(tab, sidebar)


def _marking(lens: "AskLens") -> None:
    """Let people mark the evidence, and choose whose layers are shown."""
    answered = [lens.answered, lens.document, lens.evidence]
    marks = [lens.evidence, lens.marked]
    in_turn = one_by_one("evidence")
    typed = in_turn | {"trigger_mode": "always_last"}  # not asked for every letter
    lens.document.select(mark, lens.document, marks, **in_turn).success(
        lens.redrawn, [*answered, lens.reference], lens.drawn, **in_turn
    ).then(lens.layers_of, [*answered, lens.whose], lens.layers, **in_turn)
    lens.document.change(still_marked, [lens.document, lens.evidence], marks, **typed)
    lens.whose.input(lens.layers_of, [*answered, lens.whose], lens.layers, **in_turn)


def _other_documents(lens: "AskLens", sidebar: Sidebar) -> None:
    """The text of the sidebar as the document, that of a file, or one in which a fact is hidden."""
    lens.take.click(None, sidebar.text, lens.document, js="text => text", **QUIETLY)
    lens.upload.upload(lens.open_document, lens.upload, [lens.document, lens.status], **one_by_one("document"))
    hidden = [lens.document, lens.question, lens.reference, lens.evidence, lens.marked, lens.status]
    lens.hide.click(lens.hide_fact, [sidebar.model, lens.depth, lens.length], hidden, **QUIETLY, **ALONE)


class AskLens:
    """A question, the answers side by side, and what became of the passage that has the answer.

    Attributes:
        answered: what the pictures show.
        evidence: what is marked in the document.
        drawn: what shows the answers.
    """

    def __init__(self) -> None:
        self.answered, self.opened = gr.State(), gr.State(False)
        self.evidence = gr.State(MARKED_AT_FIRST)
        gr.Markdown(
            Message(
                "### What does it still know when you ask?\n"
                "Every policy at the left reads the document once, then your question, and answers from what it has "
                "kept, beside the full model, which has kept everything."
            )
        )
        self._question()
        self._document()
        self.map = RetentionMap()
        with gr.Row():
            self.curve = gr.Plot(show_label=False, elem_id="ask-curve", min_width=320)
            with gr.Column(min_width=320):
                self.layers = gr.Plot(show_label=False, elem_id="ask-layers")
                self.whose = gr.Radio([], label=Message("Layer by layer"), visible=False, elem_id="ask-whose")
        self.drawn = [self.cards, self.map, self.fates, self.curve, self.layers, self.whose]

    def _question(self) -> None:
        with gr.Row():
            self.question = gr.Textbox(
                stored.QUESTION, label=Message("Question"), lines=1, max_lines=4, scale=4, elem_id="ask-question"
            )
            self.reference = gr.Textbox(
                stored.REFERENCE,
                label=Message("The right answer, if you know it"),
                scale=3,
                min_width=200,
                elem_id="ask-reference",
            )
            self.run, self.stop = start_and_stop(ASK, "ask")
        self.status = gr.HTML(later(lambda: status(example_line(ASK))), elem_id="ask-status")
        self.halted = gr.HTML(elem_id="ask-stopped")
        self.cards = gr.HTML(css_template=CSS, elem_id="ask-answers")
        self.fates = gr.HTML(elem_id="ask-fate")

    def _document(self) -> None:
        gr.Markdown(
            Message(
                "### The document\n"
                "**Mark the evidence**: select the passage that has the answer, and see when each policy loses it."
            )
        )
        with gr.Row():
            with gr.Column(scale=3, min_width=320):
                self.document = gr.Textbox(
                    stored.DOCUMENT,
                    label=Message("Document"),
                    show_label=False,
                    lines=8,
                    max_lines=14,
                    elem_id="ask-document",
                )
                self.marked = gr.HTML(later(partial(marked_html, stored.EVIDENCE)), elem_id="ask-marked")
            with gr.Column(scale=2, min_width=300):
                with gr.Row():
                    self.take = gr.Button(Message("Take your text from the left"), size="sm", elem_id="ask-take")
                    self.upload = gr.UploadButton(
                        Message("Open a .txt as document"), file_types=[".txt"], size="sm", elem_id="ask-upload"
                    )
                with gr.Row():
                    self.depth = gr.Slider(
                        0,
                        100,
                        value=25,
                        step=5,
                        label=Message("Depth of the fact (%)"),
                        min_width=120,
                        elem_id="ask-depth",
                    )
                    self.length = gr.Slider(
                        64,
                        min(2000, limits.current.max_tokens),
                        value=256,
                        step=8,
                        label=Message("Length (tokens)"),
                        min_width=120,
                        elem_id="ask-length",
                    )
                self.hide = gr.Button(Message("Hide a fact in a text of this length"), size="sm", elem_id="ask-needle")

    def ask(
        self,
        record: LoggedRun,
        document: str,
        question: str,
        reference: str,
        evidence: Evidence | None,
        *values: Any,
    ) -> Generator[Updates]:
        """Read and answer; the answers are shown as they grow, the pictures at the end."""
        started = time.monotonic()
        asked = replace(asked_by(values), text=document + question, new_tokens=0)
        asked.check()
        policies = writers(asked)
        yield {self.status: status(_("Loading the model …"))}
        record.policies = asked.pairs
        answering = record.using(asked.model, answers, document, question, policies, asked.how)
        prompt = next(answering)
        evidence = evidence if evidence is not None and evidence.document == document else None
        for report in answering:
            record.tokens = report.done
            so_far: dict[str, Any] = {"done": report.done, "total": report.total}
            if report.done < len(prompt.tokens):
                yield {self.status: status(_("Reading: {done:,} of at most {total:,} tokens", **so_far))}
                continue
            answered = Answered(uuid.uuid4().hex, document, prompt, report.answers)
            yield {
                self.status: status(_("Answering: {done:,} of at most {total:,} tokens", **so_far)),
                self.cards: cards_of(answered, evidence, reference, over=False),
            }
        yield {self.answered: answered, **self.showing(answered, evidence, reference)}
        yield {self.status: status(_("Done in {seconds:.1f} s.", seconds=time.monotonic() - started), "done")}

    def example(self, was_opened: bool) -> Updates:
        """The stored answers, when the tab is opened for the first time: never in place of a result."""
        if was_opened:
            return {self.opened: True}
        known = stored.example_answer()
        answered = Answered("example", stored.DOCUMENT, known.prompt, known.answers)
        shown = self.showing(answered, MARKED_AT_FIRST, stored.REFERENCE)
        return {self.opened: True, self.answered: answered, **shown}

    def redrawn(self, answered: Answered | None, document: str, evidence: Evidence | None, reference: str) -> Updates:
        """The answers as they are, with other evidence; nothing while the document is not the one they are about.

        Whose layers are shown stays: somebody may choose while this is on its way.
        """
        if answered is None or not fits(answered, document, evidence):
            return {self.fates: gr.skip()}
        updates = self.showing(answered, evidence, reference)
        del updates[self.layers]
        del updates[self.whose]["value"]
        return updates

    def showing(self, answered: Answered, evidence: Evidence | None, reference: str) -> Updates:
        """The updates that show these answers, and the fate of the evidence, if it is marked."""
        prompt, traces = answered.prompt, answered.traces
        passage, question = _passage(prompt, evidence), prompt.question.start
        marks = [Mark(prompt.question, _("question"), "question")]
        if passage is not None:
            marks.insert(0, Mark(passage, _("evidence"), "evidence"))
        updates = {
            self.cards: cards_of(answered, evidence, reference, over=True),
            self.map: payload(traces, View(run=answered.run), marks=marks),
        }
        names = [(policy_name(trace.policy), i) for i, trace in enumerate(traces)]
        if passage is None:
            hidden = gr.update(choices=names, value=0, visible=False)
            gone = {self.curve: None, self.layers: None, self.whose: hidden}
            return updates | gone | {self.fates: paragraphs([told(NOTHING_MARKED)])}
        return updates | {
            self.fates: paragraphs([fate_sentence(trace, fate(trace, passage, question)) for trace in traces]),
            self.curve: evidence_figure(traces, passage, question),
            self.layers: evidence_layers_figure(traces[0], passage, question),
            self.whose: gr.update(choices=names, value=0, visible=True),
        }

    def layers_of(self, answered: Answered | None, document: str, evidence: Evidence | None, whose: int) -> Updates:
        """How much of the evidence each layer of one policy keeps."""
        if answered is None or evidence is None or not fits(answered, document, evidence):
            return {self.layers: gr.skip()}
        prompt = answered.prompt
        passage = prompt.passage(evidence.start, evidence.stop)
        return {self.layers: evidence_layers_figure(answered.traces[whose], passage, prompt.question.start)}

    def open_document(self, file: str) -> Updates:
        """The text of an uploaded file as the document."""
        try:
            return {self.document: text_of(file), self.status: status(_("The file is the document now."))}
        except UserError as e:
            return {self.status: status(e.message, "error")}

    def hide_fact(self, model: str, depth: int, length: int) -> Updates:
        """The needle in the chronicle, its question and answer, and the needle marked."""
        try:
            (hay,) = with_model(model, hidden, depth / 100, int(length))
        except UserError as e:
            return {self.status: status(e.message, "error")}
        evidence = Evidence(hay.document, hay.start, hay.stop)
        line = _("A sentence with a number stands at {depth} % of the text. Press Ask.", depth=depth)
        return {
            self.document: hay.document,
            self.question: QUESTION,
            self.reference: FACT,
            self.evidence: evidence,
            self.marked: marked_html(evidence.text),
            self.status: status(line),
        }


def answers(
    lm: "LanguageModel", document: str, question: str, policies: list[Policy], how: dict[str, Any]
) -> Iterator[Any]:
    """The prompt, and then the reports of its answers."""
    prompt = core.experiments.ask.prompt_of(lm, document, question)
    limits.current.check_tokens(len(prompt.tokens))
    yield prompt
    yield from core.experiments.ask.iter_ask(lm, prompt, policies, **how)


def cards_of(answered: Answered, evidence: Evidence | None, reference: str, over: bool) -> str:
    """The answers as cards; `over` says that they are complete."""
    prompt = answered.prompt
    passage = _passage(prompt, evidence)
    given = [
        Given(
            answer.trace.policy,
            answer.text,
            answer.finished,
            None if passage is None else fate(answer.trace, passage, prompt.question.start).at_question,
        )
        for answer in answered.answers
    ]
    return answers_html(given, reference, over)


def fits(answered: Answered, document: str, evidence: Evidence | None) -> bool:
    """Whether the document is still the one that was asked about, and the evidence is marked in it."""
    return answered.document == document and (evidence is None or evidence.document == document)


def _passage(prompt: Prompt, evidence: Evidence | None) -> range | None:
    return None if evidence is None else prompt.passage(evidence.start, evidence.stop)


def hidden(lm: "LanguageModel", depth: float, length: int) -> Iterator[Haystack]:
    """One: the needle in the chronicle."""
    yield hide(lm, depth, length)
