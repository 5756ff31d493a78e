"""Uploaded texts."""

from pathlib import Path

from core.errors import BadInput


def text_of(file: str) -> str:
    """The text of an uploaded file.

    Raises:
        BadInput: it is not UTF-8.
    """
    try:
        return Path(file).read_text(encoding="utf-8")
    except UnicodeDecodeError as e:
        raise BadInput("The file is not a UTF-8 text. Save it as UTF-8, or paste the text.") from e
