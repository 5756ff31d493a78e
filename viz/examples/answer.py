"""The answered question with which Ask opens: a stored run of our engine."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from core.experiments.question import Answer, Prompt
from core.store import Stored, load_stored
from viz.examples.example_texts import EXAMPLES, FOLDER

FILE = FOLDER / "answer.run"
DOCUMENT = EXAMPLES[0].text
QUESTION = "Who is the keeper of the lighthouse?"
REFERENCE = "Maud"
EVIDENCE = "Her name was Maud."
"""The passage of the document that has the answer."""


@dataclass(frozen=True, eq=False)
class ExampleAnswer:
    """`QUESTION` about `DOCUMENT` as the model has read it, and the answers, the full model's first."""

    prompt: Prompt
    answers: list[Answer]


def packed(prompt: Prompt, answers: Sequence[Answer]) -> Stored:
    """What is stored of the answers, for `example_answer` to read."""
    told = {
        "document": [prompt.document.start, prompt.document.stop],
        "question": [prompt.question.start, prompt.question.stop],
        "document_start": prompt.document_start,
        "document_length": prompt.document_length,
        "answers": [{"text": answer.text, "finished": answer.finished} for answer in answers],
    }
    return Stored(tuple(answer.trace for answer in answers), {"asked": np.array(json.dumps(told))})


@cache
def example_answer() -> ExampleAnswer:
    """The stored answers of the full model, TOVA, H2O and Window.

    The importances of the traces are NaN, to keep the file small.
    """
    stored = load_stored(FILE)
    told = json.loads(str(stored.arrays["asked"]))
    full = stored.traces[0]
    prompt = Prompt(
        tokens=full.tokens[: full.prompt_length],
        document=range(*told["document"]),
        question=range(*told["question"]),
        document_start=told["document_start"],
        document_length=told["document_length"],
    )
    answers = [Answer(trace=trace, **own) for trace, own in zip(stored.traces, told["answers"], strict=True)]
    return ExampleAnswer(prompt, answers)
