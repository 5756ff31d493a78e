"""What to see in the map of a run, in one line. Plain text, not yet escaped."""

from core.measures import survival
from core.messages import tokens
from core.trace import NEVER, Trace
from viz.words.catalogue import _, ngettext, told


def headline(trace: Trace) -> str:
    """How many rows are held at the end, how many of them are not recent, and who still has the first token.

    Such as “64 rows in each of 30 layers · 27% of them not recent · first token in 27 layers”.
    """
    last = len(trace) - 1
    if trace.policy.keeps_all:
        return _("forgets nothing: the ordinary model")
    rows = _rows(trace)
    if not (trace.evicted_at != NEVER).any():
        if trace.policy.is_recorded:
            return " · ".join([rows, _("nothing was evicted")])
        return " · ".join([rows, _("everything fits: lower the budget to see the policy at work")])
    old = _("{share:.0%} of them not recent", share=survival.not_recent_share(trace, last))
    return " · ".join([rows, old, _first_token(trace), *_out_of_sight(trace)])


def _rows(trace: Trace) -> str:
    layers, groups, _n = trace.evicted_at.shape
    held = trace.kept(len(trace) - 1).sum(axis=2)
    least, most = int(held.min()), int(held.max())
    budget = str(least) if most == least else f"{least} – {most}"
    if groups > 1:
        return _("{budget} rows in each of {heads} KV heads", budget=budget, heads=layers * groups)
    return _("{budget} rows in each of {layers} layers", budget=budget, layers=layers)


def _first_token(trace: Trace) -> str:
    held = int((trace.evicted_at[:, :, 0] == NEVER).sum())
    if not held:
        return _("first token forgotten")
    if trace.policy.scope == "kv_head":
        return ngettext("first token in {n} KV head", "first token in {n} KV heads", held)
    return ngettext("first token in {n} layer", "first token in {n} layers", held)


def _out_of_sight(trace: Trace) -> list[str]:
    """How far the model's own sliding window looks; nothing if it hides none of the rows kept."""
    last = len(trace) - 1
    if not (trace.kept(last) & ~trace.in_sight(last)).any():
        return []
    return [_("the model itself looks back {window}", window=told(tokens(max(trace.sliding_windows))))]
