"""The text that each token id stands for, for every kind of tokenizer and any order of ids.

Decoding longer and longer sequences of ids and taking the differences does not work: invalid bytes change the text
decoded before them, and some sequences raise an error. So every id is decoded separately. It stands either for *bytes*,
like all ids of a byte-level tokenizer (GPT-2, Llama 3, Qwen) and the byte tokens of a tokenizer with byte fallback
(Llama 2, Mistral, Yi), or for *text*. The bytes of consecutive ids are joined into characters. The text of an id does
not depend on other ids, except that at the beginning of a text a tokenizer may drop the space before the first word.
"""

import re
from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from typing import Any

from transformers.convert_slow_tokenizer import bytes_to_unicode

_BYTES = {character: byte for byte, character in bytes_to_unicode().items()}  # how byte-level vocabularies write bytes
_BYTE_TOKEN = re.compile("<0x([0-9A-F]{2})>")  # how vocabularies with byte fallback write bytes


class Pieces:
    """The pieces of text that a tokenizer's ids stand for.

    Example: with byte fallback, the ids of newline, byte E2 and " t" give ``["\\n", "\\\\xe2", " t"]``. The ids of the
    bytes E2, 82 and AC give ``["€", "", ""]``; the last two continue the character of the first.
    """

    def __init__(self, tokenizer: Any) -> None:
        """For a fast tokenizer of transformers."""
        self._backend = tokenizer.backend_tokenizer
        self._added = {id_: token.content for id_, token in tokenizer.added_tokens_decoder.items()}
        control = (id_ for id_, token in tokenizer.added_tokens_decoder.items() if token.special)
        self.special = frozenset([*tokenizer.all_special_ids, *control])
        decoder, splitter = self._backend.decoder, self._backend.pre_tokenizer
        self._byte_level = "ByteLevel(" in repr(splitter if decoder is None else decoder)
        self._byte_fallback = "ByteFallback(" in repr(decoder)
        self._ends_words = "BPEDecoder(" in repr(decoder)  # a token, not its successor, has the space between
        self._bytes = cache(self._bytes_of)
        self._texts = cache(self._texts_of)

    def decoded(self, ids: Sequence[int], *, begins: bool) -> tuple[list[str], list[bool]]:
        """The piece of each id, and whether the id only continues a character that an earlier id began.

        If a character is split over several ids, the first has it as its piece, and the others have empty pieces. Bytes
        that do not form characters are written as ``\\xe2``.

        Args:
            ids: any ids, even ones that the tokenizer does not have.
            begins: whether the ids are at the beginning of a text, after special tokens at most.
        """
        pieces: list[str] = []
        continued: list[bool] = []
        waiting: list[bytes] = []  # of a character that is not complete yet

        def spell_out() -> None:
            pieces.extend(map(_spelled, waiting))
            continued.extend([False] * len(waiting))
            waiting.clear()

        for before, id_ in pairwise([None, *ids]):
            assert id_ is not None
            bytes_ = self._bytes(id_)
            if bytes_ is None or not _may_become_text(b"".join([*waiting, bytes_])):
                spell_out()
            if bytes_ is None:
                pieces.append(self._texts(id_)[1] if begins else self._text_after(before, id_))
                continued.append(False)
            else:
                waiting.append(bytes_)
                if _is_text(together := b"".join(waiting)):
                    pieces += [together.decode(), *[""] * (len(waiting) - 1)]
                    continued += [False, *[True] * (len(waiting) - 1)]
                    waiting.clear()
            begins = begins and id_ in self.special
        spell_out()
        return pieces, continued

    def located(
        self, text: str, ids: Sequence[int], spans: Sequence[tuple[int, int]]
    ) -> tuple[list[tuple[int, int]], list[bool]]:
        """Which characters of the text each id stands for, and whether it only continues a character.

        If the text goes on with what an id decodes to, the id takes these characters. If not, the tokenizer has changed
        the text before looking it up (lower case, composed accents, unknown words), and the id takes the characters up
        to the end of its span. Characters in no span go to the next id if they are white space, else (an accent) to the
        id before. Example: a tokenizer in lower case gives "Hi you" the ids "hi" and "you" with the spans 0–2 and 3–6;
        the result is 0–2 and 2–6. Spans alone would be wrong: an id for a space that the tokenizer puts before the text
        may have the first character of the text as its span.

        Args:
            text: the text that was encoded.
            ids: its ids.
            spans: begin and end of each id, as the tokenizer gives them; empty for an id that it has added.

        Returns:
            Begin and end of each id, without gaps between; and whether each only continues a character.
        """
        places: list[tuple[int, int]] = []
        continued: list[bool] = []
        decoded, continues = self.decoded(ids, begins=False)
        end, fresh = 0, True
        for i, (id_, piece, continues_, (begin, stop)) in enumerate(zip(ids, decoded, continues, spans, strict=True)):
            start = end
            if self.is_added(id_, begin, stop):
                continues_ = False
            else:
                candidates = [piece, *self._texts(id_)[1:]] if fresh and self._bytes(id_) is None else [piece]
                found = next((candidate for candidate in candidates if text.startswith(candidate, end)), None)
                end = max(end, stop) if found is None else end + len(found)
                rest = (spans[j] for j in range(i + 1, len(spans)))
                left_out = text[end : next((max(b, end) for b, s in rest if s > end), len(text))]
                end += len(_before_space(left_out))
                if found is None:
                    continues_ = start == end and begin < start
                fresh = id_ in self._added
            places.append((start, end))
            continued.append(continues_)
        return places, continued

    def is_added(self, id_: int, begin: int, stop: int) -> bool:
        """Whether the tokenizer has added the token, such as ``<s>``: it has a name, but an empty span."""
        bytes_ = self._bytes(id_)
        return begin == stop and (self._texts(id_)[1] if bytes_ is None else bytes_) not in ("", b"")

    def unfinished(self, ids: Sequence[int]) -> int:
        """How many ids at the end hold the first bytes of a character that is not complete yet."""
        bytes_, n = b"", 0
        for id_ in reversed(ids[-4:]):  # a character has at most four bytes
            own = self._bytes(id_)
            if own is None:
                break
            bytes_, n = own + bytes_, n + 1
            if _may_become_text(bytes_):
                return 0 if _is_text(bytes_) else n
        return 0

    def name(self, id_: int) -> str:
        """A text to show for a single id; bytes that do not form characters are written as ``\\xe2``."""
        bytes_ = self._bytes(id_)
        return self._texts(id_)[0] if bytes_ is None else _spelled(bytes_)

    def _text_after(self, before: int | None, id_: int) -> str:
        """The text of an id that follows the id `before`."""
        if self._ends_words and before is not None and id_ not in self._added and before not in self._added:
            alone, both = (self._backend.decode(some, skip_special_tokens=False) for some in ([before], [before, id_]))
            if both.startswith(alone):
                return str(both[len(alone) :])
        return self._texts(id_)[0]

    def _bytes_of(self, id_: int) -> bytes | None:
        """The bytes that an id stands for; None if it stands for text."""
        token = self._backend.id_to_token(id_)
        if token is None:
            return None
        if self._byte_fallback and (found := _BYTE_TOKEN.fullmatch(token)):
            return bytes([int(found[1], base=16)])
        if self._byte_level and id_ not in self._added and set(token) <= _BYTES.keys():
            return bytes(_BYTES[character] for character in token)
        return None

    def _texts_of(self, id_: int) -> tuple[str, str]:
        """The text of an id inside a text, and at the beginning of one."""
        name = self._added.get(id_) or self._backend.id_to_token(id_)
        if name is None:
            name = f"⟨{id_}⟩"
        elif id_ not in self._added:
            alone, twice = (self._backend.decode([id_] * n, skip_special_tokens=False) for n in (1, 2))
            if twice.startswith(alone):
                return twice[len(alone) :], alone
        return name, name


def _before_space(text: str) -> str:
    return "" if text[:1].isspace() else "".join(text.split(maxsplit=1)[:1])


def _spelled(bytes_: bytes) -> str:
    """The bytes as text; those that do not form characters are written as ``\\xe2``."""
    return bytes_.decode(errors="backslashreplace")


def _is_text(bytes_: bytes) -> bool:
    try:
        bytes_.decode()
    except UnicodeDecodeError:
        return False
    return True


def _may_become_text(bytes_: bytes) -> bool:
    """Whether these are text, or would be with more bytes after them."""
    try:
        bytes_.decode()
    except UnicodeDecodeError as e:
        return e.reason == "unexpected end of data"
    return True
