"""Loads a model by its name in the menu, from a directory or from the hub.

Weights must be safetensors or GGUF, and code from a hub is never run. Every loaded model is checked: under our
attention it must give the same output as under its own (`core.engine.capability`).
"""

import gc
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from huggingface_hub import constants, snapshot_download
from huggingface_hub.errors import GatedRepoError, HFValidationError, LocalEntryNotFoundError, RepositoryNotFoundError
from transformers import AutoConfig, AutoTokenizer

from core.engine.capability import check_attention, check_layers, class_for
from core.engine.linear import quicken
from core.engine.text_length import tell_length
from core.errors import (
    BadInput,
    DamagedModel,
    GatedModel,
    HubUnreachable,
    NumericalError,
    OutOfMemory,
    UnknownModel,
    UnsupportedModel,
    UserError,
)
from core.loading.gguf_files import check_metadata, check_tensors, gguf_in, is_gguf, mend_tokenizer
from core.loading.machine import device_of, fast_dtype
from core.loading.weights import check_files, check_whole
from core.model.language_model import LanguageModel
from core.model.registry import DEFAULT_MODEL, MODELS, ModelSpec

DTYPES = {name: getattr(torch, name) for name in ("float32", "bfloat16", "float16", "float64")}

CONVERSION = 2  # the version of `_converted`: raise it when its output changes


def load_model(model: str = DEFAULT_MODEL, *, dtype: str = "auto", device: str = "auto") -> LanguageModel:
    """Load a model by its name in `MODELS`, from a local directory, or by its hub id.

    Args:
        model: the name, directory or hub id; or the path of a GGUF file, if its directory has several.
        dtype: ``"float32"``, ``"bfloat16"``, ``"float16"``, ``"float64"`` or ``"auto"``: bfloat16 if the processor is
            fast at it, else float32. GPUs without bfloat16 get float16, unless the model's numbers overflow in it.
        device: ``"cpu"``, ``"cuda"``, ``"mps"`` or ``"auto"``. A model too large for one GPU is spread over all.

    Raises:
        UnknownModel: no such name, directory or hub id.
        HubUnreachable: the weights are not on this machine and the hub does not answer.
        GatedModel: the hub wants an access token.
        UnsupportedModel: no safetensors or GGUF weights, an architecture transformers does not have, or one that gives
            another output under our attention.
        DamagedModel: a file is missing or broken, or weights, configuration and tokenizer do not belong together.
        NumericalError: the model's numbers overflow in float16.
        OutOfMemory: the model does not fit.
        BadInput: an unknown dtype or device.
    """
    if not isinstance(model, str | Path) or not str(model).strip():
        raise BadInput(
            "model must be one of {known}, a directory or a hub id, not {model!r:.60}. Save a model that you have "
            "made, and its tokenizer, with save_pretrained into one directory, and give that.",
            known=", ".join(MODELS),
            model=model,
        )
    if dtype not in ("auto", *DTYPES):
        raise BadInput("dtype must be one of auto, {known}, not {dtype!r}.", known=", ".join(DTYPES), dtype=dtype)
    device = device_of(device)
    *others, last = _to_try(dtype, device)
    for kind in others:
        with suppress(NumericalError, UnsupportedModel):  # rounding may make the output differ too much, too
            return _loaded(str(model), kind, device)
        gc.collect()  # frees the model, whose modules refer to each other
    return _loaded(str(model), last, device)


def _to_try(dtype: str, device: str) -> list[torch.dtype]:
    """The number formats to try, in this order, until the model works in one."""
    if dtype != "auto":
        return [DTYPES[dtype]]
    exacter = [torch.float16, torch.bfloat16, torch.float32]
    return exacter[exacter.index(fast_dtype(device)) :]


def _loaded(model: str, dtype: torch.dtype, device: str) -> LanguageModel:
    try:
        spec = MODELS.get(model)
        source = _source(model, spec)
        weights = _load_weights(source, dtype, device)
        tokenizer = _load_tokenizer(source)
        quicken(weights)
        tell_length(weights)
        lm = LanguageModel(weights.eval(), tokenizer, spec, model)
        _check_vocabulary(lm)
        _check_ends(lm)
        check_attention(lm)
    except UserError:
        raise
    except Exception as e:
        raise _explained(model, e) from e
    return lm


def _source(model: str, spec: ModelSpec | None) -> str:
    """The directory or GGUF file to load from; downloads or converts it if needed."""
    if spec is not None:
        package = find_spec(spec.package) if spec.package else None
        if package is not None and package.submodule_search_locations:
            return str(_converted(spec.name, Path(package.submodule_search_locations[0])))
        return _downloaded(spec.hub_id)
    path = Path(model)
    if path.is_dir() or is_gguf(path):
        return model
    if path.is_file():
        raise UnknownModel("{file} is a file. Give the directory that it lies in, or a GGUF file.", file=model)
    if "/" not in model or path.is_absolute():
        raise UnknownModel(
            "There is no model {model!r}: choose one of {models}, or give a directory or a hub id such as owner/name.",
            model=model,
            models=", ".join(MODELS),
        )
    return _downloaded(model)


def _downloaded(hub_id: str) -> str:
    """The directory with the hub's files; those downloaded before if the hub does not answer.

    transformers finds these, too, but only after many requests to the hub for each file.
    """
    wanted = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]
    return snapshot_download(hub_id, allow_patterns=wanted, ignore_patterns=["*/*", "consolidated*"])


def _converted(name: str, package: Path) -> Path:
    """A directory with the package's GGUF weights as safetensors, converted at the first call.

    It gets its name by a rename at the end, so an interrupted conversion is never loaded. Directories of interrupted
    conversions and of earlier versions are removed.
    """
    cache = Path(constants.HF_HOME) / "multi-state"
    done = cache / f"{name}.{CONVERSION}"
    if done.is_dir():
        return done
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(cache / f"{name}.lock"):
        if done.is_dir():
            return done
        part = Path(tempfile.mkdtemp(prefix=f"{name}.part-", dir=cache))
        model = _load_weights(str(package), torch.float32, "cpu")
        model.hf_quantizer.remove_quantization_config(model)  # its weights are plain float32 by now
        model.save_pretrained(part)
        _load_tokenizer(str(package)).save_pretrained(part)
        part.rename(done)
        for other in cache.glob(f"{name}[.-]*/"):  # abandoned, or of an earlier version
            if other != done:
                shutil.rmtree(other, ignore_errors=True)
    return done


def _files_of(source: str) -> tuple[str, Path | None]:
    """The directory of a source, and the GGUF file to load from it, if any."""
    path = Path(source)
    gguf = path if path.is_file() else gguf_in(path)
    return str(path if gguf is None else gguf.parent), gguf


def _load_weights(source: str, dtype: torch.dtype, device: str) -> Any:
    source, gguf = _files_of(source)
    files = {} if gguf is None else {"gguf_file": gguf.name}
    if gguf is not None:
        check_metadata(gguf)
    config = _configuration(source, files)
    check_layers(config)
    if gguf is None:
        check_files(Path(source))
    # mismatched sizes are let through, so that `check_whole` can name the tensor
    own = {"use_safetensors": True, "ignore_mismatched_sizes": True, "output_loading_info": True}
    options = {"dtype": dtype, "trust_remote_code": False, **own, **files}
    kind = class_for(config)
    try:
        model, info = kind.from_pretrained(source, device_map=device, **options)
    except torch.OutOfMemoryError:
        if torch.cuda.device_count() < 2:
            raise
        model, info = kind.from_pretrained(source, device_map="auto", **options)
    check_whole(model, info)
    if gguf is not None:
        check_tensors(gguf, model)
    return model


def _configuration(source: str, files: dict[str, Any]) -> Any:
    if not files and not Path(source, "config.json").is_file():
        raise UnknownModel(
            "There is no config.json in {directory}. Give the directory that holds the model's config.json, its "
            "weights as safetensors and its tokenizer.",
            directory=source,
        )
    try:
        return AutoConfig.from_pretrained(source, trust_remote_code=False, **files)
    except Exception as e:  # values of config.json are passed to code that raises exceptions of many types
        raise UnsupportedModel(
            "The configuration cannot be used: {reason}. Take the config.json that came with the weights; only "
            "architectures that transformers has itself are supported, and code from a hub is never run.",
            reason=_reason(e),
        ) from e


def _load_tokenizer(source: str) -> Any:
    source, gguf = _files_of(source)
    files = {} if gguf is None else {"gguf_file": gguf.name}
    if gguf is None and not any(any(Path(source).glob(name)) for name in ("tokenizer.json", "*.model", "vocab.*")):
        return None
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False, **files)
    except Exception as e:  # the tokenizers library raises plain Exception
        raise DamagedModel(
            "The tokenizer cannot be read: {reason}. Download its files again, tokenizer.json among them.",
            reason=_reason(e),
        ) from e
    if not tokenizer.is_fast:
        raise UnsupportedModel(
            "{model} has no fast tokenizer, so its tokens cannot be found in the text.", model=source
        )
    if gguf is not None:
        mend_tokenizer(gguf, tokenizer.backend_tokenizer)
    return tokenizer


def _check_ends(lm: LanguageModel) -> None:
    """Refuse a model whose end-of-text tokens are not integers; ids outside the vocabulary are harmless.

    Raises:
        DamagedModel: one of them is not an integer.
    """
    said = lm.model.generation_config.eos_token_id
    ids = said if isinstance(said, list) else [] if said is None else [said]
    if not all(type(id_) is int for id_ in ids):
        raise DamagedModel(
            "The eos_token_id {said} in generation_config.json or config.json is no token id. Take the file that "
            "came with the weights.",
            said=str(said)[:80],
        )


def _check_vocabulary(lm: LanguageModel) -> None:
    """Refuse a tokenizer with ids that have no embedding in the model, except for tokens added to its vocabulary.

    Raises:
        DamagedModel: there is such an id.
    """
    if lm.tokenizer is None:
        return
    words = lm.tokenizer.backend_tokenizer.get_vocab(with_added_tokens=False)
    greatest = max(words.values(), default=0)
    if greatest >= lm.vocabulary_size:
        raise DamagedModel(
            "The tokenizer has ids up to {greatest}, the model only embeddings up to {last}, so they do not belong "
            "together. Take the tokenizer that came with the weights.",
            greatest=greatest,
            last=lm.vocabulary_size - 1,
        )


def _explained(model: str, error: BaseException) -> UserError:
    """The error to show to the user for an exception of transformers or of the hub."""
    causes = list(_chain(error))
    if any(_is_out_of_memory(cause) for cause in causes):
        return OutOfMemory("{model} does not fit the memory of this machine. Choose a smaller model.", model=model)
    if any(isinstance(cause, GatedRepoError) for cause in causes):
        return GatedModel(
            "{model} is gated: accept its terms on its hub page, create an access token there, and set it as HF_TOKEN.",
            model=model,
        )
    if any(isinstance(cause, RepositoryNotFoundError | HFValidationError) for cause in causes):
        return UnknownModel(
            "The hub has no model {model!r}: check its spelling, or set HF_TOKEN if it is private.", model=model
        )
    if refused := [cause for cause in causes if isinstance(cause, PermissionError)]:
        return UnknownModel(
            "{model} cannot be loaded: {reason}. Let the app read the model's files.",
            model=model,
            reason=_reason(refused[0]),
        )
    if any(isinstance(cause, LocalEntryNotFoundError | ConnectionError) for cause in causes):
        return HubUnreachable(
            "The weights of {model} are not on this machine and the hub does not answer. Check the connection, or "
            "load a local directory; {default} comes with the app and needs no network.",
            model=model,
            default=DEFAULT_MODEL,
        )
    return UnsupportedModel(
        "{model} cannot be loaded: {reason}. Only architectures that transformers has itself, with weights as "
        "safetensors or GGUF, are supported; code from a hub is never run.",
        model=model,
        reason=_reason(error),
    )


def _is_out_of_memory(error: BaseException) -> bool:
    """Whether memory was exhausted; on a CPU torch raises a plain RuntimeError for that."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)


def _reason(error: BaseException) -> str:
    """The first paragraph of an exception's message, without line breaks and at most 300 characters of it."""
    said = " ".join(str(error).split("\n\n")[0].split()).rstrip(".") or type(error).__name__
    if isinstance(error, KeyError):
        return f"{said} is not known"
    return said if len(said) <= 300 else said[:300] + " …"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
