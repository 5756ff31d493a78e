"""The attention of one layer during a replay, which is too large for a trace."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.engine.batch import Batch
from core.engine.capability import checked_rotary
from core.engine.eviction import needs_of
from core.engine.multi_state import FREE, Run
from core.engine.options import ReadOptions
from core.engine.reading import LONGEST_CHUNK, heads_of, late_rotation
from core.engine.refusals import check_prompt
from core.engine.sharing import check_schedule
from core.errors import BadInput
from core.model.language_model import LanguageModel
from core.policies import Ints, Policy, Scripted
from core.trace import Positions, Tokens


def attention_of(
    lm: LanguageModel,
    tokens: Tokens | Sequence[int],
    policy: Policy,
    layer: int,
    group: int = 0,
    *,
    positions: Positions = "original",
    beyond_context: bool = False,
) -> NDArray[np.float32]:
    """The attention that each step pays to each token in one layer, by a replay that runs no later layer.

    Args:
        lm: the model.
        tokens: n tokens, as in `replay`.
        policy: decides what is evicted. To look into a run that was read at once, with other budgets, or whose rows
            went several at a time, give ``scripted(trace)``.
        layer: the layer, from 0.
        group: the KV head, from 0, if the policy decides per KV head; else 0.
        positions: see `ReadOptions`.
        beyond_context: see `ReadOptions`.

    Returns:
        (n, n): rows are steps, columns positions; averaged over the query heads of the group (of the layer, if it
        decides as one). Zero where the query did not attend; a row sums to 1, or to less if the heads have learned
        sinks, see `core.engine.layer_attention`.

    Raises:
        BadInput, TextTooLong, UnsupportedModel, OutOfMemory: as `replay`; BadInput also if the model has no such layer
            or group.
    """
    tokens = lm.as_tokens(tokens)
    n = len(tokens)
    options = ReadOptions(positions=positions, beyond_context=beyond_context)
    check_prompt(lm, tokens, n, [policy], options)
    groups = lm.n_kv_heads if policy.scope == "kv_head" else 1
    if not (0 <= layer < lm.n_layers and 0 <= group < groups):
        raise BadInput(
            "There is no layer {layer} with group {group}: give a layer from 0 to {last}.",
            layer=layer,
            group=group,
            last=lm.n_layers - 1,
        )
    if isinstance(policy, Scripted):
        check_schedule(policy, lm.n_layers, groups, n)
        policy = replace(policy, evicted_at=policy.evicted_at[: layer + 1])
    rotary = checked_rotary(lm) if needs_of(policy).queries else None
    heads = heads_of(lm, rotary)
    run = Run(policy, layers=layer + 1, kv_heads=lm.n_kv_heads, capacity=n, prompt_length=n, heads=heads)
    paid = np.zeros((n, n), np.float32)

    def watch(of_layer: int, chunk: range, of_columns: list[Ints], attention: Tensor) -> None:
        if of_layer != layer:
            return
        of_group = attention[0].mean(dim=1)
        own = (of_group[group] if run.groups > 1 else of_group.mean(dim=0)).cpu().numpy()
        live = of_columns[0][group] != FREE
        paid[chunk.start : chunk.stop, of_columns[0][group, live]] = own[:, live]

    batch = Batch(lm, [run], watch, late_rotation(lm, positions), rotary)
    ids = torch.as_tensor(tokens.ids, dtype=torch.long, device=lm.device)[None]
    for start in range(0, n, LONGEST_CHUNK):
        chunk = range(start, min(start + LONGEST_CHUNK, n))
        batch.read(ids[:, chunk.start : chunk.stop], chunk)
    return paid
