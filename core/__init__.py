"""Run a language model with a finite multi-state and record which tokens it keeps."""

from core.engine import Progress, attention_of, generate, iter_generate, iter_replay, replay
from core.models import MODELS, LanguageModel, ModelSpec, load_model
from core.policies import POLICIES, Policy, Step, make_policy
from core.trace import NEVER, Tokens, Trace

__all__ = [
    "MODELS",
    "NEVER",
    "POLICIES",
    "LanguageModel",
    "ModelSpec",
    "Policy",
    "Progress",
    "Step",
    "Tokens",
    "Trace",
    "attention_of",
    "generate",
    "iter_generate",
    "iter_replay",
    "load_model",
    "make_policy",
    "replay",
]
