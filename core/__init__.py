"""Run a language model with a finite multi-state and record which tokens it keeps."""

from core.compare import compare, forgotten_attention, iter_compare
from core.engine import Progress, attention_of, generate, iter_generate, iter_replay, replay
from core.models import MODELS, LanguageModel, ModelSpec, load_model
from core.oracle import foresee
from core.policies import POLICIES, Policy, Step, make_policy
from core.sweep import iter_sweep, sweep
from core.trace import NEVER, Positions, Tokens, Trace

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
    "replay",
    "sweep",
]
