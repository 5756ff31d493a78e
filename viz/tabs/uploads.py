"""Uploaded files: texts, and traces of our own."""

import zipfile
from pathlib import Path

from core import Trace
from core.errors import BadInput, BadTraceFile

MOST_BYTES = 100_000_000  # of a trace's arrays: 32 layers with 32 KV heads over 4,096 tokens are 70 MB


def text_of(file: str) -> str:
    """The text of an uploaded file.

    Raises:
        BadInput: it is not UTF-8.
    """
    try:
        return Path(file).read_text(encoding="utf-8")
    except UnicodeDecodeError as e:
        raise BadInput("The file is not a UTF-8 text. Save it as UTF-8, or paste the text.") from e


def trace_of(path: str) -> Trace:
    """The trace in a file, which is measured before it is unpacked.

    Raises:
        BadTraceFile: it is too large, or not a trace.
    """
    file = Path(path)
    try:
        with zipfile.ZipFile(file) as packed:
            size = sum(entry.file_size for entry in packed.infolist())
        if size > MOST_BYTES:
            raise BadTraceFile(
                f"{size / 1e6:,.0f} MB when unpacked; at most {MOST_BYTES / 1e6:,.0f} MB are opened here. "
                "Export a shorter run."
            )
        return Trace.load(file)
    except zipfile.BadZipFile:
        raise BadTraceFile(f"{file.name}: This is not a trace (.npz) saved by this app; export it again.") from None
    except BadTraceFile as e:
        raise BadTraceFile(f"{file.name}: {e}") from e
