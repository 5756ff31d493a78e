"""A CSV file of records to which whole lines are added, and which can be continued after an interrupted run."""

import csv
import io
from codecs import BOM_UTF8
from collections.abc import Callable, Iterable, Sequence
from dataclasses import astuple, fields
from os import PathLike
from typing import Any, BinaryIO, Generic, TypeVar, get_type_hints

from core.errors import BadInput

R = TypeVar("R")

PARSERS: dict[Any, Callable[[str], Any]] = {
    str: str,
    int: int,
    float: float,
    int | None: lambda value: int(value) if value else None,
    float | None: lambda value: float(value) if value else None,
}


class GrowingCsv(Generic[R]):
    """The records of one dataclass. Its fields are the columns, of type str, int, float, int | None or float | None.

    A run that was killed leaves at most half a line at the end of the file, which is cut off when it is opened again. A
    file with other content is refused and not changed. Text must not have line breaks. A new file begins with a byte
    order mark, which Excel needs to recognise UTF-8; an existing file without one is continued without.

    Attributes:
        records: all records in the file.
    """

    def __init__(self, path: str | PathLike[str], kind: type[R]) -> None:
        """Open the file, or create it.

        Raises:
            BadInput: the file cannot be opened, or has other content.
        """
        hints = get_type_hints(kind)
        names = [field.name for field in fields(kind)]  # type: ignore[arg-type]
        self._kind = kind
        self._header = BOM_UTF8 + _line(names)
        self._parsers = [PARSERS[hints[name]] for name in names]
        try:
            self._file: BinaryIO = open(path, "ab+")  # noqa: SIM115 (closed by `close`)
        except OSError as e:
            raise BadInput("{file} cannot be written: {why}.", file=path, why=e.strerror) from e
        try:
            self.records = self._repaired(path)
        except BaseException:
            self._file.close()
            raise

    def _repaired(self, path: str | PathLike[str]) -> list[R]:
        self._file.seek(0)
        content = self._file.read()
        whole = content[: content.rfind(b"\n") + 1]
        try:
            header = self._header_of(whole, content)
            lines = io.StringIO(whole[len(header) :].decode(), newline="")
            records = [self._parsed(values) for values in csv.reader(lines)]
        except (ValueError, csv.Error) as e:
            raise BadInput("{file} is a file of another kind. Choose another file.", file=path) from e
        self._file.truncate(len(whole))
        if not whole:
            self._write(self._header)
        return records

    def _header_of(self, whole: bytes, content: bytes) -> bytes:
        """The header that the file has, with or without byte order mark; raises ValueError if it has neither."""
        for header in (self._header, self._header.removeprefix(BOM_UTF8)):
            if whole.startswith(header) or (not whole and header.startswith(content)):
                return header
        raise ValueError("another header")

    def _parsed(self, values: list[str]) -> R:
        """The record with these values; raises ValueError if there is none."""
        return self._kind(*(parse(value) for parse, value in zip(self._parsers, values, strict=True)))

    def append(self, record: R) -> None:
        """Add a record and write it to the file at once."""
        self._write(_line(astuple(record)))  # type: ignore[call-overload]
        self.records.append(record)

    def _write(self, line: bytes) -> None:
        self._file.write(line)
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def check_continues(records: Sequence[object], plan: Sequence[object], what: str) -> None:
    """Check that the records belong to the first entries of the plan: they must have equal values in its fields.

    Raises:
        BadInput: the records belong to another `what`, which is "sweep" or "evaluation".
    """
    if len(records) > len(plan):
        raise BadInput(
            "There are more records than this {what} has: they are another's. Choose another file.", what=what
        )
    for record, planned in zip(records, plan, strict=False):
        for setting in fields(planned):  # type: ignore[arg-type]
            its, ours = getattr(record, setting.name), getattr(planned, setting.name)
            if its != ours:
                raise BadInput(
                    "The records are another {what}'s: where it has {name} {its}, this one has {ours}. Choose "
                    "another file, or the settings of that {what}.",
                    what=what,
                    name=setting.name,
                    its=its,
                    ours=ours,
                )


def _line(values: Iterable[object]) -> bytes:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(values)
    return line.getvalue().encode()
