"""How a model is loaded: from the registry, a directory or the hub.

Weights come as safetensors or GGUF only, and code from a hub is never run. Whatever is loaded must pass a check that
its attention can be replaced faithfully (`core.capability`); what would show a fiction is refused by name.
"""

import shutil
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from huggingface_hub import constants, snapshot_download
from huggingface_hub.errors import GatedRepoError, HFValidationError, LocalEntryNotFoundError, RepositoryNotFoundError
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from core.capability import check_attention, check_layers
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
from core.models import LanguageModel
from core.registry import DEFAULT_MODEL, MODELS, ModelSpec

DTYPES = {name: getattr(torch, name) for name in ("float32", "bfloat16", "float16", "float64")}


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
    check_attention(lm)
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
    check_layers(AutoConfig.from_pretrained(source, trust_remote_code=False, **_files_of(source)))
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
