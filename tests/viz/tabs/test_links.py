"""What a link brings back: the text and the settings of the run, so that Run finds the very same one."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

import core
from core.store import Stored
from viz.page.policy_controls import SETTINGS
from viz.tabs.explore_run import reports, request_of, stored_run
from viz.tabs.links import controls_of

TEXT = 4  # which of the controls is the text
SPELLED = "Hello <|im_end|> there"


@pytest.fixture(scope="module")
def fallback(tmp_path_factory: pytest.TempPathFactory) -> core.LanguageModel:
    """A tiny Llama whose tokenizer spells what it does not know in bytes, and puts tokens around every text."""
    directory: Path = tmp_path_factory.mktemp("fallback")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=320,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
    )
    LlamaForCausalLM(config).save_pretrained(directory)
    names = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "t", "▁t"]
    vocabulary = {name: id_ for id_, name in enumerate(names)}
    model = models.BPE(vocabulary, [("▁", "t")], byte_fallback=True, fuse_unk=True, unk_token="<unk>")
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    own = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>")
    own.save_pretrained(directory)
    return core.load_model(str(directory), dtype="float32", device="cpu")


def brought_back(lm: core.LanguageModel, text: str, new_tokens: int = 0) -> str:
    """The text of the link to a run of this text."""
    tokens, policy = lm.encode(text), core.make_policy("window", 8)
    if new_tokens:
        return controls_of(Stored((core.generate(lm, tokens, policy, max_new_tokens=new_tokens),)))[TEXT]
    return controls_of(Stored((core.replay(lm, tokens, policy),)))[TEXT]


@pytest.mark.parametrize("text", [SPELLED, "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n", " für 🦊\n\n 7 "])
def test_control_tokens_that_stand_in_the_text_come_back_and_what_was_written_does_not(smollm2, text):
    assert brought_back(smollm2, text) == text
    assert brought_back(smollm2, text, new_tokens=3) == text


@pytest.mark.parametrize(("policy", "new_tokens"), [("window", 0), ("window+i", 30), ("random", 0)])
def test_run_finds_the_very_run_of_the_link(smollm2, policy, new_tokens):
    own = (setting.default for _, setting in SETTINGS)
    asked = request_of(smollm2, policy, 8, new_tokens, SPELLED, "original", *own)
    trace = list(reports(smollm2, asked))[-1].traces[0]
    assert not new_tokens or len(trace) < len(asked.tokens) + new_tokens, "it has ended before"
    _model, *controls = controls_of(stored_run(trace, asked))
    assert request_of(smollm2, *controls).key == asked.key


@pytest.mark.parametrize("text", ["t <s> t</s>", "<s> t", "\nt", "t 🦊é\n", "t"])
def test_what_the_tokenizer_puts_around_a_text_is_no_part_of_it(fallback, text):
    tokens = fallback.encode(text)
    assert tokens.pieces[0] == "<s>"
    back = brought_back(fallback, text)
    assert back == text
    np.testing.assert_array_equal(fallback.encode(back).ids, tokens.ids)
