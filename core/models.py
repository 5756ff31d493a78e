"""A language model: how it is loaded, and how a text becomes tokens.

Weights come as safetensors or GGUF only, and code from a hub is never run. Whatever is loaded must pass a check that
its attention can be replaced faithfully; what would show a fiction is refused by name.
"""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from huggingface_hub import constants, snapshot_download
from huggingface_hub.errors import GatedRepoError, HFValidationError, LocalEntryNotFoundError, RepositoryNotFoundError
from numpy.typing import NDArray
from tokenizers.decoders import DecodeStream
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.convert_slow_tokenizer import bytes_to_unicode

from core import batch
from core.errors import (
    BadInput,
    GatedModel,
    HubUnreachable,
    OutOfMemory,
    UnknownModel,
    UnsupportedModel,
    UserError,
)
from core.linear import quicken
from core.policies import Full
from core.registry import DEFAULT_MODEL, MODELS, ModelSpec
from core.rotary import LateRotation, Rotary
from core.run import Run
from core.trace import Tokens

DTYPES = {name: getattr(torch, name) for name in ("float32", "bfloat16", "float16", "float64")}


@dataclass(frozen=True, eq=False)
class LanguageModel:
    """A loaded model that has passed the capability check, its tokenizer, and what it is called.

    Attributes:
        model: transformers' own, in eval mode; without our keyword it attends as it always does.
        tokenizer: a fast tokenizer; None if the directory has none, then only plain ids can be read.
        spec: its entry in `MODELS`; None for any other directory or hub id.
        model_id: its registry name, or the directory or hub id it was loaded from.
    """

    model: Any
    tokenizer: Any
    spec: ModelSpec | None
    model_id: str

    @property
    def n_layers(self) -> int:
        return int(self.model.config.num_hidden_layers)

    @property
    def n_query_heads(self) -> int:
        return int(self.model.config.num_attention_heads)

    @property
    def n_kv_heads(self) -> int:
        return int(getattr(self.model.config, "num_key_value_heads", None) or self.n_query_heads)

    @property
    def context_length(self) -> int | None:
        """The most tokens the model was trained to read; None if its configuration does not say."""
        return getattr(self.model.config, "max_position_embeddings", None)

    @cached_property
    def rotary(self) -> Rotary:
        """Its rotary embedding, for rows that are numbered anew; checked when first asked for.

        Raises:
            UnsupportedModel: it has none, or one that cannot be applied late.
        """
        rotary = Rotary(self)
        _check_rotary(self, rotary)
        return rotary

    @cached_property
    def fingerprint(self) -> str:
        """A digest that tells this model from any other, also from one that has had the same name.

        Of its configuration, tokenizer, number format and device, and of 64 numbers of every tensor: reading all of
        them would take longer than many a run.
        """
        said = [self.model_id, str(self.model.dtype), self.device.type, sorted(self.eos_ids)]
        said.append(self.model.config.to_json_string())
        said.append(self.tokenizer and self.tokenizer.backend_tokenizer.to_str())
        digest = hashlib.sha256(json.dumps(said).encode())
        for name, weight in sorted(self.model.state_dict().items()):
            digest.update(f"{name} {tuple(weight.shape)}".encode())
            if not weight.is_meta:  # what is kept on disk for want of memory
                some = weight.flatten()[:: max(1, weight.numel() // 64)]
                digest.update(some.contiguous().view(torch.uint8).cpu().numpy().tobytes())
        return digest.hexdigest()

    @property
    def vocabulary_size(self) -> int:
        return int(self.model.config.vocab_size)

    @property
    def device(self) -> torch.device:
        """Where token ids go."""
        device: torch.device = self.model.get_input_embeddings().weight.device
        return device

    @property
    def eos_ids(self) -> frozenset[int]:
        """The tokens after which a run stops writing."""
        eos = self.model.generation_config.eos_token_id
        return frozenset(() if eos is None else [eos] if isinstance(eos, int) else eos)

    def encode(self, text: str) -> Tokens:
        """The text as the model reads it, every token with its exact slice of the text.

        Raises:
            BadInput: the text is empty or no Unicode, or the model came without a tokenizer.
        """
        if not text.strip():
            raise BadInput("The text is empty. Write or paste some text first.")
        try:
            text.encode()
        except UnicodeEncodeError as e:
            raise BadInput(f"There is half a character at place {e.start:,} of the text. Take it out.") from e
        if self.tokenizer is None:
            raise BadInput(f"{self.model_id} has no tokenizer: pass token ids, or add its tokenizer files.")
        encoded = self.tokenizer(text, return_offsets_mapping=True)
        return self.located(text, encoded["input_ids"], encoded["offset_mapping"])

    def located(self, text: str, ids: Sequence[int], spans: Sequence[tuple[int, int]]) -> Tokens:
        """The ids as tokens of the text, given the characters that the tokenizer says each of them spans."""
        pieces, offsets, continued = [], [], []
        end = 0
        special = np.isin(ids, self.tokenizer.all_special_ids)
        for id_, (begin, stop) in zip(ids, spans, strict=True):
            # a tokenizer may leave white space out of its offsets: it belongs to the token that follows
            start, end = end, max(end, stop)
            pieces.append(text[start:end] if stop > 0 else self._name(id_))
            offsets.append((start, end))
            continued.append(stop > 0 and start == end and begin < start)
        return _tokens(ids, pieces, offsets, special, continued)

    def as_tokens(self, tokens: Tokens | Sequence[int]) -> Tokens:
        """Plain ids become tokens; tokens stay as they are.

        Raises:
            BadInput: something else than a sequence of whole numbers.
        """
        if isinstance(tokens, Tokens):
            return tokens
        ids = np.asarray(tokens)
        if ids.ndim != 1 or (ids.size and not np.issubdtype(ids.dtype, np.integer)):
            raise BadInput("Give the tokens as `encode` returns them, or as a flat sequence of whole numbers.")
        self.check_ids(ids)
        return self.continued(_tokens([], [], [], [], []), ids.tolist())

    def check_ids(self, ids: NDArray[np.integer[Any]]) -> None:
        """Refuse ids that the model has no embedding for.

        Raises:
            BadInput: an id outside the vocabulary.
        """
        if ids.size and not 0 <= ids.min() <= ids.max() < self.vocabulary_size:
            raise BadInput(f"Token ids must be from 0 to {self.vocabulary_size - 1} for {self.model_id}.")

    def continued(self, tokens: Tokens, ids: Sequence[int]) -> Tokens:
        """The tokens and after them these ids, with the text they stand for."""
        pieces, continued = self._decoded(tokens.ids[-4:].tolist(), ids)
        ends = int(tokens.offsets[-1, 1]) if len(tokens) else 0
        stops = ends + np.cumsum([len(piece) for piece in pieces], dtype=np.int32)
        new = _tokens(
            ids,
            pieces,
            np.stack([stops - [len(piece) for piece in pieces], stops], axis=1) if pieces else [],
            np.isin(ids, self.tokenizer.all_special_ids) if self.tokenizer else np.zeros(len(ids), bool),
            continued,
        )
        return tokens + new

    def _decoded(self, context: Sequence[int], ids: Sequence[int]) -> tuple[list[str], list[bool]]:
        """The text of each id; a character split over several ids goes to the first, the others continue it."""
        if self.tokenizer is None:
            return [f"⟨{id_}⟩" for id_ in ids], [False] * len(ids)
        stream = DecodeStream(skip_special_tokens=False)
        for id_ in context:
            stream.step(self.tokenizer.backend_tokenizer, id_)
        pieces: list[str] = []
        continued: list[bool] = []
        waiting: list[int] = []
        for id_ in ids:
            waiting.append(id_)
            text = stream.step(self.tokenizer.backend_tokenizer, id_)
            if text is not None:
                whole = "\N{REPLACEMENT CHARACTER}" not in text
                pieces += [text] + [""] * (len(waiting) - 1) if whole else map(self._name, waiting)
                continued += [False] + [whole] * (len(waiting) - 1)
                waiting = []
        pieces += map(self._name, waiting)
        continued += [False] * len(waiting)
        return pieces, continued

    def _name(self, id_: int) -> str:
        """What to call a token that is no text by itself: its name, or its bytes."""
        name = str(self.tokenizer.convert_ids_to_tokens(id_))
        if id_ in self.tokenizer.all_special_ids or not set(name) <= _BYTES.keys():
            return name
        try:
            return bytes(_BYTES[character] for character in name).decode()
        except UnicodeDecodeError:
            return "".join(f"\\x{_BYTES[character]:02x}" for character in name)


_BYTES = {character: byte for byte, character in bytes_to_unicode().items()}


def _tokens(ids: Any, pieces: Sequence[str], offsets: Any, special: Any, continued: Any) -> Tokens:
    return Tokens(
        ids=np.asarray(ids, np.int32),
        pieces=tuple(pieces),
        offsets=np.asarray(offsets, np.int32).reshape(-1, 2),
        special=np.asarray(special, bool),
        continued=np.asarray(continued, bool),
    )


def load_model(model: str = DEFAULT_MODEL, *, dtype: str = "auto", device: str = "auto") -> LanguageModel:
    """Load a model by its name in `MODELS`, from a local directory, or by its hub id.

    Args:
        model: the name, directory or hub id.
        dtype: ``"float32"``, ``"bfloat16"``, ``"float16"``, ``"float64"`` or ``"auto"``: bfloat16 where the processor
            is fast at it, else float32.
        device: ``"cpu"``, ``"cuda"``, ``"mps"`` or ``"auto"``. A model too big for one GPU is spread over all.

    Raises:
        UnknownModel: no such name, directory or hub id.
        HubUnreachable: the weights are not on this machine and the hub does not answer.
        GatedModel: the hub wants an access token.
        UnsupportedModel: no safetensors or GGUF weights, an architecture transformers does not have, or one whose
            attention cannot be replaced faithfully.
        OutOfMemory: the model does not fit.
        BadInput: an unknown dtype or device.
    """
    if dtype not in ("auto", *DTYPES):
        raise BadInput(f"dtype must be one of auto, {', '.join(DTYPES)}, not {dtype!r}.")
    spec = MODELS.get(model)
    device = _device(device)
    kind = DTYPES[dtype] if dtype != "auto" else _fast_dtype(device)
    try:
        source = _source(model, spec)
        loaded = _load_weights(source, kind, device)
        tokenizer = _load_tokenizer(source)
    except UserError:
        raise
    except (MemoryError, torch.OutOfMemoryError) as e:
        raise OutOfMemory(f"{model} does not fit the memory of this machine. Choose a smaller model.") from e
    except Exception as e:
        raise _explained(model, e) from e
    quicken(loaded)
    lm = LanguageModel(loaded.eval(), tokenizer, spec, model)
    _check_attention(lm)
    return lm


def _device(device: str) -> str:
    available = ["cpu"]
    if torch.backends.mps.is_available():
        available.insert(0, "mps")
    if torch.cuda.is_available():
        available.insert(0, "cuda")
    if device != "auto" and device not in available:
        raise BadInput(f"device must be one of auto, {', '.join(available)} on this machine, not {device!r}.")
    return available[0] if device == "auto" else device


def _fast_dtype(device: str) -> torch.dtype:
    if device == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    if device == "mps":
        return torch.float16
    able = torch.cpu.get_capabilities()
    return torch.bfloat16 if able.get("avx512_bf16") or able.get("amx_bf16") else torch.float32


def _source(model: str, spec: ModelSpec | None) -> str:
    """The directory to load from."""
    if spec is not None:
        package = find_spec(spec.package) if spec.package else None
        if package is not None and package.submodule_search_locations:
            return str(_converted(spec.name, Path(package.submodule_search_locations[0])))
        return _downloaded(spec.hub_id)
    if Path(model).is_dir():
        return model
    if "/" not in model or Path(model).is_absolute():
        raise UnknownModel(
            f"There is no model {model!r}: choose one of {', '.join(MODELS)}, or give a directory or a hub id "
            "such as owner/name."
        )
    return _downloaded(model)


def _downloaded(hub_id: str) -> str:
    """The directory with the hub's files, or with those of the last time if the hub does not answer.

    transformers would find them there, too, but only after it had asked the hub for every one of them again and again.
    """
    wanted = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]
    return snapshot_download(hub_id, allow_patterns=wanted, ignore_patterns=["*/*", "consolidated*"])


def _converted(name: str, package: Path) -> Path:
    """A directory with the package's GGUF weights as safetensors, converted at the first call.

    It appears by a rename when it is whole, so a conversion that is killed leaves nothing behind that could be loaded.
    """
    cache = Path(constants.HF_HOME) / "multi-state"
    done = cache / f"{name}-{_gguf_in(package).stem}"
    if done.is_dir():
        return done
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(cache / f"{name}.lock"):
        if done.is_dir():
            return done
        for abandoned in cache.glob(f"{name}.part-*"):
            shutil.rmtree(abandoned, ignore_errors=True)
        part = Path(tempfile.mkdtemp(prefix=f"{name}.part-", dir=cache))
        model = _load_weights(str(package), torch.float32, "cpu")
        model.hf_quantizer.remove_quantization_config(model)  # its weights are plain float32 by now
        model.save_pretrained(part)
        _load_tokenizer(str(package)).save_pretrained(part)
        part.rename(done)
    return done


def _gguf_in(directory: Path) -> Path:
    return next(directory.glob("*.gguf"))


def _files_of(source: str) -> dict[str, Any]:
    """The arguments that say which of a directory's files to load."""
    directory = Path(source)
    only_gguf = any(directory.glob("*.gguf")) and not any(directory.glob("*.safetensors"))
    return {"gguf_file": _gguf_in(directory).name} if only_gguf else {}


def _load_weights(source: str, dtype: torch.dtype, device: str) -> Any:
    options = {"dtype": dtype, "use_safetensors": True, "trust_remote_code": False, **_files_of(source)}
    _check_layers(AutoConfig.from_pretrained(source, trust_remote_code=False, **_files_of(source)))
    try:
        return AutoModelForCausalLM.from_pretrained(source, device_map=device, **options)
    except torch.OutOfMemoryError:
        if torch.cuda.device_count() < 2:
            raise
        return AutoModelForCausalLM.from_pretrained(source, device_map="auto", **options)


def _load_tokenizer(source: str) -> Any:
    directory = Path(source)
    names = ("tokenizer.json", "tokenizer.model", "vocab.json", "*.gguf")
    if directory.is_dir() and not any(any(directory.glob(name)) for name in names):
        return None
    tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False, **_files_of(source))
    if not tokenizer.is_fast:
        raise UnsupportedModel(f"{source} has no fast tokenizer, so its tokens cannot be found in the text.")
    return tokenizer


def _check_layers(config: Any) -> None:
    strange = set(getattr(config, "layer_types", None) or ()) - {"full_attention", "sliding_attention"}
    if strange:
        raise UnsupportedModel(
            f"This {config.model_type} model has layers of the kind {', '.join(sorted(strange))}, which hold no "
            "multi-state of keys and values as the policies need. Choose a model of another architecture."
        )


def _check_attention(lm: LanguageModel) -> None:
    """Refuse a model unless, under the full policy, our attention gives what its own eager attention gives."""
    ids = _probe(lm)
    count = ids.shape[1]
    lm.model.set_attn_implementation("eager")
    with torch.inference_mode():
        expected = lm.model(ids, use_cache=False).logits.float()
    lm.model.set_attn_implementation(batch.ATTENTION)
    found = _output(lm, ids, range(count))
    # eager attention takes its softmax in float32 and its logits in the model's own precision
    off = (found - expected).abs().max().item()
    if not off <= _tolerance(lm, expected):
        raise UnsupportedModel(
            f"{lm.model_id} ({lm.model.config.model_type}) does not give the same output under our attention as under "
            f"its own (they differ by {off:.2g}), so a picture of it would be fiction. Choose another architecture."
        )


def _check_rotary(lm: LanguageModel, rotary: Rotary) -> None:
    """Refuse a model unless, under the full policy, its output is the same when rows are numbered from 0 at every step.

    The text does not start at 0, so that the output is the same only if nothing counts but how far apart rows are.
    """
    ids = _probe(lm)
    chunk = range(5, 5 + ids.shape[1])
    expected = _output(lm, ids, chunk)
    off = (_output(lm, ids, chunk, LateRotation(rotary, "in-cache")) - expected).abs().max().item()
    if not off <= _tolerance(lm, expected):
        raise UnsupportedModel(
            f"{lm.model_id} ({lm.model.config.model_type}) does not give the same output when its rows are numbered "
            f"in the multi-state and none is evicted (it differs by {off:.2g}), so a picture of it would be fiction. "
            'Use positions="original", or choose another architecture.'
        )


def _probe(lm: LanguageModel) -> torch.Tensor:
    """(1, 8) ids from all over the vocabulary.

    Neighbours would not do: the first of a vocabulary are often reserved, and from a run of tokens that it was never
    trained on SmolLM2 makes something else at every rounding.
    """
    ids = (2 * torch.arange(8, device=lm.device) + 1) * lm.vocabulary_size // 16
    return ids[None]


def _output(lm: LanguageModel, ids: torch.Tensor, chunk: range, late: LateRotation | None = None) -> torch.Tensor:
    """The logits of tokens at these positions, with nothing before them, under the full policy."""
    run = Run(Full(), layers=lm.n_layers, kv_heads=lm.n_kv_heads, capacity=chunk.stop, prompt_length=chunk.stop)
    return batch.Batch(lm, [run], late=late).read(ids, chunk).float()


def _tolerance(lm: LanguageModel, logits: torch.Tensor) -> float:
    relative = {torch.float64: 1e-6, torch.float32: 1e-4}.get(lm.model.dtype, 5e-2)
    return relative * max(1.0, logits.abs().max().item())


def _explained(model: str, error: BaseException) -> UserError:
    """What a failure of transformers or of the hub means for the user."""
    causes = list(_chain(error))
    if any(isinstance(cause, GatedRepoError) for cause in causes):
        return GatedModel(
            f"{model} is gated: accept its terms on its hub page, create an access token there, and set it as HF_TOKEN."
        )
    if any(isinstance(cause, RepositoryNotFoundError | HFValidationError) for cause in causes):
        return UnknownModel(f"The hub has no model {model!r}: check its spelling, or set HF_TOKEN if it is private.")
    if any(isinstance(cause, LocalEntryNotFoundError | ConnectionError) for cause in causes):
        return HubUnreachable(
            f"The weights of {model} are not on this machine and the hub does not answer. Check the connection, or "
            f"load a local directory; {DEFAULT_MODEL} comes with the app and needs no network."
        )
    return UnsupportedModel(
        f"{model} cannot be loaded: {error}. Only architectures that transformers has itself, with weights as "
        "safetensors or GGUF, are supported; code from a hub is never run."
    )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
