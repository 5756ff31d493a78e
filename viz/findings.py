"""What to see here: a run in a few numbers, each with a line that explains it."""

import html
from dataclasses import dataclass

from core import metrics
from core.trace import NEVER, Trace
from viz.sentences import quoted


@dataclass(frozen=True)
class Finding:
    """A number and what it means, as plain text."""

    value: str
    meaning: str


def findings(trace: Trace, full_perplexity: float | None = None) -> list[Finding]:
    """The numbers of a run, also of one that is still going on.

    Args:
        trace: of the run.
        full_perplexity: of the full model on the same tokens, if it is known.
    """
    if len(trace) < 2:
        return []
    last = len(trace) - 1
    layers, groups, n = trace.evicted_at.shape
    kept = int(trace.kept(last).sum())
    evicted = int((trace.evicted_at != NEVER).sum())
    beside = "" if full_perplexity is None else f" The full model, which forgets nothing: {full_perplexity:.1f}."
    found = [
        Finding(f"{metrics.perplexity(trace):.1f}", f"perplexity: how surprised the model is, per token.{beside}"),
        Finding(f"{kept:,}", f"rows kept at the end, of {layers * groups * n:,} read; {evicted:,} were evicted."),
    ]
    if not evicted:
        return [*found, Finding("0", "tokens evicted: everything fits. Lower the budget to see the policy at work.")]
    unit = "KV heads" if trace.policy.scope == "kv_head" else "layers"
    first = trace.evicted_at[:, :, 0]
    found.append(
        Finding(
            f"{metrics.not_recent_share(trace, last):.0%}",
            f"of what is kept is not among the last {trace.policy.budget} tokens. Window would have 0%.",
        )
    )
    found.append(
        Finding(
            f"{int((first == NEVER).sum())} of {first.size}",
            f"{unit} hold the very first token to the end; on average it stays for "
            f"{metrics.lifespan(trace)[:, :, 0].mean():.0f} of {n} steps.",
        )
    )
    longest = metrics.longest_lived(trace)
    if longest is not None:
        found.append(
            Finding(
                f"{longest.steps:.0f} steps",
                f"is how long {quoted(trace, longest.position)} (token {longest.position}) is held on average: the "
                "longest of all that do not open the text.",
            )
        )
    return found


def findings_html(found: list[Finding]) -> str:
    """A list for the page; every text is escaped."""
    rows = "".join(f"<div><dt>{html.escape(f.value)}</dt><dd>{html.escape(f.meaning)}</dd></div>" for f in found)
    return f'<dl class="findings">{rows}</dl>'
