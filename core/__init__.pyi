from .engine.attention_of import attention_of
from .engine.foresight import foresee
from .engine.generate import generate, iter_generate
from .engine.reading import Progress
from .engine.replay import iter_replay, replay
from .experiments import ask, needle, writing
from .experiments.budget_sweep import iter_sweep, sweep
from .experiments.comparison import compare, forgotten_attention, iter_compare
from .experiments.records import budget_sentences
from .loading.load import load_model
from .loading.machine import free_bytes, weight_bytes
from .measures.costs import costs
from .model.chat import chats, turn
from .model.language_model import LanguageModel
from .model.registry import MODELS, ModelSpec
from .policies import POLICIES, Policy, Step, make_policy, presets, scripted
from .recording.record import Recording, record
from .trace import NEVER, Budgets, Positions, Tokens, Trace

__all__ = [
    "MODELS",
    "NEVER",
    "POLICIES",
    "Budgets",
    "LanguageModel",
    "ModelSpec",
    "Policy",
    "Positions",
    "Progress",
    "Recording",
    "Step",
    "Tokens",
    "Trace",
    "ask",
    "attention_of",
    "budget_sentences",
    "chats",
    "compare",
    "costs",
    "foresee",
    "forgotten_attention",
    "free_bytes",
    "generate",
    "iter_compare",
    "iter_generate",
    "iter_replay",
    "iter_sweep",
    "load_model",
    "make_policy",
    "needle",
    "presets",
    "record",
    "replay",
    "scripted",
    "sweep",
    "turn",
    "weight_bytes",
    "writing",
]
