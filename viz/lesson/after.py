"""The lesson's last step: four policies on one short text, in which a sentence comes several times."""

import re
from functools import cache
from pathlib import Path

import numpy as np

from core.measures.survival import lifespan
from core.policies import SnapKV
from core.trace import Bools, Trace

FOLDER = Path(__file__).parent / "traces" / "after"
TEXT = (Path(__file__).parent / "ferry.txt").read_text(encoding="utf-8").strip()
POLICIES = ("tova", "snapkv", "keydiff", "rkv")
BUDGET = 32
WINDOW = SnapKV(budget=BUDGET).window  # that of R-KV, too
NAMES = ("Ilka", "Bruno", "Petra")
SENTENCE = "Every morning the bell rang three times, and the ferry crossed the river."
STOP = 135  # the full stop of the sentence's last copy


@cache
def trace(policy: str) -> Trace:
    """The stored run of SmolLM2 under this policy, without importances and attention, to keep the file small."""
    return Trace.load(FOLDER / f"{policy}.npz")


def numbers() -> dict[str, str]:
    """The numbers that the step mentions, as text, by the name of its placeholder."""
    n = len(trace("tova"))
    copies = tokens_of(SENTENCE, after=1)
    life = {policy: lifespan(trace(policy)).mean(axis=(0, 1)) for policy in POLICIES}
    return {
        "after_n": f"{n}",
        "after_budget": f"{BUDGET}",
        "after_times": f"{TEXT.count(SENTENCE)}",
        "after_heads": f"{trace('rkv').evicted_at.shape[1]}",
        "after_window": f"{WINDOW}",
        "after_mean_steps": f"{life['tova'].mean():.0f}",
        "after_stop_steps": f"{life['tova'][tokens_of('.')].mean():.0f}",
        "after_tova_stretch": f"{stretch(trace('tova')):.1f}",
        "after_snapkv_stretch": f"{stretch(trace('snapkv')):.1f}",
        "after_keydiff_names": f"{life['keydiff'][tokens_of(*NAMES)].mean():.0f}",
        "after_keydiff_copies": f"{life['keydiff'][copies].mean():.0f}",
        "after_keydiff_last": f"{trace('keydiff').kept(n - 1)[..., -WINDOW:].mean():.0%}",
        "after_rkv_names": f"{life['rkv'][tokens_of(*NAMES)].mean():.0f}",
        "after_rkv_copies": f"{life['rkv'][copies].mean():.0f}",
    }


def tokens_of(*passages: str, after: int = 0) -> Bools:
    """(n,): the tokens of these passages, wherever they come in the text; without the first `after` times."""
    offsets = trace("tova").tokens.offsets
    inside = np.zeros(len(offsets), bool)
    for passage in passages:
        for found in list(re.finditer(re.escape(passage), TEXT))[after:]:
            inside |= (offsets[:, 0] < found.end()) & (offsets[:, 1] > found.start())
    return inside


def stretch(run: Trace) -> float:
    """How many neighbouring tokens a decider still holds on average at the end, apart from the last `WINDOW`."""
    kept = run.kept(len(run) - 1)[..., :-WINDOW]
    begins = kept.copy()
    begins[..., 1:] &= ~kept[..., :-1]
    return float(kept.sum() / begins.sum())
