"""The record of one run, which needs neither a model nor a policy to be read.

A token is evicted at most once by each decider, so a single array, `evicted_at`, says what was kept at every step. A
*group* is one decider: the whole layer, or one KV head of it.
"""

import json
import lzma
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from os import PathLike
from typing import Any, BinaryIO, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from core.errors import BadInput, BadTraceFile

Ints: TypeAlias = NDArray[np.integer[Any]]
Floats: TypeAlias = NDArray[np.floating[Any]]
Bools: TypeAlias = NDArray[np.bool_]
Scope: TypeAlias = Literal["layer", "kv_head"]
Prefill: TypeAlias = Literal["token-by-token", "one-shot"]
Positions: TypeAlias = Literal["original", "log-gap", "in-cache"]
Budgets: TypeAlias = Literal["uniform", "pyramid", "adaptive"]

NEVER = int(np.iinfo(np.int32).max)
SCHEMA = 4
LATER: dict[int, dict[str, Any]] = {
    2: {"positions": "original"},
    3: {"sliding_windows": []},
    4: {"budgets": "uniform", "beta": 20, "every": 1},
}
"""By schema, the header fields that files of earlier ones lack, with the values that these files had in fact."""

RECORDED, LONGEST_NAME = "recorded", 60
"""The key of every recorded run in place of a policy's, and the most characters that its name may have."""

LONGEST_GAP = 10  # positions "log-gap": a longer gap g between neighbouring rows counts as ln(ln g)


@dataclass(frozen=True, eq=False)
class Tokens:
    """A text as the model reads it: n tokens.

    Attributes:
        ids: (n,) int32, the vocabulary ids.
        pieces: n strings, each token's exact slice of the text; empty for the later tokens of a character that is
            split over several tokens; the token's name if the text does not have it (a special token put in front).
        offsets: (n, 2) int32, the first character of each piece in the text, and the one after its last.
        special: (n,) bool, control tokens of the model such as ``<s>`` or ``<|im_end|>``.
        continued: (n,) bool, the token continues a character that an earlier token began.
    """

    ids: Ints
    pieces: tuple[str, ...]
    offsets: Ints
    special: Bools
    continued: Bools

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, some: slice) -> "Tokens":
        """Some of the tokens; their offsets stay those of the whole text."""
        return Tokens(self.ids[some], self.pieces[some], self.offsets[some], self.special[some], self.continued[some])

    def __add__(self, more: "Tokens") -> "Tokens":
        """Both, one after the other; the offsets of `more` must already count from the beginning of the whole text."""
        return Tokens(
            np.concatenate([self.ids, more.ids]),
            self.pieces + more.pieces,
            np.concatenate([self.offsets, more.offsets]),
            np.concatenate([self.special, more.special]),
            np.concatenate([self.continued, more.continued]),
        )


@dataclass(frozen=True)
class PolicySettings:
    """A policy as a trace records it: `Policy.key`, `label`, `scope` and `budget`, and its other settings by name."""

    key: str
    label: str
    scope: Scope
    budget: int | None
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_recorded(self) -> bool:
        """Whether other code than ours evicted, and `core.record` watched: neither budget nor reasons are known."""
        return self.key == RECORDED

    @property
    def keeps_all(self) -> bool:
        """Whether nothing is ever evicted, as in the full model."""
        return self.budget is None and not self.is_recorded

    def __str__(self) -> str:
        return self.label if self.budget is None else f"{self.label}, budget {self.budget}"


def recorded(name: str = "") -> PolicySettings:
    """What stands for the policy in the trace of a recorded run: a name, "Recorded" if there is none.

    Raises:
        BadInput: the name has more than `LONGEST_NAME` characters.
    """
    if len(name) > LONGEST_NAME:
        raise BadInput("The name has {n} characters; at most {most} fit.", n=len(name), most=LONGEST_NAME)
    return PolicySettings(RECORDED, name or "Recorded", "kv_head", None)


@dataclass(frozen=True, eq=False)
class Trace:
    """What one policy kept and evicted while one model read one text, and perhaps wrote on.

    In the trace of a recorded run (`core.record`) the numbers that nobody told are NaN.

    Attributes:
        model_id: the model's registry name, hub id or directory.
        policy: the policy and its settings.
        prefill: how the prompt was read, ``"token-by-token"`` or ``"one-shot"``.
        tokens: the n tokens, the generated ones included.
        prompt_length: how many of the tokens were given; the rest were generated.
        evicted_at: (layers, groups, n) int32, the step at which the token was evicted, after that step had attended to
            it; `NEVER` if it is still there. It may equal the token's own position.
        nll: (n,) float32, the negative log-likelihood of each token in nats, given the rows held before it; NaN at 0.
        importance_at_eviction: (layers, groups, n) float32, the importance of the token when it was evicted (for TOVA:
            its attention); NaN if it never was.
        runner_up_importance: (layers, groups, n) float32, the lowest importance among the rows that were kept at that
            step; infinite if the policy spared all of these; NaN if the token was never evicted.
        attention_received: (layers, groups, n) float32, attention summed over all steps that attended to the token,
            averaged over the query heads of the group. Over all positions it sums to the number of steps; to less in a
            model with learned sinks, which get a share and are no rows.
        positions: the option of this name in `core.engine.options.ReadOptions`.
        sliding_windows: the model's own sliding window of each layer (Mistral), in tokens, the query's own token
            included; 0 for a layer without one. Empty if no layer has one.
        budgets, beta, every: the options of these names in `core.engine.options.ReadOptions`.
    """

    model_id: str
    policy: PolicySettings
    prefill: Prefill
    tokens: Tokens
    prompt_length: int
    evicted_at: Ints
    nll: Floats
    importance_at_eviction: Floats
    runner_up_importance: Floats
    attention_received: Floats
    positions: Positions = "original"
    sliding_windows: tuple[int, ...] = ()
    budgets: Budgets = "uniform"
    beta: int = 20
    every: int = 1

    def __len__(self) -> int:
        return len(self.tokens)

    def __repr__(self) -> str:
        """One line that says what was recorded; its arrays would fill pages of a notebook."""
        layers, groups, n = self.evicted_at.shape
        size = "" if self.policy.budget is None else f", budget {self.policy.budget}"
        return (
            f"<Trace: {self.policy.label}{size}, {n} tokens, {layers} layers, {groups} deciders each, {self.model_id}>"
        )

    def kept(self, step: int) -> Bools:
        """(layers, groups, n): whether each token is held after the step: ``position <= step < evicted_at``.

        At most `budget` per group, plus ``every - 1`` that wait for the next cut. With budgets other than uniform that
        is the mean over the layers, or over the KV heads of a layer. A one-shot prompt is whole until its end.

        Raises:
            BadInput: the step is not in 0 … n - 1.
        """
        self._check(step)
        return (np.arange(len(self)) <= step) & (step < self.evicted_at)

    def attended(self, step: int) -> Bools:
        """(layers, groups, n): whether the step's query can attend to each token: ``position <= step <= evicted_at``.

        These are the rows kept before the step, and the query's own. Rows beyond the model's own sliding window get no
        attention, but they count as attended here as long as the policy holds them. `in_sight` leaves them out.

        Raises:
            BadInput: the step is not in 0 … n - 1.
        """
        self._check(step)
        return (np.arange(len(self)) <= step) & (step <= self.evicted_at)

    def in_sight(self, step: int) -> Bools:
        """(layers, groups, n): whether each token is attended to and inside the model's own sliding window.

        Inside means ``distance < window``, where the distance to the query depends on `positions`, see
        `core.engine.rotation`. If the model has no sliding window, this is the same as `attended`.

        Raises:
            BadInput: the step is not in 0 … n - 1.
        """
        attended = self.attended(step)
        if not self.sliding_windows:
            return attended
        windows = np.array(self.sliding_windows)[:, None, None]
        seen: Bools = attended & ((windows == 0) | (_distances(attended, step, self.positions) < windows))
        return seen

    def _check(self, step: int) -> None:
        if not 0 <= step < len(self):
            raise BadInput(
                "Step {step} is outside this trace: it has the steps 0 to {last}.", step=step, last=len(self) - 1
            )

    def save(self, file: str | PathLike[str] | BinaryIO) -> None:
        """Write a compressed .npz, readable by `load` and by plain `numpy.load` (no pickled objects).

        It has the arrays of this trace and of its tokens by their names (`_ARRAYS`), and the string `header`: a JSON
        object with all else. There `pieces` are those of the tokens, `policy` has the attributes of `PolicySettings`,
        and `schema` is the number of this format, which `load` accepts up to its own `SCHEMA`.
        """
        header = {
            "schema": SCHEMA,
            "model_id": self.model_id,
            "policy": asdict(self.policy),
            "prefill": self.prefill,
            "positions": self.positions,
            "sliding_windows": self.sliding_windows,
            "budgets": self.budgets,
            "beta": self.beta,
            "every": self.every,
            "prompt_length": self.prompt_length,
            "pieces": self.tokens.pieces,
        }
        arrays: dict[str, Any] = {name: _array(self, name) for name in _ARRAYS}
        np.savez_compressed(file, header=np.array(json.dumps(header)), **arrays)

    @classmethod
    def load(cls, file: str | PathLike[str] | BinaryIO) -> "Trace":
        """Read what `save` wrote. Nothing is ever unpickled.

        Raises:
            BadTraceFile: no such file, not a trace, truncated, of another schema, or inconsistent in itself.
        """
        try:
            with np.load(file, allow_pickle=False) as npz:
                header = json.loads(str(npz["header"]))
                if header["schema"] not in range(1, SCHEMA + 1):
                    raise BadTraceFile(
                        "This trace has schema {schema!r:.50}; this version reads schema {ours}. Save it again with "
                        "a matching version of the app.",
                        schema=header["schema"],
                        ours=SCHEMA,
                    )
                for schema in range(header["schema"] + 1, SCHEMA + 1):
                    header |= LATER[schema]
                arrays = {name: npz[name] for name in _ARRAYS}
            return cls._build(header, arrays)
        except FileNotFoundError as e:
            raise BadTraceFile("There is no file {file}.", file=str(file)) from e
        except UNREADABLE as e:
            raise BadTraceFile(
                "This file is not a whole trace (.npz) saved by this app; download or export it again."
            ) from e

    @classmethod
    def _build(cls, header: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> "Trace":
        _check_arrays(arrays)
        of_tokens = {name: arrays.pop(name) for name in ("ids", "offsets", "special", "continued")}
        trace = cls(
            model_id=header["model_id"],
            policy=PolicySettings(**header["policy"]),
            prefill=header["prefill"],
            tokens=Tokens(pieces=tuple(header["pieces"]), **of_tokens),
            prompt_length=header["prompt_length"],
            positions=header["positions"],
            sliding_windows=tuple(header["sliding_windows"]),
            budgets=header["budgets"],
            beta=header["beta"],
            every=header["every"],
            **arrays,
        )
        _check_header(header, trace)
        return trace


def _distances(attended: Bools, step: int, positions: Positions) -> NDArray[Any]:
    """The distance of each attended row to the query, in a shape that broadcasts to (layers, groups, n).

    It is the distance of `core.engine.rotation`, and has no meaning for rows that are not attended to.
    """
    position = np.arange(attended.shape[-1])
    if positions == "original":
        return step - position
    if positions == "in-cache":
        newer_and_own: NDArray[Any] = attended[..., ::-1].cumsum(axis=-1)[..., ::-1]
        return newer_and_own - 1
    # for each position, the next attended row after it; the query's own if there is none in between
    newer = np.minimum.accumulate(np.where(attended, position, step)[..., :0:-1], axis=-1)[..., ::-1]
    gaps = np.zeros(attended.shape)
    gaps[..., :-1] = np.where(attended[..., :-1], newer - position[:-1], 0)
    long = gaps > LONGEST_GAP
    gaps[long] = np.log(np.log(gaps[long]))
    to_query: NDArray[Any] = gaps[..., ::-1].cumsum(axis=-1)[..., ::-1]
    return to_query


def _check_arrays(arrays: dict[str, NDArray[Any]]) -> None:
    """Raise ValueError unless types and shapes are right and every step in `evicted_at` is possible."""
    evicted_at = arrays["evicted_at"]
    layers, groups, n = evicted_at.shape
    if evicted_at.size == 0:
        raise ValueError("there is no layer, no group or no token")
    shapes = {"nll": (n,), "offsets": (n, 2), "ids": (n,), "special": (n,), "continued": (n,)}
    for name, array in arrays.items():
        if array.dtype != _ARRAYS[name] or array.shape != shapes.get(name, (layers, groups, n)):
            raise ValueError(f"{name} is {array.dtype} {array.shape}")
    possible = (np.arange(n) <= evicted_at) & (evicted_at < n) | (evicted_at == NEVER)
    if not possible.all():
        raise ValueError("a token was evicted before it was read, or after the end")


def _check_header(header: dict[str, Any], trace: Trace) -> None:
    """Raise ValueError unless the header's values have the right types and fit the arrays."""
    policy, pieces = trace.policy, header["pieces"]
    fits = (
        isinstance(trace.model_id, str)
        and isinstance(policy.key, str)
        and isinstance(policy.label, str)
        and isinstance(policy.settings, dict)
        and policy.scope in get_args(Scope)
        and (policy.scope == "kv_head" or trace.evicted_at.shape[1] == 1)
        and (policy.budget is None or _is_count(policy.budget))
        and trace.prefill in get_args(Prefill)
        and trace.positions in get_args(Positions)
        and len(trace.sliding_windows) in (0, len(trace.evicted_at))
        and all(type(window) is int and 0 <= window <= NEVER for window in trace.sliding_windows)
        and trace.budgets in get_args(Budgets)
        and _is_count(trace.beta)
        and _is_count(trace.every)
        and _is_count(trace.prompt_length)
        and trace.prompt_length <= len(trace)
        and isinstance(pieces, list)
        and len(pieces) == len(trace)
        and all(isinstance(piece, str) for piece in pieces)
    )
    if not fits:
        raise ValueError("the header does not describe this trace")
    "".join([trace.model_id, policy.key, policy.label, *pieces]).encode()  # raises if a text has half a character


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= NEVER


UNREADABLE = (
    OSError,
    EOFError,
    KeyError,
    TypeError,
    ValueError,
    AttributeError,
    MemoryError,  # an array that claims to be huge
    OverflowError,  # or even larger
    RuntimeError,  # a damaged zip directory, a header nested too deeply
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
)
"""What opening or reading a broken .npz file may raise."""

_ARRAYS: dict[str, type[np.generic]] = {
    "ids": np.int32,
    "offsets": np.int32,
    "special": np.bool_,
    "continued": np.bool_,
    "evicted_at": np.int32,
    "nll": np.float32,
    "importance_at_eviction": np.float32,
    "runner_up_importance": np.float32,
    "attention_received": np.float32,
}


def _array(trace: Trace, name: str) -> NDArray[Any]:
    owner = trace.tokens if hasattr(trace.tokens, name) else trace
    array: NDArray[Any] = getattr(owner, name)
    return array
