"""Texts as they come, from files and from what is pasted. Knows no model.

An editor may put a byte order mark in front of a text. It tells how the text is encoded and is no part of it; to a
model it would be the first token, the one that is seldom forgotten.
"""

import codecs
from os import PathLike
from pathlib import Path

from core.errors import BadInput

MARK = "\ufeff"
UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def encoding_of(path: str | PathLike[str]) -> str:
    """The encoding to open a text file with, which takes a byte order mark off: UTF-8, or UTF-16 if it has its mark.

    Raises:
        OSError: the file cannot be read.
    """
    with open(path, "rb") as file:
        return "utf-16" if file.read(2) in UTF_16 else "utf-8-sig"


def read_text(path: str | PathLike[str]) -> str:
    """The text of a file, without a byte order mark, its lines ended by line feeds.

    Raises:
        BadInput: it cannot be read, or is neither UTF-8 nor UTF-16 with a byte order mark.
    """
    try:
        return Path(path).read_text(encoding=encoding_of(path))
    except OSError as e:
        raise BadInput(f"{path} cannot be read: {e.strerror}.") from e
    except UnicodeDecodeError as e:
        raise BadInput(f"{path} cannot be read: it is not UTF-8. Save it as UTF-8.") from e


def without_mark(text: str) -> str:
    """The text without a byte order mark in front, which may have been copied with it."""
    return text.removeprefix(MARK)
