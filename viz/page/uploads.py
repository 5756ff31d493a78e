"""Uploaded files: texts, and traces saved by this app."""

import zipfile
from pathlib import Path

from core.errors import BadInput, BadTraceFile
from core.policies import Oracle, make_policy, settings_of
from core.texts import decoded
from core.trace import LONGEST_NAME, UNREADABLE, PolicySettings, Trace, recorded
from viz.page import limits

UNPACKED = 5
"""A trace may be this many times the file size limit when it is unpacked; the app's own grow up to 4.4 times."""


def text_of(file: str) -> str:
    """The text of an uploaded file, without a byte order mark.

    Raises:
        BadInput: it is too large, not a .txt, or neither UTF-8 nor UTF-16 with a byte order mark.
        TextTooLong: more than `max_characters`.
    """
    path = _uploaded(file, ".txt")
    try:
        text = decoded(path)
    except UnicodeError as e:
        raise BadInput("The file is not a UTF-8 text. Save it as UTF-8, or paste the text.") from e
    limits.current.check_text(text)
    return text


def trace_of(path: str) -> Trace:
    """The trace in an uploaded file, whose unpacked size is checked before it is read.

    Raises:
        BadInput: it is too large, or not an .npz.
        BadTraceFile: it is too large when unpacked, not a trace, or of a policy that this app does not have.
    """
    file = _uploaded(path, ".npz")
    try:
        most = limits.current.max_upload_mb
        if (unpacked := _unpacked(file) / 1e6) > UNPACKED * most:
            raise BadTraceFile(
                "{unpacked:,.1f} MB when unpacked; at most {limit:,} MB are opened here, {times} times the "
                "{most:,} MB that a file may have. Export a shorter run, or run the app yourself with "
                "--max-upload-mb.",
                unpacked=unpacked,
                limit=UNPACKED * most,
                times=UNPACKED,
                most=most,
            )
        trace = Trace.load(file)
        if not _has_our_policy(trace):
            raise BadTraceFile("Its policy is none of this app; open it with the version that made it.")
        return trace
    except BadTraceFile as e:
        raise BadTraceFile("{file}: {why}", file=file.name, why=e.message) from e


def _unpacked(file: Path) -> int:
    """The unpacked size in bytes that a file declares; no more is ever read of it."""
    try:
        with zipfile.ZipFile(file) as packed:
            return sum(entry.file_size for entry in packed.infolist())
    except UNREADABLE as e:
        raise BadTraceFile("This is not a trace (.npz) saved by this app; export it again.") from e


def _has_our_policy(trace: Trace) -> bool:
    """Whether the app has this policy with these settings; if so, the label that the page shows is the app's own.

    A recorded run has the name that its owner gave it.
    """
    said = trace.policy
    if said.is_recorded:
        return len(said.label) <= LONGEST_NAME and said == recorded(said.label)
    if said.key == Oracle.key:
        return said == PolicySettings(Oracle.key, Oracle.label, Oracle.scope, said.budget)
    try:
        return said == settings_of(make_policy(said.key, said.budget, **said.settings))
    except (BadInput, TypeError):
        return False


def _uploaded(file: str, suffix: str) -> Path:
    path = Path(file)
    if path.suffix.lower() != suffix:
        raise BadInput("{file} is not a {suffix} file, and no other is opened here.", file=path.name, suffix=suffix)
    limits.current.check_file(path)
    return path
