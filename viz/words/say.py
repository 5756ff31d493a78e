"""Our words in the language of the page: English stands in the code and is the key under which the Chinese is found."""

import unicodedata
from typing import Any

from core.trace import PolicySettings
from viz.words.figure_words import COUNTED, FIGURE_WORDS, NAMES
from viz.words.lesson_words import Language
from viz.words.status_words import STATUS_WORDS

TURNING = {"R", "AL", "LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
"""Unicode's classes of letters that read from right to left, and of signs that change the direction of others."""


def say(language: Language, template: str, **values: Any) -> str:
    """A text of ours in this language, with these values in its holes, texts among them `isolated`."""
    values = {name: isolated(value) if isinstance(value, str) else value for name, value in values.items()}
    return ((STATUS_WORDS.get(template) or FIGURE_WORDS[template]) if language == "zh" else template).format(**values)


def isolated(text: str) -> str:
    """The same for a sentence of ours: what reads from right to left in it does not turn round what stands beside it.

    Without U+2068 and U+2069 around it an Arabic word takes a number that follows to its other side. A text without
    letters that read from right to left, and without signs that turn others round, stays as it is.
    """
    turning = any(unicodedata.bidirectional(character) in TURNING for character in text)
    return f"\u2068{text}\u2069" if turning else text


def named(name: str, language: Language) -> str:
    """What something is called: a policy, a kind of token, a column; a name that has no Chinese stays as it is."""
    return NAMES.get(name, name) if language == "zh" else name


def amount(language: Language, number: int, noun: str) -> str:
    """So many of these."""
    if language == "zh":
        return f"{number:,} {COUNTED[noun]}"
    return f"{number:,} {noun}{'s' * (number != 1)}"


def policy_name(policy: PolicySettings, language: Language) -> str:
    """The policy with its budget, if it has one."""
    return say(language, ", ").join(policy_parts(policy, language))


def policy_parts(policy: PolicySettings, language: Language) -> list[str]:
    """A policy's name in parts: its label, and its budget if it has one."""
    budget = [] if policy.budget is None else [say(language, "budget {budget}", budget=policy.budget)]
    return [named(policy.label, language), *budget]
