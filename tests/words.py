"""A model that reads and writes words."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from tests.conftest import VOCABULARY


def with_words(source: Path, directory: Path, odd: Mapping[int, str] | None = None) -> Path:
    """A copy of a tiny model whose words are w0, w1, ... by their ids, but for the odd ones; returns its directory."""
    shutil.copytree(source, directory)
    names = {i: f"w{i}" for i in range(VOCABULARY)} | dict(odd or {})
    tokenizer = Tokenizer(models.WordLevel({name: i for i, name in names.items()}, unk_token="w0"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer).save_pretrained(directory)
    return directory
