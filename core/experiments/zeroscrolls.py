"""The tasks QASPER and SQuALITY of ZeroSCROLLS (Shaham et al. 2023): reads their records and makes prompts of them.

The `input` of a record has an instruction, the document, the query and the header of the answer. As in the benchmark's
code, the end of a document that is too long is replaced by a sentence that says so, and the query is always kept. A
chat model gets no header, and in QASPER it is asked not to explain.

Deviations from that code: it sends the prompt to an API as a user's message, here the model's own chat template is
used. It cuts the encoded document and joins the tokens of both parts; here the text is cut at that token and then
encoded, and no more is cut than the model's context requires. Control tokens typed in the text are read as ordinary
characters.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from os import PathLike
from typing import Any

from core.errors import BadInput, TextTooLong
from core.measures.evidence import passage_of
from core.model.chat import chats, turn
from core.model.language_model import LanguageModel
from core.texts import read_text
from core.trace import Tokens

NO_EXPLANATION = " Do not provide any explanation."


@dataclass(frozen=True)
class Task:
    """A task of the benchmark.

    Attributes:
        new_tokens: the most tokens of an answer, as in the benchmark.
        explains: whether the answer may have explanations; if not, a chat model is asked not to explain.
    """

    new_tokens: int
    explains: bool


TASKS = {"qasper": Task(new_tokens=128, explains=False), "squality": Task(new_tokens=512, explains=True)}


@dataclass(frozen=True)
class Example:
    """One record, or several that differ only in their reference answer.

    Attributes:
        id: its id in the benchmark.
        input: instruction, document, query and the header of the answer.
        references: the reference answers, at least one.
        query_start, query_end: begin and end of the query in `input`, in characters; None if the record does not say.
        separator: the sentence that replaces the end of a document that is too long.
    """

    id: str
    input: str
    references: tuple[str, ...]
    query_start: int | None = None
    query_end: int | None = None
    separator: str = ""


def read_examples(path: str | PathLike[str]) -> list[Example]:
    """The examples of a file that has one JSON record per line: `id`, `input` and `output`, a text or a list of texts.

    `query_start_index`, `query_end_index` and `truncation_seperator` (spelled that way) are optional. Records with the
    same id become one example with several references.

    Raises:
        BadInput: the file cannot be read, has no records, or a line is not such a record.
    """
    examples: dict[str, Example] = {}
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if line.strip():
            _add(examples, line, f"{path}, line {number}")
    if not examples:
        raise BadInput("{file} is empty: it must have one JSON record a line, with id, input and output.", file=path)
    return list(examples.values())


def _add(examples: dict[str, Example], line: str, where: str) -> None:
    try:
        example = _example(json.loads(line))
    except (ValueError, KeyError, TypeError, RecursionError) as e:
        raise BadInput(
            "{where} is not a record of ZeroSCROLLS: a JSON object with id, input and output, and perhaps the "
            "query's indices.",
            where=where,
        ) from e
    known = examples.setdefault(example.id, example)
    if known is not example:
        if known != replace(example, references=known.references):
            raise BadInput(
                "{where} has the id {id!r} of an earlier record, but another input.", where=where, id=example.id
            )
        examples[example.id] = replace(known, references=known.references + example.references)


def _example(record: Mapping[str, Any]) -> Example:
    """The example of one record; raises ValueError, KeyError or TypeError if it is not one."""
    outputs = record["output"]
    outputs = [outputs] if isinstance(outputs, str) else outputs
    start, end = record.get("query_start_index"), record.get("query_end_index")
    text, id_, separator = record["input"], record["id"], record.get("truncation_seperator") or ""
    if not all(isinstance(value, str) for value in (id_, text, separator, *outputs)) or not outputs:
        raise ValueError("id, input, output and truncation_seperator must be texts")
    if not id_.isprintable():
        raise ValueError("the id must be a line")
    if (start is None) != (end is None) or not 0 <= (start or 0) <= (end or 0) <= len(text):
        raise ValueError("the query is not in the input")
    return Example(id_, text, tuple(outputs), start, end, separator)


@dataclass(frozen=True, eq=False)
class ExamplePrompt:
    """An example as the model reads it; `omitted` characters of the document did not fit."""

    tokens: Tokens
    omitted: int


def prompt_of(lm: LanguageModel, example: Example, task: Task, new_tokens: int) -> ExamplePrompt:
    """The prompt of an example that leaves room for `new_tokens` in the model's context.

    A shortened text may be split into other tokens than before, so it is shortened again until it fits.

    Raises:
        TextTooLong: the query does not fit, or the document does not and the record does not say where the query is.
        BadInput, UnsupportedModel: as `turn`.
    """
    text, query_start = _asked(lm, example, task)
    tokens, start = turn(lm, text)
    whole, kept, omitted = tokens, 0, 0
    while lm.context_length is not None and (over := len(tokens) + new_tokens - lm.context_length) > 0:
        before_query = passage_of(whole, start, start + query_start) if query_start else range(0)
        kept = (kept or len(before_query)) - over
        if kept <= 0:
            raise TextTooLong(
                "{id} has {tokens:,} tokens, which with {new_tokens:,} for the answer are more than the {limit:,} of "
                "{model}, and its document cannot be shortened by as much. Ask for fewer new tokens or choose "
                "another model.",
                id=example.id,
                tokens=len(whole),
                new_tokens=new_tokens,
                limit=lm.context_length,
                model=lm.model_id,
            )
        cut = int(whole.offsets[before_query.start + kept, 0]) - start
        tokens, _ = turn(lm, text[:cut] + example.separator + text[query_start:])
        omitted = query_start - cut
    return ExamplePrompt(tokens, omitted)


def _asked(lm: LanguageModel, example: Example, task: Task) -> tuple[str, int]:
    """The text of the prompt, and the index of the character at which its query begins, 0 if unknown."""
    text, start = example.input, example.query_start or 0
    if not chats(lm):
        return text, start
    text = text[: example.query_end]
    instruction_end = text.find("\n\n")
    if not task.explains and 0 <= instruction_end <= start:
        text = text[:instruction_end] + NO_EXPLANATION + text[instruction_end:]
        start += len(NO_EXPLANATION)
    return text, start
