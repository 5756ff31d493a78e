"""Generation under TOVA against transformers' own with its full cache, and five policies in lockstep against one."""

import copy

import torch
from torch import nn

from core import generate, make_policy
from tests.benchmarks.timing import long_text, medians, smollm2, table

NEW = 256
FIVE = [
    make_policy("tova", budget=64),
    make_policy("window", budget=64),
    make_policy("window+i", budget=64),
    make_policy("h2o", budget=64),
    make_policy("full"),
]


def as_transformers_has_it(model: nn.Module) -> nn.Module:
    """A copy without what we change of a model: its linear layers and its attention function."""
    model = copy.deepcopy(model)
    for module in model.modules():
        if isinstance(module, nn.Linear):
            module.__class__ = nn.Linear
    model.set_attn_implementation("sdpa")
    return model


def main() -> None:
    lm = smollm2()
    lm.model.generation_config.eos_token_id = None  # all write to the end, so that all do the same work
    unchanged = as_transformers_has_it(lm.model)
    tokens = long_text(lm, 128)
    ids = torch.as_tensor(tokens.ids, dtype=torch.long)[None]
    taken = medians(
        {
            "TOVA, budget 64": lambda: generate(lm, tokens, FIVE[0], max_new_tokens=NEW),
            "transformers' generate, full cache": lambda: unchanged.generate(
                ids, attention_mask=torch.ones_like(ids), max_new_tokens=NEW, do_sample=False, pad_token_id=0
            ),
            "five policies in lockstep": lambda: generate(lm, tokens, FIVE, max_new_tokens=NEW),
        },
        rounds=3,
    )
    tova, theirs, five = taken.values()
    table(
        f"generate, prompt 128, {NEW} new tokens, float32 (medians of 3)",
        {name: f"{seconds:.2f} s" for name, seconds in taken.items()}
        | {
            "speed of TOVA relative to transformers (at least 1.05)": f"{theirs / tova:.2f}",
            "cost of five relative to one (at most 1.4)": f"{five / tova:.2f}",
            "cost of five relative to transformers' one": f"{five / theirs:.2f}",
        },
    )


if __name__ == "__main__":
    main()
