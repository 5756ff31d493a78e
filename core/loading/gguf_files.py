"""Checks what transformers ignores in a GGUF file.

transformers converts weights and vocabulary, but silently ignores everything else: scaled rotary embeddings, tensors
with unknown names, and for most vocabularies the rule that splits a text before its words are looked up. The model
would run, but it would be a different model. So a rule that is known is applied here, and anything else is refused.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from gguf import GGUFReader
from tokenizers import Tokenizer, normalizers, pre_tokenizers
from transformers.integrations.ggml import GGUF_CONFIG_MAPPING
from transformers.integrations.gguf import read_gguf_metadata
from transformers.modeling_gguf_pytorch_utils import TENSOR_PROCESSORS, TensorProcessor, get_gguf_hf_weights_map

from core.errors import BadInput, DamagedModel, UnsupportedModel
from core.messages import Message

OTHERWISE = Message("Load the original model, with its weights as safetensors.")


def gguf_in(directory: Path) -> Path | None:
    """The GGUF file of a directory; None if it has none, or has safetensors, which are loaded first.

    Raises:
        BadInput: there are several GGUF files and no safetensors.
    """
    found = sorted(file for file in directory.iterdir() if is_gguf(file))
    if not found or any(directory.glob("*.safetensors")):
        return None
    if len(found) > 1:
        names = ", ".join(file.name for file in found)
        raise BadInput(
            "There are several GGUF files in {directory}: {names}. Choose one: give the path of the file.",
            directory=directory,
            names=names,
        )
    return found[0]


def is_gguf(file: Path) -> bool:
    """Whether the file exists and has the suffix .gguf."""
    return file.is_file() and file.suffix.lower() == ".gguf"


def check_metadata(file: Path) -> None:
    """Refuse a file whose metadata describe the model in a way that transformers ignores.

    Raises:
        UnsupportedModel: there is such an entry; the message names it.
        DamagedModel: the file is not a complete GGUF file.
    """
    try:
        metadata, _ = read_gguf_metadata(str(file))
        GGUFReader(file)  # finds every tensor in the file, without reading its numbers
    except Exception as e:  # broken files raise exceptions of many types
        raise DamagedModel("The file {name} is not a whole GGUF file. Download it again.", name=file.name) from e
    architecture = metadata["general.architecture"]
    own = {key.partition(".")[2]: value for key, value in metadata.items() if key.startswith(f"{architecture}.")}
    read = next((known for name, known in GGUF_CONFIG_MAPPING.items() if _plain(name) == _plain(architecture)), None)
    if read is None:
        return  # transformers reads all of it or refuses the architecture
    usual = _usual(own)
    unread = [key for key, value in own.items() if read.get(key) is None and usual.get(key) != value]
    if unread:
        said = ", ".join(f"{architecture}.{key} = {own[key]}" for key in unread)
        raise UnsupportedModel(
            "{name} says {said}, which transformers does not read from a GGUF, so the model would be another one. "
            "{otherwise}",
            name=file.name,
            said=said,
            otherwise=OTHERWISE,
        )


def _usual(own: dict[str, Any]) -> dict[str, Any]:
    """Entries that may be ignored with these values, since the model then has them anyway."""
    head_size = own.get("embedding_length", 0) // (own.get("attention.head_count") or 1)
    sizes = ("attention.key_length", "attention.value_length", "rope.dimension_count")
    return dict.fromkeys(sizes, head_size) | {
        "rope.scaling.type": "none",
        "rope.scaling.factor": 1.0,
        "attention.causal": True,
    }


def _plain(name: str) -> str:
    return name.replace("-", "").replace("_", "")


def check_tensors(file: Path, model: Any) -> None:
    """Refuse a file with tensors that the model loaded from it does not use.

    Raises:
        UnsupportedModel: there are such tensors; the message names them.
    """
    metadata, names = read_gguf_metadata(str(file))
    processor = TENSOR_PROCESSORS.get(metadata["general.architecture"], TensorProcessor)(config={})
    unread = sorted(set(names) - set(get_gguf_hf_weights_map(model, processor)))
    if unread:
        some = ", ".join(unread[:3]) + (", …" if len(unread) > 3 else "")
        raise UnsupportedModel(
            "{name} has tensors that transformers does not read from a GGUF ({some}), so the model would be another "
            "one. {otherwise}",
            name=file.name,
            some=some,
            otherwise=OTHERWISE,
        )


def mend_tokenizer(file: Path, tokenizer: Tokenizer) -> None:
    """Make a tokenizer that transformers has converted split texts by the rule that the file names, in place.

    Raises:
        UnsupportedModel: the rule or the kind of vocabulary is not known here.
    """
    metadata, _ = read_gguf_metadata(str(file))
    kind, split = metadata.get("tokenizer.ggml.model"), metadata.get("tokenizer.ggml.pre")
    if kind == "gpt2":
        if split not in SPLITS:
            raise UnsupportedModel(
                "{name} splits a text by the rule {split!r} before it looks its words up, which is not known here; "
                "known are {known}. {otherwise}",
                name=file.name,
                split=split,
                known=", ".join(SPLITS),
                otherwise=OTHERWISE,
            )
        SPLITS[split](tokenizer)
    elif kind != "llama" or metadata.get("tokenizer.ggml.add_space_prefix") is False:
        if kind == "llama":
            how = Message("puts no space before a text")
        else:
            how = Message("has a vocabulary of the kind {kind!r}", kind=kind)
        raise UnsupportedModel(
            "{name} {how}, which is not known to be converted rightly. {otherwise}",
            name=file.name,
            how=how,
            otherwise=OTHERWISE,
        )


def _as_converted(tokenizer: Tokenizer) -> None:
    """Does nothing, since transformers splits as GPT-2 does if it does not know a rule."""


def _digits_apart(tokenizer: Tokenizer) -> None:
    """Splits off every digit, then splits as GPT-2 does: as in the tokenizer.json of SmolLM2 and StarCoder."""
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )


def _whole_words_first(tokenizer: Tokenizer) -> None:
    """Llama 3: transformers sets the split, but not that a word in the vocabulary becomes one token without merges."""
    tokenizer.model.ignore_merges = True


def _composed(tokenizer: Tokenizer) -> None:
    """Qwen 2: transformers sets the split, but not that a letter and its accent become one character first."""
    tokenizer.normalizer = normalizers.NFC()


SPLITS: dict[str, Callable[[Tokenizer], None]] = {
    "gpt-2": _as_converted,
    "smollm": _digits_apart,
    "starcoder": _digits_apart,
    "llama-bpe": _whole_words_first,
    "qwen2": _composed,
}
"""By `tokenizer.ggml.pre`: what must be changed after transformers has converted a byte-level vocabulary."""
