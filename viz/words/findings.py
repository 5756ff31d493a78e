"""What to see here: a run in a few numbers, each with a line that explains it."""

from dataclasses import dataclass
from typing import Any

from core.measures import costs, survival
from core.trace import NEVER, Trace
from viz.words.lesson_words import Language
from viz.words.sentences import quoted


@dataclass(frozen=True)
class Finding:
    """A number and what it means, as plain text."""

    value: str
    meaning: str

    def filled(self, **values: Any) -> "Finding":
        """With these in place of the holes."""
        return Finding(self.value.format(**values), self.meaning.format(**values))


WORDS: dict[Language, dict[str, Finding]] = {
    "en": {
        "perplexity": Finding("{own:.1f}", "perplexity: how surprised the model is, per token."),
        "perplexity_beside_full": Finding(
            "{own:.1f}",
            "perplexity: how surprised the model is, per token. The full model, which forgets nothing: {full:.1f}.",
        ),
        "rows": Finding("{kept:,}", "rows kept at the end, of {read:,} read; {evicted:,} were evicted."),
        "all_fits": Finding("0", "tokens evicted: everything fits. Lower the budget to see the policy at work."),
        "old": Finding("{share:.0%}", "of what is kept is not among the last {budget} tokens. Window would have 0%."),
        "first_layer": Finding(
            "{held} of {all}",
            "layers hold the very first token to the end; on average it stays for {steps:.0f} of {n} steps.",
        ),
        "first_kv_head": Finding(
            "{held} of {all}",
            "KV heads hold the very first token to the end; on average it stays for {steps:.0f} of {n} steps.",
        ),
        "longest": Finding(
            "{steps:.0f} steps",
            "is how long {token} (token {position}) is held on average: the longest of all that do not open the text.",
        ),
        "sight": Finding(
            "{window:,} tokens",
            "is how far back {some} of {all} layers of this model look by themselves: {unseen:,} of the rows kept at "
            "the end are out of the model's sight.",
        ),
    },
    "zh": {
        "perplexity": Finding("{own:.1f}", "困惑度：平均每个词元让模型有多意外。"),
        "perplexity_beside_full": Finding(
            "{own:.1f}", "困惑度：平均每个词元让模型有多意外。什么都不忘的完整模型：{full:.1f}。"
        ),
        "rows": Finding("{kept:,} 行", "保留到最后；共读入 {read:,} 行，淘汰 {evicted:,} 行。"),
        "all_fits": Finding("0 个词元", "被淘汰：全都放得下。调低预算，看看策略怎样取舍。"),
        "old": Finding("{share:.0%}", "是保留的行中不属于最近 {budget} 个词元的比例；若是 Window，则为 0%。"),
        "first_layer": Finding("{held} / {all} 层", "把第一个词元保留到最后；在 {n} 步中，它平均保留 {steps:.0f} 步。"),
        "first_kv_head": Finding(
            "{held} / {all} 个 KV 头", "把第一个词元保留到最后；在 {n} 步中，它平均保留 {steps:.0f} 步。"
        ),
        "longest": Finding(
            "{steps:.0f} 步", "是{token}（词元 {position}）的平均保留时间：除了文本开头的词元，它保留得最久。"
        ),
        "sight": Finding(
            "{window:,} 个词元",
            "是这个模型 {all} 层中的 {some} 层自身最多回看的长度：保留到最后的行中，有 {unseen:,} 行模型看不到。",
        ),
    },
}


def findings(trace: Trace, full_perplexity: float | None = None, language: Language = "en") -> list[Finding]:
    """The numbers of a run, also of one that is still going on.

    Args:
        trace: of the run.
        full_perplexity: of the full model on the same tokens, if it is known.
        language: of the words.
    """
    if len(trace) < 2:
        return []
    words = WORDS[language]
    last = len(trace) - 1
    layers, groups, n = trace.evicted_at.shape
    kept = int(trace.kept(last).sum())
    evicted = int((trace.evicted_at != NEVER).sum())
    perplexity = words["perplexity" if full_perplexity is None else "perplexity_beside_full"]
    found = [
        perplexity.filled(own=costs.perplexity(trace), full=full_perplexity),
        words["rows"].filled(kept=kept, read=layers * groups * n, evicted=evicted),
    ]
    unseen = int((trace.kept(last) & ~trace.in_sight(last)).sum())
    if unseen:
        looking = [window for window in trace.sliding_windows if window]
        found.append(words["sight"].filled(window=max(looking), some=len(looking), all=layers, unseen=unseen))
    if not evicted:
        return [*found, words["all_fits"]]
    found.append(words["old"].filled(share=survival.not_recent_share(trace, last), budget=trace.policy.budget))
    first = trace.evicted_at[:, :, 0]
    steps = survival.lifespan(trace)[:, :, 0].mean()
    held = int((first == NEVER).sum())
    found.append(words[f"first_{trace.policy.scope}"].filled(held=held, all=first.size, steps=steps, n=n))
    longest = survival.longest_lived(trace)
    if longest is not None:
        token = quoted(trace, longest.position, language)
        found.append(words["longest"].filled(steps=longest.steps, token=token, position=longest.position))
    return found
