"""What the tabs say and ask about runs that have been computed before."""

from typing import TYPE_CHECKING

import core
from core import metrics
from core.policies import make_policy, settings_of
from core.trace import Tokens
from core.trace_store import Stored, TraceStore, key_of

if TYPE_CHECKING:
    from core import LanguageModel

BEFORE = "This was computed before and comes from the store"
LOOKING = "Looking whether this was computed before …"
GOING_ON = "The same run is going on already, for another page: its result will be shown here …"


def full_perplexity(store: TraceStore, lm: "LanguageModel", tokens: Tokens) -> float:
    """Of the model that forgets nothing, on these tokens."""
    full = make_policy("full")
    key = key_of(lm, tokens, [settings_of(full)])
    stored = store.get(key)
    if stored is None:
        stored = Stored((core.replay(lm, tokens, full),))
        store.put(key, stored)
    return metrics.perplexity(stored.traces[0])
