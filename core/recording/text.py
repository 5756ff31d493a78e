"""The text of a recorded run: the tokens in the order in which the model read them, and what each cost."""

from itertools import takewhile
from typing import Any

import numpy as np
import torch

from core.errors import CannotRecord
from core.model.pieces import Pieces
from core.trace import Floats, Ints, Tokens


class Text:
    """The tokens that a model has read while its rows were recorded.

    Attributes:
        starts: the position of the first token of each forward pass.
        embedded: the ids (1, new) that the current forward pass has embedded; None if it has not, or once `read` has
            used them.
    """

    def __init__(self) -> None:
        self.starts: list[int] = []
        self.embedded: torch.Tensor | None = None
        self._padded = False
        self._ids: Ints = np.zeros(0, np.int32)
        self._nll: Floats = np.zeros(0, np.float32)
        self._scored = 0  # tokens of earlier passes
        self._next: tuple[int, torch.Tensor] | None = None  # the logits for the token at this position

    def __len__(self) -> int:
        return len(self._ids)

    def begin(self, padded: bool) -> None:
        """The model, with its head, begins a forward pass; `padded` if its attention mask hides some tokens."""
        self._padded, self.embedded, self._scored = padded, None, len(self)

    def read(self, new: int) -> None:
        """So many new tokens have rows: those that were embedded.

        Raises:
            CannotRecord: they are not known, or several texts, or padded.
        """
        ids, self.embedded = self.embedded, None
        if ids is None or ids.shape[-1] != new:
            raise CannotRecord(
                "The model was given {n} rows for tokens whose ids it did not embed. Give it `input_ids`, not "
                "embeddings.",
                n=new,
            )
        if self._padded:
            raise CannotRecord("The text is padded: the attention mask hides some tokens. Give it without padding.")
        self.starts.append(len(self))
        self._ids = np.concatenate([self._ids, ids.reshape(-1).cpu().numpy().astype(np.int32)])
        self._nll = np.concatenate([self._nll, np.full(new, np.nan, np.float32)])
        start = self.starts[-1]
        if self._next is not None and self._next[0] == start:
            self._nll[start] = _costs(self._next[1], self._ids[start : start + 1])[0]

    def predicted(self, logits: torch.Tensor) -> None:
        """The logits (1, some, vocabulary) of the pass that was begun, for the last of its tokens or for all.

        They are kept only if the pass has put in rows.
        """
        if self._scored == len(self):
            return
        n = len(self)
        first = n - logits.shape[1]  # the logits of this position are for the next
        if first >= self.starts[-1]:
            self._nll[first + 1 :] = _costs(logits[0, :-1], self._ids[first + 1 :])
            self._next = (n, logits[0, -1:].detach())

    @property
    def passes(self) -> list[int]:
        """How many tokens each forward pass has read."""
        lengths: list[int] = np.diff([*self.starts, len(self)]).tolist()
        return lengths

    @property
    def prompt_length(self) -> int:
        """How many tokens were read before the first forward pass of a single token; at least one."""
        return max(1, sum(takewhile(lambda n: n > 1, self.passes)))

    def nll(self, evicted_at: Ints) -> Floats:
        """(n,): nats for each token given the state before it; NaN where no logits for it were seen.

        Also NaN for a token that was read after a rejected draft, whose rows all go at once: it does not continue it.

        Args:
            evicted_at: (layers, KV heads, n), as in a trace.
        """
        nll = self._nll.copy()
        for start in self.starts[1:]:
            if (evicted_at[:, :, start - 1] == start - 1).all():
                nll[start] = np.nan
        return nll

    def tokens(self, tokenizer: Any) -> Tokens:
        """The tokens; with their ids as names if there is no tokenizer."""
        ids = self._ids.tolist()
        pieces, continued, special = [f"⟨{id_}⟩" for id_ in ids], [False] * len(ids), np.zeros(len(ids), bool)
        if tokenizer is not None:
            of_tokenizer = Pieces(tokenizer)
            pieces, continued = of_tokenizer.decoded(ids, begins=True)
            special = np.isin(ids, list(of_tokenizer.special))
        ends = np.cumsum([len(piece) for piece in pieces], dtype=np.int32)
        starts = ends - np.array([len(piece) for piece in pieces], np.int32)
        return Tokens(self._ids, tuple(pieces), np.stack([starts, ends], axis=1), special, np.array(continued, bool))


def _costs(logits: torch.Tensor, ids: Ints) -> Floats:
    """(n,): the negative log-likelihood of the ids in nats, from logits (n, vocabulary)."""
    target = torch.from_numpy(ids.astype(np.int64)).to(logits.device)
    costs: Floats = torch.nn.functional.cross_entropy(logits.detach().float(), target, reduction="none").cpu().numpy()
    return costs
