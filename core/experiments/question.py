"""A question about a document, and what policies have answered. numpy only; `core.experiments.ask` asks."""

from dataclasses import dataclass

from core.errors import BadInput
from core.measures.evidence import passage_of
from core.trace import Tokens, Trace


@dataclass(frozen=True, eq=False)
class Prompt:
    """A document and a question about it, as the model reads them.

    Attributes:
        tokens: the whole prompt, the chat format included.
        document: the positions of the document.
        question: the positions of the question.
        document_start: the index of the character at which the document begins in the text of `tokens`, minus 1 if it
            was given with a byte order mark: that mark is not read, but counts in the arguments of `passage`.
        document_length: the number of characters of the document as it was given.
    """

    tokens: Tokens
    document: range
    question: range
    document_start: int
    document_length: int

    def passage(self, start: int, stop: int) -> range:
        """The positions of the document's characters from `start` up to but not including `stop`.

        Raises:
            BadInput: the document has no such characters.
        """
        if not 0 <= start < stop <= self.document_length:
            raise BadInput(
                "The passage must be some of the {length:,} characters of the document, not {start} to {stop}.",
                length=self.document_length,
                start=start,
                stop=stop,
            )
        found = passage_of(self.tokens, self.document_start + start, self.document_start + stop)
        return range(max(found.start, self.document.start), found.stop)


@dataclass(frozen=True, eq=False)
class Answer:
    """What one policy has answered so far.

    Attributes:
        text: the answer, without control tokens.
        trace: the trace of the prompt and the answer.
        finished: whether the model has ended the answer by an end-of-sequence token.
    """

    text: str
    trace: Trace
    finished: bool
