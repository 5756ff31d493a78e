"""One piece of text per id, whatever the tokenizer and whatever the ids."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

from core import LanguageModel, generate, load_model, make_policy
from core.errors import BadInput
from core.model.chat import turn

CORPUS = [
    "The keeper lit the lamp, the lamp lit the sea.",
    "naïve café — 12,345 “tests” 🙂🙃 你好世界",
    "a\n\nb\tc  d   e",
]
SPECIAL = ["<unk>", "<s>", "</s>"]
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def byte_level() -> Tokenizer:
    """As GPT-2, Llama 3 and Qwen have it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS * 3, trainer)
    tokenizer.add_tokens([AddedToken("<tool>", special=False), AddedToken("é!", special=False)])
    return tokenizer


BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
WORDS = ["▁", "t", "▁t", "h", "e", "▁the", "▁th", "th", "a", "▁a", "é", "▁lamp", ".", ",", "▁▁"]


def as_it_was(prefix: int = 1) -> decoders.Decoder:
    return decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", prefix, 0)]
    )


def byte_fallback() -> Tokenizer:
    """As Llama 2, Mistral and Yi have it."""
    vocabulary = {token: id_ for id_, token in enumerate([*SPECIAL, *BYTES, *WORDS])}
    merges = [("▁", "t"), ("t", "h"), ("▁t", "h"), ("▁th", "e"), ("▁", "a"), ("▁", "▁")]
    model = models.BPE(vocab=vocabulary, merges=merges, byte_fallback=True, fuse_unk=True, unk_token="<unk>")
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer.decoder = as_it_was()
    return tokenizer


def legacy_byte_fallback() -> Tokenizer:
    """The same with a normalizer in front, as older files of Llama 2 have it."""
    tokenizer = byte_fallback()
    tokenizer.pre_tokenizer = None
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    return tokenizer


def unigram() -> Tokenizer:
    """Unigram with byte fallback."""
    vocabulary = [(token, 0.0 if token in SPECIAL else -1.0 - len(token) % 3) for token in [*SPECIAL, *BYTES, *WORDS]]
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=0, byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer.decoder = as_it_was()
    return tokenizer


def word_piece() -> Tokenizer:
    """As BERT has it: lower case, words it does not know, no spaces."""
    words = ["the", "keeper", "lit", "lamp", "##s", "##ing", "sea", ".", ",", "'", "a", "b", "##b"]
    vocabulary = {token: id_ for id_, token in enumerate([*SPECIAL, *words])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer


KINDS: dict[str, Callable[[], Tokenizer]] = {
    kind.__name__: kind for kind in (byte_level, byte_fallback, legacy_byte_fallback, unigram, word_piece)
}
LOSSLESS = [kind for kind in KINDS if kind != "word_piece"]


def fast(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        clean_up_tokenization_spaces=False,
    )


@cache
def reader(kind: str) -> LanguageModel:
    """What encodes and decodes, with a model that has a few more ids than the tokenizer."""
    tokenizer = fast(KINDS[kind]())
    config = LlamaConfig(vocab_size=len(tokenizer) + 20)
    return LanguageModel(SimpleNamespace(config=config), tokenizer, None, kind)


def saved(tokenizer: Tokenizer, directory: Path) -> LanguageModel:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=340,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(directory)
    fast(tokenizer).save_pretrained(directory)
    return load_model(str(directory), dtype="float32", device="cpu")


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=200)
@given(data=st.data())
def test_any_ids_have_a_piece_each(kind: str, data: st.DataObject) -> None:
    lm = reader(kind)
    ids = data.draw(st.lists(st.integers(0, lm.vocabulary_size - 1), max_size=12))
    cut = data.draw(st.integers(0, len(ids)))
    whole = lm.as_tokens(ids)
    for tokens in (whole, lm.continued(lm.as_tokens(ids[:cut]), ids[cut:])):
        assert len(tokens.pieces) == len(ids)
        assert REPLACEMENT not in "".join(tokens.pieces)
        assert tokens.offsets[:, 1].tolist() == [len("".join(tokens.pieces[: i + 1])) for i in range(len(ids))]
        assert not any(piece for piece, continues in zip(tokens.pieces, tokens.continued, strict=True) if continues)


TEXT = st.text(st.sampled_from("the lamp t\n\té€你🙂\u200d1a  .,"), min_size=1).filter(str.strip)


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=200)
@given(text=TEXT)
def test_the_pieces_of_a_text_are_the_text(kind: str, text: str) -> None:
    lm = reader(kind)
    tokens = lm.encode(text)
    # white space that a tokenizer drops at the end belongs to no token
    assert "".join(tokens.pieces) == (text if kind in LOSSLESS else text[: tokens.offsets.max(initial=0)])
    assert [text[start:stop] for start, stop in tokens.offsets] == list(tokens.pieces)


@pytest.mark.parametrize("kind", LOSSLESS)
@settings(deadline=None, max_examples=200)
@given(text=TEXT.filter(lambda text: not text.startswith(" ")))
def test_ids_that_came_from_a_text_give_it_back(kind: str, text: str) -> None:
    lm = reader(kind)
    tokens = lm.encode(text)
    again = lm.as_tokens(tokens.ids)
    assert again.pieces == tokens.pieces
    assert again.continued.tolist() == tokens.continued.tolist()
    assert again.offsets.tolist() == tokens.offsets.tolist()


def ids_of(lm: LanguageModel, *tokens: str) -> list[int]:
    return [lm.tokenizer.convert_tokens_to_ids(token) for token in tokens]


@pytest.mark.parametrize("kind", ["byte_fallback", "legacy_byte_fallback", "unigram"])
def test_a_stray_byte_is_spelled_out_and_spoils_nothing_before_it(kind: str) -> None:
    lm = reader(kind)
    assert lm.as_tokens(ids_of(lm, "<0x0A>", "<0xE2>", "▁t")).pieces == ("\n", "\\xe2", " t")
    assert lm.as_tokens(ids_of(lm, "<0xE2>", "<0xE2>", "<0x82>", "<0xAC>")).pieces == ("\\xe2", "€", "", "")
    assert lm.as_tokens(ids_of(lm, "▁a", "<0xF0>", "<0x9F>")).pieces == ("a", "\\xf0", "\\x9f")


def test_a_stray_byte_of_a_byte_level_tokenizer_is_spelled_out() -> None:
    lm = reader("byte_level")
    assert lm.as_tokens(ids_of(lm, "a", "â", "b", "é!")).pieces == ("a", "\\xe2", "b", "é!")


@pytest.mark.parametrize("kind", KINDS)
def test_an_id_beyond_the_tokenizer_is_called_by_its_number(kind: str) -> None:
    lm = reader(kind)
    beyond = len(lm.tokenizer) + 7
    assert lm.as_tokens([beyond, *ids_of(lm, "a")]).pieces == (f"⟨{beyond}⟩", " a" if kind == "word_piece" else "a")
    assert lm.as_tokens([*ids_of(lm, "a"), beyond]).pieces == ("a", f"⟨{beyond}⟩")


@pytest.mark.parametrize("kind", ["byte_fallback", "unigram"])
def test_each_piece_is_on_the_token_that_stands_for_it(kind: str) -> None:
    lm = reader(kind)
    for text, names in {
        "\nt": ["▁", "<0x0A>", "t"],
        " \nt": ["▁", "<0x0A>", "t"],
        "€t": ["▁", "<0xE2>", "<0x82>", "<0xAC>", "t"],
        "t\n t": ["▁t", "<0x0A>", "▁t"],
    }.items():
        tokens = lm.encode(text)
        assert lm.tokenizer.convert_ids_to_tokens(tokens.ids.tolist()) == names
        assert (
            tokens.pieces
            == {
                "\nt": ("", "\n", "t"),
                " \nt": (" ", "\n", "t"),
                "€t": ("", "€", "", "", "t"),
                "t\n t": ("t", "\n", " t"),
            }[text]
        )


def test_words_that_a_tokenizer_changes_stay_as_they_were_written() -> None:
    lm = reader("word_piece")
    assert lm.encode("The  LAMPS, unknowable.").pieces == ("The", "  LAMP", "S", ",", " unknowable", ".")
    assert lm.as_tokens(ids_of(lm, "the", "lamp", "##s", ",", "<unk>")).pieces == ("the", " lamp", "s", ",", "<unk>")


def test_generating_survives_every_id(tmp_path: Path) -> None:
    lm = saved(byte_fallback(), tmp_path)
    for seed in range(4):
        trace = generate(
            lm, lm.encode("the lamp"), make_policy("tova", budget=4), max_new_tokens=40, temperature=50.0, seed=seed
        )
        assert len(trace.tokens.pieces) == len(trace)
        assert REPLACEMENT not in "".join(trace.tokens.pieces)


def ending(tokenizer: Tokenizer) -> Tokenizer:
    """The same tokenizer, which ends every text."""
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    return tokenizer


@pytest.mark.parametrize("kind", LOSSLESS)
def test_a_prompt_goes_on_before_the_end_that_the_tokenizer_puts_there(kind: str, tmp_path: Path) -> None:
    lm = saved(ending(KINDS[kind]()), tmp_path)
    read = lm.encode("the lamp")
    assert read.pieces[-1] == "</s>", "reading alone keeps it"
    trace = generate(lm, read, make_policy("tova", budget=4), max_new_tokens=3)
    assert trace.tokens.ids[: trace.prompt_length].tolist() == read.ids[:-1].tolist()
    assert turn(lm, "the lamp")[0].ids.tolist() == read.ids[:-1].tolist()


def test_an_end_that_the_user_wrote_stays(tmp_path: Path) -> None:
    lm = saved(ending(byte_level()), tmp_path)
    trace = generate(lm, lm.encode("the lamp</s>"), make_policy("tova", budget=4), max_new_tokens=2)
    assert trace.tokens.pieces[trace.prompt_length - 1] == "</s>"
    assert generate(lm, [5, 6, 2], make_policy("tova", budget=4), max_new_tokens=2).prompt_length == 3


def test_a_control_token_in_the_text_of_a_turn_is_cut_without_an_end_in_the_middle(tmp_path: Path) -> None:
    lm = saved(ending(byte_level()), tmp_path)
    tokens, _ = turn(lm, "the </s> lamp")
    assert "".join(tokens.pieces) == "<s>the </s> lamp"
    assert 2 not in tokens.ids


@pytest.mark.parametrize("wrong", [[[1, 2], [3]], [1.5], "the", [True], [[1]], [2**70], [-1]])
def test_what_is_no_sequence_of_ids_is_refused(wrong: object) -> None:
    with pytest.raises(ValueError, match=r"whole numbers|Token ids must be"):
        reader("byte_level").as_tokens(wrong)


def with_end(token: str, *, special: bool) -> Tokenizer:
    """A tokenizer that ends every text with a token that nobody has called an end."""
    tokenizer = byte_level()
    tokenizer.add_tokens([AddedToken(token, special=special)])
    id_ = tokenizer.token_to_id(token)
    tokenizer.post_processor = processors.TemplateProcessing(single=f"$A {token}", special_tokens=[(token, id_)])
    return tokenizer


@pytest.mark.parametrize("special", [True, False])
def test_whatever_the_tokenizer_puts_at_the_end_is_named_and_not_continued(special: bool, tmp_path: Path) -> None:
    lm = saved(with_end("[SEP]", special=special), tmp_path)
    tokens = lm.encode("the lamp")
    assert tokens.pieces[-1] == "[SEP]" and tokens.special[-1]
    assert generate(lm, tokens, make_policy("tova", budget=4), max_new_tokens=2).prompt_length == len(tokens) - 1


@pytest.mark.parametrize("text", ["the lamp\u0301", "the\u0301 lamp", "the lamp\u200b", "the lamp."])
def test_what_a_normalizer_takes_off_stays_with_its_word(text: str) -> None:
    pieces = reader("word_piece").encode(text).pieces
    assert "".join(pieces) == text
    assert pieces[1].startswith(" lamp")


def test_a_token_that_ends_a_word_is_followed_by_a_space(tmp_path: Path) -> None:
    vocabulary = {token: id_ for id_, token in enumerate([*SPECIAL, "la", "mp</w>", "h</w>"])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>", end_of_word_suffix="</w>"))
    tokenizer.decoder = decoders.BPEDecoder(suffix="</w>")
    assert saved(tokenizer, tmp_path).as_tokens([3, 4, 5]).pieces == ("la", "mp", " h")


def test_a_word_that_has_no_token_is_refused(tmp_path: Path) -> None:
    vocabulary = {token: id_ for id_, token in enumerate([*SPECIAL, "the"])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    with pytest.raises(BadInput, match="no token for some of this text"):
        saved(tokenizer, tmp_path).encode("zebra")


@pytest.mark.parametrize("kind", ["byte_fallback", "unigram", "byte_level"])
def test_a_prompt_that_ends_within_a_character_goes_on_with_it(kind: str) -> None:
    lm = reader(kind)
    ids = lm.encode("t€").ids.tolist()
    for cut in range(1, len(ids)):
        assert lm.continued(lm.as_tokens(ids[:cut]), ids[cut:]).pieces == lm.as_tokens(ids).pieces
