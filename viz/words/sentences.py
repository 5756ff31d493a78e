"""What happened to a token, in a sentence. Plain text: whoever shows it escapes it."""

import re

import numpy as np

from core.measures.survival import lifespan
from core.trace import NEVER, Trace
from viz.words.lesson_words import Language
from viz.words.say import isolated

NEWLINE, TAB = "↵", "⇥"
"""How a line break and a tab are shown."""

SENTENCES: dict[Language, dict[str, str]] = {
    "en": {
        "part": "a part of {token}",
        "part_of_character": "a part of a character",
        "layer": "Layer {layer}",
        "kv_head": "Layer {layer}, KV head {group},",
        "held": "{who} still holds {token} at the end (step {last}), {age} steps after reading it.",
        "forgot": "{who} forgot {token} while reading {reading} (step {step}): {reason}.",
        "forgot_itself": "{who} forgot {token} while reading itself (step {step}): {reason}.",
        "out_of_sight": " The model itself looks back at most {window} tokens here: at that step it no longer saw it.",
        "none": "none",
        "life_layer": (
            "Token {position}, {token}: kept for {mean:.0f} of {steps} steps on average; still held at the end by "
            "{kept} of {deciders} layers."
        ),
        "life_kv_head": (
            "Token {position}, {token}: kept for {mean:.0f} of {steps} steps on average; still held at the end by "
            "{kept} of {deciders} KV heads."
        ),
        "life_out_of_sight": (
            " In {hidden} of those it is out of sight: the model itself looks back at most {window} tokens."
        ),
    },
    "zh": {
        "part": "{token}的一部分",
        "part_of_character": "一个字符的一部分",
        "layer": "第 {layer} 层",
        "kv_head": "第 {layer} 层 KV 头 {group} ",
        "held": "{who}到最后（第 {last} 步）仍保留着{token}，距读入已有 {age} 步。",
        "forgot": "{who}在读{reading}时（第 {step} 步）淘汰了{token}：{reason}。",
        "forgot_itself": "{who}一读到{token}（第 {step} 步）就把它淘汰了：{reason}。",
        "out_of_sight": "模型自身在这里最多回看 {window} 个词元：在那一步，模型已经看不到它。",
        "none": "无",
        "life_layer": (
            "词元 {position}，{token}：在 {steps} 步中平均保留 {mean:.0f} 步；到最后，{deciders} 层中仍有 {kept} "
            "层保留着它。"
        ),
        "life_kv_head": (
            "词元 {position}，{token}：在 {steps} 步中平均保留 {mean:.0f} 步；到最后，{deciders} 个 KV 头中仍有 {kept} "
            "个保留着它。"
        ),
        "life_out_of_sight": "其中 {hidden} 个虽保留着它，模型却看不到：模型自身最多回看 {window} 个词元。",
    },
}

REASONS: dict[Language, dict[str, str]] = {
    "en": {
        "tova": "least attended of {rows} rows, {importance}; next lowest {runner_up}",
        "tova-head": "least attended of {rows} rows, {importance}; next lowest {runner_up}",
        "h2o": "of {rows} rows, the one outside the recent half with the least attention accumulated, {importance}; "
        "next lowest {runner_up}",
        "window": "the oldest of {rows} rows",
        "window+i": "the oldest of {rows} rows that is not among the first {n_sink} tokens",
        "random": "drawn at random from {rows} rows",
        "one-shot": "not among the rows kept when the whole prompt was cut at once, {importance}",
        "other": "least important of {rows} rows, {importance}; next lowest {runner_up}",
    },
    "zh": {
        "tova": "在 {rows} 行中得到的注意力最少，只有 {importance}；次少的是 {runner_up}",
        "tova-head": "在 {rows} 行中得到的注意力最少，只有 {importance}；次少的是 {runner_up}",
        "h2o": "在 {rows} 行中，除去最近的一半，它累积的注意力最少，只有 {importance}；次少的是 {runner_up}",
        "window": "它是 {rows} 行中最旧的一行",
        "window+i": "除去文本开头的 {n_sink} 个词元，它是 {rows} 行中最旧的一行",
        "random": "从 {rows} 行中随机抽出",
        "one-shot": "整个提示一次截断时，它不在保留的行中，重要性为 {importance}",
        "other": "在 {rows} 行中重要性最低，只有 {importance}；次低的是 {runner_up}",
    },
}
"""Why a policy evicts, by its key; a policy that is not here has the reason "other"."""


def quoted(trace: Trace, position: int, language: Language = "en") -> str:
    """The token in quotation marks, line breaks and tabs made visible, long ones cut."""
    tokens, say = trace.tokens, SENTENCES[language]
    if tokens.continued[position]:
        if not position:
            return say["part_of_character"]
        return say["part"].format(token=quoted(trace, position - 1, language))
    piece = re.sub(r"\r?\n", NEWLINE, tokens.pieces[position]).replace("\t", TAB)
    return f"“{isolated(piece if len(piece) <= 24 else piece[:23] + '…')}”"


def decider(trace: Trace, layer: int, group: int, language: Language = "en") -> str:
    """Who decided: the layer, or one KV head of it."""
    return SENTENCES[language][trace.policy.scope].format(layer=layer, group=group)


def why(trace: Trace, layer: int, group: int, position: int, language: Language = "en") -> str:
    """When and why a decider evicted a token, or that it still has it."""
    say, last = SENTENCES[language], len(trace) - 1
    told = {"who": decider(trace, layer, group, language), "token": quoted(trace, position, language)}
    evicted_at = int(trace.evicted_at[layer, group, position])
    unseen = ""
    if not trace.in_sight(min(evicted_at, last))[layer, group, position]:
        unseen = say["out_of_sight"].format(window=trace.sliding_windows[layer])
    if evicted_at == NEVER:
        return say["held"].format(**told, last=last, age=last - position) + unseen
    told |= {"step": str(evicted_at), "reason": _reason(trace, layer, group, position, language)}
    if evicted_at == position:
        return say["forgot_itself"].format(**told)
    return say["forgot"].format(**told, reading=quoted(trace, evicted_at, language)) + unseen


def _reason(trace: Trace, layer: int, group: int, position: int, language: Language) -> str:
    where, reasons = (layer, group, position), REASONS[language]
    evicted_at = int(trace.evicted_at[where])
    at_once = trace.prefill == "one-shot" and evicted_at == trace.prompt_length - 1
    reason = reasons["one-shot"] if at_once else reasons.get(trace.policy.key, reasons["other"])
    runner_up = float(trace.runner_up_importance[where])
    return reason.format(
        rows=int(trace.attended(evicted_at)[layer, group].sum()),
        importance=f"{float(trace.importance_at_eviction[where]):.2g}",
        runner_up=f"{runner_up:.2g}" if np.isfinite(runner_up) else SENTENCES[language]["none"],
        **trace.policy.settings,
    )


def life(trace: Trace, position: int, language: Language = "en") -> str:
    """A token's life over all deciders."""
    say, kept = SENTENCES[language], trace.evicted_at[..., position] == NEVER
    told = say[f"life_{trace.policy.scope}"].format(
        position=position,
        token=quoted(trace, position, language),
        mean=float(lifespan(trace)[..., position].mean()),
        steps=len(trace) - position,
        kept=int(kept.sum()),
        deciders=kept.size,
    )
    hidden = int((kept & ~trace.in_sight(len(trace) - 1)[..., position]).sum())
    if not hidden:
        return told
    return told + say["life_out_of_sight"].format(window=max(trace.sliding_windows), hidden=hidden)
