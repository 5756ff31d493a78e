from . import ask, needle, writing
from .budget_sweep import iter_sweep, sweep
from .comparison import compare, forgotten_attention, iter_compare
from .engine import Progress, attention_of, generate, iter_generate, iter_replay, replay
from .loading import load_model
from .models import LanguageModel
from .oracle import foresee
from .policies import POLICIES, Policy, Step, make_policy
from .registry import MODELS, ModelSpec
from .trace import NEVER, Positions, Tokens, Trace

__all__ = [
    "MODELS",
    "NEVER",
    "POLICIES",
    "LanguageModel",
    "ModelSpec",
    "Policy",
    "Positions",
    "Progress",
    "Step",
    "Tokens",
    "Trace",
    "ask",
    "attention_of",
    "compare",
    "foresee",
    "forgotten_attention",
    "generate",
    "iter_compare",
    "iter_generate",
    "iter_replay",
    "iter_sweep",
    "load_model",
    "make_policy",
    "needle",
    "replay",
    "sweep",
    "writing",
]
