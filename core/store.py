"""Stores finished runs on disk, so that the same request is not computed twice.

The key of an entry is a hash of everything that the result depends on. Several processes may share the directory. When
it is full, the least recently used entries are deleted. Nothing is ever unpickled, and damaged entries count as
missing.
"""

import hashlib
import io
import json
import logging
import re
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import diskcache
import numpy as np
from diskcache.core import MODE_RAW
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from core.engine.options import ReadKeywords, ReadOptions
from core.errors import BadInput, BadTraceFile, StoreUnavailable
from core.measures.costs import Comparison
from core.trace import SCHEMA, PolicySettings, Tokens, Trace

if TYPE_CHECKING:
    from core.model.language_model import LanguageModel

VERSION = 1
"""Raise it when a change of the program makes runs give other traces, so that old entries are not found again."""

MEGABYTES, MOST_MEGABYTES = 500, 10**9
SHARE = 16  # an entry may take at most 1/16 of the store, so that it does not replace all others
PATIENCE = 5.0  # seconds to wait for another process that is writing
OPENING = 60.0  # seconds to wait for another process that is opening the store

_KEY = re.compile("[0-9a-f]{64}")
_DIGEST = hashlib.sha256().digest_size
_FAULTS = (OSError, sqlite3.Error, diskcache.Timeout)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Stored:
    """The result of one request.

    Attributes:
        traces: one trace, or several of policies in lockstep; those of a comparison begin with the full model's.
        arrays: further arrays by name, such as those of a comparison.
    """

    traces: tuple[Trace, ...]
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    @classmethod
    def of(cls, comparison: Comparison) -> "Stored":
        """The entry for a comparison; see `comparison` for the way back."""
        arrays = {
            "kl": comparison.kl,
            "agrees": comparison.agrees,
            "seconds": np.array(comparison.seconds),
            "row_bytes": np.array(comparison.row_bytes),
        }
        return cls((comparison.full, *comparison.traces), arrays)

    @property
    def comparison(self) -> Comparison | None:
        """The comparison from which `of` made this entry; None if it has no full model beside the policies."""
        if "kl" not in self.arrays:
            return None
        full, *traces = self.traces
        return Comparison(
            full=full,
            traces=tuple(traces),
            kl=self.arrays["kl"],
            agrees=self.arrays["agrees"],
            seconds=tuple(self.arrays["seconds"].tolist()),
            row_bytes=int(self.arrays["row_bytes"]),
        )


def key_of(
    lm: "LanguageModel",
    tokens: Tokens,
    policies: Sequence[PolicySettings],
    *,
    beside_full: bool = False,
    generation: tuple[int, float, float, int] = (0, 0.0, 1.0, 0),
    **options: Unpack[ReadKeywords],
) -> str:
    """The key of a request: a hash, 64 hexadecimal digits, of everything that its result depends on.

    Args:
        lm: the model, of which `fingerprint` counts.
        tokens: n tokens; their text counts as well as their ids, since some tokenizers give several texts the same ids.
        policies: the policies in lockstep. Of the oracle only the budget counts, since the rest follows from the text.
        beside_full: whether the full model reads, too, as in `core.experiments.comparison`.
        generation: `max_new_tokens` (0 if the text is only read), `temperature`, `top_p` and `seed`, as in `generate`.
        options: how the text is read, see `ReadOptions`. `chunk` does not count, `beta` only with pyramid budgets.
    """
    how = ReadOptions(**options)
    request = {
        "version": [VERSION, SCHEMA],
        "model": lm.fingerprint,
        "policies": [[policy.key, policy.budget, dict(policy.settings)] for policy in policies],
        "beside_full": beside_full,
        "prefill": how.prefill,
        "positions": how.positions,
        "budgets": [how.budgets, how.beta if how.budgets == "pyramid" else None, how.every],
        "generation": generation,
        "ids": tokens.ids.tolist(),
        "pieces": tokens.pieces,
        "offsets": tokens.offsets.tolist(),
    }
    return hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()


class TraceStore:
    """The store in one directory. Threads may share an object.

    If the disk fails after opening, for example because it is full, the store logs that and does nothing; runs go on.
    """

    def __init__(self, directory: str | PathLike[str], megabytes: float = MEGABYTES) -> None:
        """Open the store, or create it.

        Args:
            directory: its directory, which is created if needed.
            megabytes: how much it may take on the disk, in 10⁶ bytes.

        Raises:
            BadInput: less than 1 MB, or more than `MOST_MEGABYTES`.
            StoreUnavailable: the directory cannot be written.
        """
        if not 1 <= megabytes <= MOST_MEGABYTES:
            raise BadInput(
                "The store may take from 1 to {most:,} MB, not {megabytes:g}.", most=MOST_MEGABYTES, megabytes=megabytes
            )
        self.directory = Path(directory)
        self._limit = int(megabytes * 1e6)
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            # One process at a time: on a busy disk, creating a database takes longer than SQLite lets others wait.
            with FileLock(self.directory / "opening", timeout=OPENING):
                self._cache = self._open()
            (self.directory / "turns").mkdir(exist_ok=True)
        except _FAULTS as e:
            raise StoreUnavailable(
                "The store of runs at {directory} cannot be used ({why}). Choose another directory with --store.",
                directory=self.directory,
                why=str(e),
            ) from e

    def _open(self) -> diskcache.Cache:
        give_up = time.monotonic() + OPENING
        while True:
            try:
                return self._open_now()
            except sqlite3.OperationalError as e:
                # a process that has it open may be writing: diskcache drops an index without waiting for that
                if "locked" not in str(e) or time.monotonic() > give_up:
                    raise
                time.sleep(0.05)

    def _open_now(self) -> diskcache.Cache:
        settings = {
            "size_limit": self._limit,
            "cull_limit": 0,  # `put` makes room
            "eviction_policy": "least-recently-used",
            # Unlike the default write-ahead log, this also works on network drives, and no log file grows.
            "sqlite_journal_mode": "truncate",
            # If a mapped file is cut short by a disk error, the process is killed.
            "sqlite_mmap_size": 0,
        }
        try:
            return diskcache.Cache(str(self.directory), timeout=PATIENCE, disk=_PlainBytes, **settings)
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError as e:
            _log.warning("The store of runs at %s is damaged (%s): beginning anew.", self.directory, e)
            (self.directory / diskcache.core.DBNAME).replace(self.directory / "damaged.db")
            return diskcache.Cache(str(self.directory), timeout=PATIENCE, disk=_PlainBytes, **settings)

    def get(self, key: str) -> Stored | None:
        """The entry with this key; None if it is missing or damaged. The key may come from an untrusted user."""
        if not _KEY.fullmatch(key):
            return None
        try:
            packed = self._cache.get(key)
            if packed is None:
                return None
            stored = _unpacked(packed)
            if stored is None:
                _log.warning("The entry %s of the store of runs is damaged and goes.", key)
                self._cache.delete(key)
            return stored
        except _FAULTS as e:
            _log.warning("The store of runs cannot be read: %s", e)
            return None

    def put(self, key: str, stored: Stored) -> bool:
        """Store the result of a finished request. Returns False if it is too large or the disk fails."""
        packed = _packed(stored)
        if len(packed) > self._limit // SHARE:
            return False
        try:
            self._cache.set(key, packed)
            self._cache.cull()
        except _FAULTS as e:
            _log.warning("The store of runs cannot be written: %s", e)
            return False
        return True

    @contextmanager
    def turn(self, key: str) -> Iterator[Callable[..., bool]]:
        """A lock for computing the result of a key, which only one thread of all processes can hold.

        Gives a function ``comes(seconds=0.25)`` that waits so long for the lock and returns whether it is held now. The
        lock ends with the context, or with the process. Call `get` after it has come, since another thread may have
        stored the result meanwhile. Hold one lock at a time: two keys may share a lock, so two could wait forever.
        """
        # A new lock object each time, since one object does not exclude itself; generators may change their thread.
        lock = FileLock(self.directory / "turns" / key[:3], thread_local=False)

        def comes(seconds: float = 0.25) -> bool:
            try:
                lock.acquire(timeout=seconds)
            except Timeout:
                return False
            except OSError as e:
                _log.warning("Equal requests may be computed twice: %s", e)
            return True

        try:
            yield comes
        finally:
            lock.release()

    def is_computing(self, key: str) -> bool:
        """Whether a thread of any process is computing the result of the key."""
        with self.turn(key) as comes:
            return not comes(0)


class _PlainBytes(diskcache.Disk):  # type: ignore[misc]
    """Stores bytes under text keys in the database itself: nothing is pickled, and no other file is used.

    An entry in any other form was not written by this class. It raises OSError, which diskcache treats as missing.
    """

    def put(self, key: str) -> tuple[str, bool]:
        if type(key) is not str:
            raise TypeError(f"a key is text, not {key!r}")
        return key, True

    def get(self, key: Any, raw: bool) -> str:
        if not raw or type(key) is not str:
            raise OSError("a key that is no text")
        return key

    def store(self, value: bytes, read: bool, key: Any = None) -> tuple[int, int, None, bytes]:
        if read or type(value) is not bytes:
            raise TypeError("only bytes are stored")
        return 0, MODE_RAW, None, value

    def fetch(self, mode: int, filename: str | None, value: Any, read: bool) -> bytes:
        if mode != MODE_RAW or type(value) is not bytes:
            raise OSError("an entry that is not plain bytes")
        return value


def _packed(stored: Stored) -> bytes:
    """A SHA-256 hash, then an .npz file with the traces, each as `Trace.save` writes it, and the arrays."""
    file = io.BytesIO()
    traces = {_name(i): np.frombuffer(_saved(trace), np.uint8) for i, trace in enumerate(stored.traces)}
    np.savez(file, **traces, **stored.arrays)  # type: ignore[arg-type]
    content = file.getvalue()
    return hashlib.sha256(content).digest() + content


def _unpacked(packed: bytes) -> Stored | None:
    """The entry that `_packed` made; None if it is damaged or its traces have a schema that is no longer read."""
    content = packed[_DIGEST:]
    if hashlib.sha256(content).digest() != packed[:_DIGEST]:
        return None
    with np.load(io.BytesIO(content), allow_pickle=False) as npz:
        arrays = dict(npz)
    traces: list[Trace] = []
    try:
        while (saved := arrays.pop(_name(len(traces)), None)) is not None:
            traces.append(Trace.load(io.BytesIO(saved.tobytes())))
    except BadTraceFile:
        return None
    return Stored(tuple(traces), arrays)


def load_stored(path: Path) -> Stored:
    """The entry that `save_stored` wrote.

    Raises:
        BadTraceFile: the file is damaged, or of a version whose traces are no longer read.
    """
    stored = _unpacked(path.read_bytes())
    if stored is None:
        raise BadTraceFile("{file} is no run of this version.", file=path.name)
    return stored


def save_stored(stored: Stored, path: Path) -> None:
    """Write an entry to a file of its own, as the store would keep it."""
    path.write_bytes(_packed(stored))


def _name(i: int) -> str:
    return f"trace_{i}"


def _saved(trace: Trace) -> bytes:
    file = io.BytesIO()
    trace.save(file)
    return file.getvalue()
