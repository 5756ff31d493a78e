"""Ask: a question about a document, answered from what each policy still remembers of it."""

import time
import uuid
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import gradio as gr

import core
from core.errors import UserError
from core.experiments.haystack import FACT, QUESTION, Haystack, hide
from core.measures.evidence import fate
from core.messages import Message
from core.policies import Policy, make_policy
from core.trace import Trace
from viz.cards.answer_cards import Given, answers_html
from viz.cards.card import CSS
from viz.cards.markup import paragraphs, status
from viz.examples.example_texts import EXAMPLES
from viz.figures.evidence import evidence_figure, evidence_layers_figure
from viz.maps.comparison_map import ComparisonMap
from viz.maps.payload import Mark, comparison_payload
from viz.page import limits
from viz.page.buttons import starting, stopping
from viz.page.contenders import contenders, pairs
from viz.page.models import ALONE, QUIETLY, with_model
from viz.page.runs import LoggedRun, a_run
from viz.page.uploads import text_of
from viz.tabs.needle import needle_matrix
from viz.words.answer_sentences import fate_sentence
from viz.words.catalogue import _, told
from viz.words.labels import later
from viz.words.policies import policy_name

if TYPE_CHECKING:
    from core import LanguageModel
    from core.experiments.ask import Answer, Prompt

EVIDENCE = 'in smaller letters: "Buy more matches."'
NOTHING_MARKED = Message(
    "Nothing is marked yet: select a passage in the document with the mouse or with shift and the arrows."
)


@dataclass(frozen=True)
class Evidence:
    """The characters of a document that are marked, from `start` to before `stop`."""

    document: str
    start: int
    stop: int


@dataclass(frozen=True, eq=False)
class Asked:
    """What has been asked, and the answers.

    Attributes:
        run: names the picture.
        document: in which the evidence is marked.
        prompt: the document and the question, as they were read.
        answers: the full model's first.
    """

    run: str
    document: str
    prompt: "Prompt"
    answers: "list[Answer]"


def ask_tab(model: gr.Dropdown) -> None:
    """A document, a question, the answers side by side, and what became of the passage that has the answer."""
    asked = gr.State()
    document_text = EXAMPLES[0].text
    start = document_text.index(EVIDENCE)
    evidence = gr.State(Evidence(document_text, start, start + len(EVIDENCE)))
    gr.Markdown(
        Message(
            "### What does it still know when you ask?\n"
            "The model reads the document once, then your question, and every policy answers from what it has kept, "
            "beside the full model, which has kept everything. **Mark the evidence**: select the passage that has "
            "the answer, and see when each policy loses it."
        )
    )
    with gr.Row():
        with gr.Column(scale=3, min_width=320):
            document = gr.Textbox(
                document_text, label=Message("Document"), lines=8, max_lines=14, elem_id="ask-document"
            )
            marked = gr.HTML(later(partial(marked_html, EVIDENCE)), elem_id="ask-marked")
        with gr.Column(scale=2, min_width=300):
            question = gr.Textbox(
                "What was written in smaller letters?",
                label=Message("Question"),
                lines=2,
                max_lines=4,
                elem_id="ask-question",
            )
            reference = gr.Textbox(
                "Buy more matches.", label=Message("The right answer, if you know it"), elem_id="ask-reference"
            )
            upload = gr.UploadButton(
                Message("Open a .txt as document"), file_types=[".txt"], size="sm", elem_id="ask-upload"
            )
            with gr.Row():
                depth = gr.Slider(
                    0, 100, value=25, step=5, label=Message("Depth of the fact (%)"), min_width=120, elem_id="ask-depth"
                )
                length = gr.Slider(
                    64,
                    min(2000, limits.current.max_tokens),
                    value=256,
                    step=8,
                    label=Message("Length (tokens)"),
                    min_width=120,
                    elem_id="ask-length",
                )
            needle_button = gr.Button(Message("Hide a fact in a text of this length"), size="sm", elem_id="ask-needle")
    chosen = contenders("ask", ["tova", "window+i", "window"], 64)
    with gr.Row():
        run_button = gr.Button(Message("Ask"), variant="primary", elem_id="ask-run", min_width=120, scale=2)
        stop_button = gr.Button(Message("Stop"), elem_id="ask-stop", min_width=120)
    line = gr.HTML(later(lambda: status(_("Press Ask."))), elem_id="ask-status")
    halted = gr.HTML(elem_id="ask-stopped")
    cards = gr.HTML(css_template=CSS, elem_id="ask-answers")
    comparison_map = ComparisonMap()
    words = gr.HTML(elem_id="ask-fate")
    with gr.Row():
        curve = gr.Plot(show_label=False, elem_id="ask-curve", min_width=320)
        layers = gr.Plot(show_label=False, elem_id="ask-layers", min_width=320)
    whose = gr.Radio([], label=Message("Layer by layer"), visible=False, elem_id="ask-whose")
    drawn = [cards, comparison_map, words, curve, layers, whose]
    running = starting(
        run_button,
        run_ask,
        [model, document, question, reference, evidence, *chosen],
        [line, asked, *drawn],
        line,
    )
    stopping(run_button, stop_button, running, halted, Message("What has been answered stays."))
    document.select(mark, document, [evidence, marked], trigger_mode="always_last", **QUIETLY).success(
        show_asked, [asked, document, evidence, reference], drawn, **QUIETLY
    )
    document.change(still_marked, [document, evidence], [evidence, marked], trigger_mode="always_last", **QUIETLY)
    upload.upload(open_document, upload, [document, line], **QUIETLY)
    needle_button.click(
        hide_fact, [model, depth, length], [document, question, reference, evidence, marked, line], **QUIETLY, **ALONE
    )
    whose.change(show_layers, [asked, document, evidence, whose], layers, **QUIETLY)
    needle_matrix(model)


@a_run("ask", outputs=8, line=0)
def run_ask(
    run: LoggedRun, model: str, document: str, question: str, reference: str, evidence: Evidence | None, *chosen: Any
) -> Generator[tuple[Any, ...]]:
    """Read and answer: status, what was asked, answers, map, words, curve, layers, whose layers."""
    skip, run_id, started = gr.skip(), uuid.uuid4().hex, time.monotonic()
    nothing = [skip] * 7
    limits.current.check_text(document + question)
    policies = [make_policy(key, budget) for key, budget in pairs(chosen)]
    yield status(_("Loading the model …")), *nothing
    run.under(policies)
    answering = run.using(model, answered, document, question, policies)
    prompt = next(answering)
    evidence = evidence if evidence is not None and evidence.document == document else None
    for report in answering:
        run.tokens = report.done
        answers = report.answers
        is_reading = report.done < len(prompt.tokens)
        if is_reading:
            doing = _("Reading: {done:,} of at most {total:,} tokens", done=report.done, total=report.total)
        else:
            doing = _("Answering: {done:,} of at most {total:,} tokens", done=report.done, total=report.total)
        if is_reading:
            yield status(doing), *nothing
            continue
        yield status(doing), skip, _cards(answers, prompt, evidence, reference, over=False), *[skip] * 5
    asked = Asked(run_id, document, prompt, answers)
    yield skip, asked, *show_asked(asked, document, evidence, reference)
    yield status(_("Done in {seconds:.1f} s.", seconds=time.monotonic() - started), "done"), *nothing


def answered(lm: "LanguageModel", document: str, question: str, policies: list[Policy]) -> Iterator[Any]:
    """The prompt, and then the reports of its answers."""
    prompt = core.experiments.ask.prompt_of(lm, document, question)
    limits.current.check_tokens(len(prompt.tokens))
    yield prompt
    yield from core.experiments.ask.iter_ask(lm, prompt, policies)


def show_asked(asked: Asked | None, document: str, evidence: Evidence | None, reference: str) -> list[Any]:
    """The answers, the map, the words, the curve, the layers of the first policy, and whose may be chosen.

    Nothing changes while the document is another than the one that was asked about.
    """
    if asked is None or not _fits(asked, document, evidence):
        return [gr.skip()] * 6
    prompt, answers = asked.prompt, asked.answers
    traces = _finite(answers)
    passage = _passage(prompt, evidence)
    marks = [Mark(prompt.question, _("question"), "question")]
    if passage is not None:
        marks.insert(0, Mark(passage, _("evidence"), "evidence"))
    picture = comparison_payload(traces, run=asked.run, marks=marks)
    given = _cards(answers, prompt, evidence, reference, over=True)
    if passage is None:
        return [given, picture, paragraphs([told(NOTHING_MARKED)]), None, None, gr.update(visible=False)]
    question = prompt.question.start
    sentences = [fate_sentence(trace, fate(trace, passage, question)) for trace in traces]
    names = [(policy_name(trace.policy), str(trace.policy)) for trace in traces]
    return [
        given,
        picture,
        paragraphs(sentences),
        evidence_figure(traces, passage, question),
        evidence_layers_figure(traces[0], passage, question),
        gr.update(choices=names, value=names[0][1], visible=True),
    ]


def show_layers(asked: Asked | None, document: str, evidence: Evidence | None, whose: str) -> Any:
    """How much of the evidence each layer of one policy keeps."""
    if asked is None or not _fits(asked, document, evidence):
        return gr.skip()
    passage = _passage(asked.prompt, evidence)
    trace = next((trace for trace in _finite(asked.answers) if str(trace.policy) == whose), None)
    if passage is None or trace is None:
        return gr.skip()
    return evidence_layers_figure(trace, passage, asked.prompt.question.start)


def _fits(asked: Asked, document: str, evidence: Evidence | None) -> bool:
    """Whether the document is still the one that was asked about, and the evidence is marked in it."""
    return asked.document == document and (evidence is None or evidence.document == document)


def _finite(answers: "list[Answer]") -> list[Trace]:
    return [answer.trace for answer in answers if answer.trace.policy.budget is not None]


def _passage(prompt: "Prompt", evidence: Evidence | None) -> range | None:
    return None if evidence is None else prompt.passage(evidence.start, evidence.stop)


def _cards(answers: "list[Answer]", prompt: "Prompt", evidence: Evidence | None, reference: str, over: bool) -> str:
    passage = _passage(prompt, evidence)
    given = [
        Given(
            answer.trace.policy,
            answer.text,
            answer.finished,
            None if passage is None else fate(answer.trace, passage, prompt.question.start).at_question,
        )
        for answer in answers
    ]
    return answers_html(given, reference, over)


def mark(document: str, event: gr.SelectData) -> tuple[Any, Any]:
    """The selected characters are the evidence; a click alone selects nothing and changes nothing."""
    start, stop = sorted(_characters(document, place) for place in event.index)
    if not document[start:stop].strip():
        return gr.skip(), gr.skip()
    return Evidence(document, start, stop), marked_html(document[start:stop])


def marked_html(passage: str) -> str:
    """Which passage is marked."""
    return paragraphs([_("Marked: {passage}", passage=passage)])


def _characters(text: str, place: int) -> int:
    """A browser counts in UTF-16 code units."""
    return len(text.encode("utf-16-le")[: 2 * place].decode("utf-16-le", errors="ignore"))


def still_marked(document: str, evidence: Evidence | None) -> tuple[Any, Any]:
    """Another document has no evidence yet."""
    if evidence is not None and evidence.document == document:
        return gr.skip(), gr.skip()
    return None, paragraphs([told(NOTHING_MARKED)])


def open_document(file: str) -> tuple[Any, str]:
    """The text of an uploaded file as the document."""
    try:
        return text_of(file), status(_("The file is the document now."))
    except UserError as e:
        return gr.skip(), status(e.message, "error")


def hidden(lm: "LanguageModel", depth: float, length: int) -> Iterator[Haystack]:
    """One: the needle in the chronicle."""
    yield hide(lm, depth, length)


def hide_fact(model: str, depth: int, length: int) -> tuple[Any, ...]:
    """The needle in the chronicle: document, question, reference, evidence, what is marked, status."""
    try:
        (hay,) = with_model(model, hidden, depth / 100, int(length))
    except UserError as e:
        return *[gr.skip()] * 5, status(e.message, "error")
    told = status(_("A sentence with a number stands at {depth} % of the text. Press Ask.", depth=depth))
    return (
        hay.document,
        QUESTION,
        FACT,
        Evidence(hay.document, hay.start, hay.stop),
        marked_html(hay.document[hay.start : hay.stop]),
        told,
    )
