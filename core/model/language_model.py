"""A language model, and how a text becomes tokens."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from core.errors import BadInput
from core.model.pieces import Pieces
from core.model.registry import ModelSpec
from core.trace import Tokens


@dataclass(frozen=True, eq=False)
class LanguageModel:
    """A loaded model that has passed `core.engine.capability.check_attention`, with its tokenizer and its name.

    Attributes:
        model: the model of transformers, in eval mode; without the keyword `multi_state` it works as usual.
        tokenizer: a fast tokenizer of transformers; None if the directory has none, so that only ids can be read.
        spec: the entry in `MODELS`; None for any other directory or hub id.
        model_id: the name in `MODELS`, or the directory or hub id it was loaded from.
    """

    model: Any
    tokenizer: Any
    spec: ModelSpec | None
    model_id: str

    @property
    def config(self) -> Any:
        """The configuration; of a model that also sees or hears, that of its text part."""
        return self.model.config.get_text_config()

    @property
    def n_layers(self) -> int:
        return int(self.config.num_hidden_layers)

    @property
    def n_query_heads(self) -> int:
        return int(self.config.num_attention_heads)

    @property
    def n_kv_heads(self) -> int:
        return int(getattr(self.config, "num_key_value_heads", None) or self.n_query_heads)

    @property
    def context_length(self) -> int | None:
        """The most tokens the model was trained to read; None if its configuration does not say."""
        return getattr(self.config, "max_position_embeddings", None)

    @cached_property
    def pieces(self) -> Pieces:
        """The text that each id stands for; needs a tokenizer."""
        return Pieces(self.tokenizer)

    @cached_property
    def fingerprint(self) -> str:
        """A hash that differs between models, even if they have the same name.

        It depends on the configuration, tokenizer, number format, device, and about 64 numbers of every tensor. Hashing
        all numbers would take longer than many runs.
        """
        said = [self.model_id, str(self.model.dtype), self.device.type, sorted(self.eos_ids)]
        said.append(self.model.config.to_json_string())
        said.append(self.tokenizer and self.tokenizer.backend_tokenizer.to_str())
        digest = hashlib.sha256(json.dumps(said).encode())
        for name, weight in sorted(self.model.state_dict().items()):
            digest.update(f"{name} {tuple(weight.shape)}".encode())
            if not weight.is_meta:  # weights offloaded to disk
                some = weight.flatten()[:: max(1, weight.numel() // 64)]
                digest.update(some.contiguous().view(torch.uint8).cpu().numpy().tobytes())
        return digest.hexdigest()

    @property
    def vocabulary_size(self) -> int:
        return int(self.config.vocab_size)

    @property
    def device(self) -> torch.device:
        """The device that token ids must be on."""
        device: torch.device = self.model.get_input_embeddings().weight.device
        return device

    @property
    def eos_ids(self) -> frozenset[int]:
        """The tokens after which a run stops writing."""
        eos = self.model.generation_config.eos_token_id
        return frozenset(() if eos is None else [eos] if isinstance(eos, int) else eos)

    def encode(self, text: str) -> Tokens:
        """The tokens of a text as the model reads it, every token with its exact slice of the text.

        Raises:
            BadInput: the text is empty or not valid Unicode, or there is no tokenizer.
        """
        if not text.strip():
            raise BadInput("The text is empty. Write or paste some text first.")
        try:
            text.encode()
        except UnicodeEncodeError as e:
            raise BadInput(
                "There is half a character at place {place:,} of the text. Take it out.", place=e.start
            ) from e
        if self.tokenizer is None:
            raise BadInput("{model} has no tokenizer: pass token ids, or add its tokenizer files.", model=self.model_id)
        return self.located(text, *self.tokenized(text))

    def tokenized(self, text: str, *, add_special_tokens: bool = True) -> tuple[list[int], list[tuple[int, int]]]:
        """The ids that the tokenizer gives a text, and the span of characters that it gives each id.

        Raises:
            BadInput: the tokenizer has no token for some of the text.
        """
        try:
            encoded = self.tokenizer(text, add_special_tokens=add_special_tokens, return_offsets_mapping=True)
        except Exception as e:  # the tokenizers library raises plain Exception
            raise BadInput(
                "The tokenizer of {model} has no token for some of this text: {why}. Take out what it does not know, "
                "or choose another model.",
                model=self.model_id,
                why=str(e),
            ) from e
        return encoded["input_ids"], encoded["offset_mapping"]

    def located(self, text: str, ids: Sequence[int], spans: Sequence[tuple[int, int]]) -> Tokens:
        """The tokens of a text from its ids and spans, as `tokenized` gives them."""
        offsets, continued = self.pieces.located(text, ids, spans)
        added = [self.pieces.is_added(id_, *span) for id_, span in zip(ids, spans, strict=True)]
        pieces = [
            self.pieces.name(id_) if added_ else text[start:stop]
            for id_, added_, (start, stop) in zip(ids, added, offsets, strict=True)
        ]
        return _tokens(ids, pieces, offsets, np.isin(ids, list(self.pieces.special)) | np.array(added, bool), continued)

    def as_tokens(self, tokens: Tokens | Sequence[int]) -> Tokens:
        """Plain ids as tokens; tokens are returned unchanged.

        Raises:
            BadInput: neither tokens nor a sequence of ids in the vocabulary.
        """
        if isinstance(tokens, Tokens):
            return tokens
        try:
            ids = np.asarray(tokens)
        except ValueError:  # sequences of different lengths
            ids = np.empty((0, 0))
        if ids.ndim != 1 or (ids.size and not np.issubdtype(ids.dtype, np.integer)):
            raise BadInput("Give the tokens as `encode` returns them, or as a flat sequence of whole numbers.")
        self.check_ids(ids)
        return self.continued(_tokens([], [], [], [], []), ids.tolist())

    def to_continue(self, tokens: Tokens) -> Tokens:
        """The tokens without those that the tokenizer has added at the end, such as an end-of-text token.

        After such a token a model would begin a new text. One that the user has written is not removed.
        """
        stop = len(tokens)
        while stop > 1 and tokens.special[stop - 1] and np.ptp(tokens.offsets[stop - 1]) == 0:
            stop -= 1
        return tokens[:stop]

    def check_ids(self, ids: NDArray[np.integer[Any]]) -> None:
        """Refuse ids that the model has no embedding for.

        Raises:
            BadInput: an id outside the vocabulary.
        """
        if ids.size and not 0 <= ids.min() <= ids.max() < self.vocabulary_size:
            raise BadInput(
                "Token ids must be from 0 to {last} for {model}.", last=self.vocabulary_size - 1, model=self.model_id
            )

    def continued(self, tokens: Tokens, ids: Sequence[int]) -> Tokens:
        """The tokens, followed by these ids as tokens.

        If the last tokens hold only the first bytes of a character, their pieces change: see `Pieces.decoded`.
        """
        if self.tokenizer is not None and (n := self.pieces.unfinished(tokens.ids.tolist())):
            tokens, ids = tokens[:-n], [*tokens.ids[-n:].tolist(), *ids]
        pieces, continued = [f"⟨{id_}⟩" for id_ in ids], [False] * len(ids)
        special = np.zeros(len(ids), bool)
        if self.tokenizer is not None:
            pieces, continued = self.pieces.decoded(ids, begins=bool(tokens.special.all()))
            special = np.isin(ids, list(self.pieces.special))
        lengths = [len(piece) for piece in pieces]
        stops = (int(tokens.offsets[-1, 1]) if len(tokens) else 0) + np.cumsum(lengths, dtype=np.int32)
        return tokens + _tokens(ids, pieces, np.stack([stops - lengths, stops], axis=1), special, continued)


def _tokens(ids: Any, pieces: Sequence[str], offsets: Any, special: Any, continued: Any) -> Tokens:
    return Tokens(
        ids=np.asarray(ids, np.int32),
        pieces=tuple(pieces),
        offsets=np.asarray(offsets, np.int32).reshape(-1, 2),
        special=np.asarray(special, bool),
        continued=np.asarray(continued, bool),
    )
