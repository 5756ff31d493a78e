"""What a link brings back: the text and the settings of the run, so that Run finds the very same one."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

import core
from core.store import Stored, TraceStore
from viz.page.asked import Asked, Chosen, reports, request_of
from viz.tabs.links import asked_for

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
    """The text of the link to a run of this text, made by a version that stored nothing but the trace."""
    tokens, policy = lm.encode(text), core.make_policy("window", 8)
    if new_tokens:
        return asked_for(Stored((core.generate(lm, tokens, policy, max_new_tokens=new_tokens),))).text
    return asked_for(Stored((core.replay(lm, tokens, policy),))).text


@pytest.mark.parametrize("text", [SPELLED, "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n", " für 🦊\n\n 7 "])
def test_control_tokens_that_stand_in_the_text_come_back_and_what_was_written_does_not(smollm2, text):
    assert brought_back(smollm2, text) == text
    assert brought_back(smollm2, text, new_tokens=3) == text


ASKED = [
    Asked("m", SPELLED, (Chosen("window", 8), Chosen("full"), Chosen("tova", 8))),
    Asked("m", SPELLED, (Chosen("window+i", 8, {"n_sink": 2}),), new_tokens=30, temperature=0.5, seed=3),
    Asked("m", SPELLED, (Chosen("random", 8, {"seed": 7}),), positions="in-cache", prefill="one-shot"),
    Asked("m", SPELLED, (Chosen("knorm", 8), Chosen("own", 8, {"per_head": 1})), budgets="adaptive", every=3),
    Asked("m", "Two words.", (Chosen("tova", 4), Chosen("oracle", 4)), message=True),
]


@pytest.mark.parametrize("asked", ASKED)
def test_what_was_asked_for_comes_back_from_the_store(smollm2, tmp_path, asked):
    request = request_of(smollm2, asked)
    *_, last = reports(smollm2, request)
    store = TraceStore(tmp_path, 100)
    store.put(request.key, last.stored)
    back = asked_for(store.get(request.key))
    assert back == asked
    assert request_of(smollm2, back).key == request.key


def test_a_run_of_an_older_version_brings_back_its_controls(smollm2):
    policy = core.make_policy("window+i", 8, n_sink=3)
    trace = core.replay(smollm2, smollm2.encode(SPELLED), policy, positions="in-cache")
    old = asked_for(Stored((trace,), {"new_tokens": np.array(12)}))
    assert (old.policies, old.new_tokens) == ((Chosen("window+i", 8, {"n_sink": 3}),), 12)
    assert (old.text, old.positions, old.model) == (SPELLED, "in-cache", smollm2.model_id)


@pytest.mark.parametrize("text", ["t <s> t</s>", "<s> t", "\nt", "t 🦊é\n", "t"])
def test_what_the_tokenizer_puts_around_a_text_is_no_part_of_it(fallback, text):
    tokens = fallback.encode(text)
    assert tokens.pieces[0] == "<s>"
    back = brought_back(fallback, text)
    assert back == text
    np.testing.assert_array_equal(fallback.encode(back).ids, tokens.ids)
