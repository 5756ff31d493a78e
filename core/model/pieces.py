"""What text each token id stands for, whatever the tokenizer and in whatever order the ids come.

Asking a tokenizer for the text of growing id sequences and taking differences is not enough: stray bytes spoil what
stands before them, and some sequences make it fail. So every id is looked at by itself. It stands either for *bytes*,
as all ids of a byte-level tokenizer do (GPT-2, Llama 3, Qwen) and the byte tokens of a tokenizer with byte fallback
(Llama 2, Mistral, Yi), or for *text*. Bytes are put together to characters across ids; text needs no neighbours but
for one thing: at the beginning of a text, a tokenizer may leave out the space that it puts before every word.
"""

import re
from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from typing import Any

from transformers.convert_slow_tokenizer import bytes_to_unicode

_BYTES = {character: byte for byte, character in bytes_to_unicode().items()}  # of a byte-level vocabulary
_BYTE_TOKEN = re.compile("<0x([0-9A-F]{2})>")  # of a vocabulary with byte fallback


class Pieces:
    """The pieces of text that a tokenizer's ids stand for.

    Example: a tokenizer with byte fallback, ids of newline, byte E2, " t" give ``["\\n", "\\\\xe2", " t"]``; of the
    bytes E2, 82, AC they give ``["€", "", ""]``, where the last two continue the first.
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
        self._ends_words = "BPEDecoder(" in repr(decoder)  # a token says that a space follows it, if anything does
        self._bytes = cache(self._bytes_of)
        self._texts = cache(self._texts_of)

    def decoded(self, ids: Sequence[int], *, begins: bool) -> tuple[list[str], list[bool]]:
        """The piece of each id, and whether it only continues the character that an earlier id began.

        Of a character that is split over several ids, the first has it and the others have an empty piece. Bytes that
        are no characters are spelled out as ``\\xe2``.

        Args:
            ids: any ids, also some that the tokenizer does not have.
            begins: whether they begin a text; special tokens before it do not count as text.
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

        An id takes what it decodes to if that comes next in the text. Else the tokenizer has changed the text before
        it looked it up (lower case, composed accents, unknown words), and what it says of the id's span counts. Of what
        it leaves out of all spans, white space goes to the id that follows, anything else (an accent) to the one
        before. The spans alone would not do: a space that is put before a text claims the text's first character.

        Args:
            text: what was encoded.
            ids: the ids it was encoded to.
            spans: begin and end of each, as the tokenizer gives them; an empty one of what it added by itself.

        Returns:
            Begin and end of each: one after the other, without gaps.
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
        """Whether the tokenizer has added the token by itself, such as one that begins every text.

        It has then a text of its own (its name), but spans none.
        """
        bytes_ = self._bytes(id_)
        return begin == stop and (self._texts(id_)[1] if bytes_ is None else bytes_) not in ("", b"")

    def unfinished(self, ids: Sequence[int]) -> int:
        """How many ids at the end have begun a character that is not complete yet."""
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
        """What to call an id by itself."""
        bytes_ = self._bytes(id_)
        return self._texts(id_)[0] if bytes_ is None else _spelled(bytes_)

    def _text_after(self, before: int | None, id_: int) -> str:
        """What it stands for within a text, after this id."""
        if self._ends_words and before is not None and id_ not in self._added and before not in self._added:
            alone, both = (self._backend.decode(some, skip_special_tokens=False) for some in ([before], [before, id_]))
            if both.startswith(alone):
                return str(both[len(alone) :])
        return self._texts(id_)[0]

    def _bytes_of(self, id_: int) -> bytes | None:
        """The bytes it stands for; None if it stands for text."""
        token = self._backend.id_to_token(id_)
        if token is None:
            return None
        if self._byte_fallback and (found := _BYTE_TOKEN.fullmatch(token)):
            return bytes([int(found[1], base=16)])
        if self._byte_level and id_ not in self._added and set(token) <= _BYTES.keys():
            return bytes(_BYTES[character] for character in token)
        return None

    def _texts_of(self, id_: int) -> tuple[str, str]:
        """What it stands for within a text, and at the beginning of one."""
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
    """Its text, and whatever in it is none as ``\\xe2``."""
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
