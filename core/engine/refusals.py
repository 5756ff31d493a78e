"""Checks before a run: what text may be read, by which model, under which policies."""

import warnings
from collections.abc import Sequence

import numpy as np

from core.engine.options import ReadOptions
from core.engine.rotation import rotary_embedding
from core.errors import BadInput, TextTooLong
from core.messages import tokens as tokens_of
from core.model.language_model import LanguageModel
from core.policies import Oracle, Policy, Scripted
from core.trace import Tokens


def check_prompt(
    lm: LanguageModel,
    tokens: Tokens,
    total: int,
    policies: Sequence[Policy],
    options: ReadOptions,
) -> None:
    """Refuse a run that is not possible. `total` counts the tokens of the prompt and those to be written.

    Raises:
        BadInput, TextTooLong: as `replay`.
    """
    if len(tokens) == 0:
        raise BadInput("The text is empty. Write or paste some text first.")
    lm.check_ids(tokens.ids)
    if lm.context_length is not None and total > lm.context_length:
        at_once = len(tokens) if options.prefill == "one-shot" else 0
        _check_beyond(lm, total, at_once, policies, options)
    for policy in policies:
        if isinstance(policy, Oracle):
            _check_foresight(lm, policy, tokens, total)
        if isinstance(policy, Scripted) and policy.ids is not None and not np.array_equal(policy.ids, tokens.ids):
            raise BadInput("This schedule is that of another text. Make it from a trace of this one.")
        if getattr(policy, "reads_queries", False) and options.positions != "original":
            raise BadInput(
                '{policy} looks at queries as they were before the rotary embedding, which needs positions="original".',
                policy=policy.label,
            )


def _check_beyond(
    lm: LanguageModel, total: int, at_once: int, policies: Sequence[Policy], options: ReadOptions
) -> None:
    """Refuse a run longer than the model's context, or warn; `at_once` tokens are read without eviction."""
    limit = lm.context_length or 0
    too_long = {"total": total, "limit": limit, "model": lm.model_id}
    excess = {"excess": tokens_of(total - limit)}
    if rotary_embedding(lm.model) is None:
        raise TextTooLong(
            "{total:,} tokens are more than the {limit:,} that {model} was trained to read. It has no positions beyond "
            "them. Shorten the text by {excess}, or ask for fewer new ones.",
            **too_long,
            **excess,
        )
    if any(policy.budget is None for policy in policies):
        raise TextTooLong(
            "{total:,} tokens are more than the {limit:,} that {model} was trained to read. Shorten the text by "
            "{excess}, or ask for fewer new ones; only a policy that evicts can read on.",
            **too_long,
            **excess,
        )
    if options.positions == "original":
        if not options.beyond_context:
            raise TextTooLong(
                "{total:,} tokens are more than the {limit:,} that {model} was trained to read. Shorten the text by "
                '{excess}, or ask for fewer new ones. Or read on: with positions="in-cache", which numbers only the '
                "rows that are kept, or with beyond_context=True, at positions that the model has never seen.",
                **too_long,
                **excess,
            )
        warnings.warn(
            f"{total:,} tokens are more than the {limit:,} that {lm.model_id} was trained to read. Beyond them it "
            "meets positions that it has never seen.",
            stacklevel=2,
        )
        return
    share = {"uniform": 1, "pyramid": 2, "adaptive": lm.n_kv_heads}[options.budgets]  # at most, of one layer or head
    rows = max(at_once, *(policy.budget * share + options.every for policy in policies if policy.budget is not None))
    if rows > limit:
        raise TextTooLong(
            "{total:,} tokens are more than the {limit:,} that {model} was trained to read. As many as {rows:,} rows "
            "would be attended to at once. Lower the budget.",
            **too_long,
            rows=rows,
        )


def _check_foresight(lm: LanguageModel, oracle: Oracle, tokens: Tokens, total: int) -> None:
    if total > len(tokens):
        raise BadInput(
            "The oracle knows the future only of a text that is there: it can read, but it cannot write. Choose "
            "another policy, or ask for no new tokens."
        )
    if oracle.model_id != lm.model_id or not np.array_equal(oracle.ids, tokens.ids):
        raise BadInput(
            "This oracle foresaw another text, or the same under {model}. Call foresee for this model and this text.",
            model=oracle.model_id,
        )
