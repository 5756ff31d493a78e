"""Reads text files and removes byte order marks.

An editor may put a byte order mark in front of a text. It tells the encoding and does not belong to the text. If it
stayed, it would be the first token, which most policies keep for long.
"""

import codecs
from os import PathLike
from pathlib import Path

from core.errors import BadInput

MARK = "\ufeff"
UTF_16, UTF_32 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE), (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)


def read_text(path: str | PathLike[str]) -> str:
    """The text of a file, without a byte order mark, its lines ended by line feeds.

    Raises:
        BadInput: the file cannot be read, or is neither UTF-8 nor UTF-16 with a byte order mark.
    """
    try:
        return decoded(path)
    except OSError as e:
        raise BadInput("{file} cannot be read: {why}.", file=path, why=e.strerror) from e
    except UnicodeError as e:
        raise BadInput("{file} cannot be read: it is not UTF-8. Save it as UTF-8.", file=path) from e


def decoded(path: str | PathLike[str]) -> str:
    """`read_text` with Python's own errors.

    Raises:
        OSError: the file cannot be read.
        UnicodeError: it is neither UTF-8 nor UTF-16 with a byte order mark.
    """
    contents = Path(path).read_bytes()
    is_utf_16 = contents[:2] in UTF_16 and contents[:4] not in UTF_32
    # decoded at once: reading the file as text takes the first bytes of a mark, with nothing after them, for no text
    text = contents.decode("utf-16" if is_utf_16 else "utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    if "\0" in text:
        raise UnicodeError("UTF-16 or UTF-32 without a mark reads as UTF-8 full of NUL characters")
    return text


def without_mark(text: str) -> str:
    """A pasted text without the byte order mark that may have been copied with it."""
    return text.removeprefix(MARK)
