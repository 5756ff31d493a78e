"""A policy of one's own as a class of its own, in Python."""

from core.policies.own import Own

NAME = "MyPolicy"
"""What the class is called."""

_HEAD = '''\
from dataclasses import dataclass

import numpy as np

from core.policies import Policy, a_budget


def ranks(values):
    """Twice the rank of each row, from 0 for the lowest; equal rows share the mean of their ranks."""
    row, other = values[:, :, None], values[:, None, :]
    return (other < row).sum(axis=2) + (other <= row).sum(axis=2) - 1


@dataclass(frozen=True, kw_only=True)
class {name}(Policy):
    """Evicts the row with the lowest sum of weighted ranks."""

    key, label, paper = "my-policy", "My policy", "ours"
    scope, reads_attention, reads_rows = "{scope}", {reads_attention}, {reads_rows}
    budget: int = a_budget()
'''


def class_of(own: Own) -> str:
    """A class that evicts exactly what this policy evicts, with its numbers written in, and without what has no weight.

    It goes where the README's example of a policy of one's own has its class. Ranks are compared pair by pair, which is
    short to read, and slower than `own.doubled_ranks`.
    """
    both = own.reads_attention and own.reads_rows
    memory = "memory[:, :, 0]" if both else "memory"
    methods = [
        _born(both) if own.reads_rows else "",
        _observe(own, memory) if own.reads_attention else "",
        _importance(own, memory, "memory[:, :, 1]" if both else "memory"),
    ]
    head = _HEAD.format(name=NAME, scope=own.scope, reads_attention=own.reads_attention, reads_rows=own.reads_rows)
    return "\n".join([head, *filter(None, methods)])


def _born(both: bool) -> str:
    length = "np.sqrt(np.square(rows.keys).sum(axis=3)).mean(axis=1)"
    if not both:
        return f"    def born(self, rows):\n        return {length}\n"
    return (
        "    def born(self, rows):\n"
        "        memory = np.zeros((*rows.shape, 2))\n"
        f"        memory[:, :, 1] = {length}\n"
        "        return memory\n"
    )


def _observe(own: Own, memory: str) -> str:
    over_heads = "sum" if own.per_head else "mean"
    fade = "" if own.gamma == 100 else f"        {memory} *= {own.gamma / 100}\n"
    return f"    def observe(self, step, memory):\n{fade}        {memory} += step.attention.{over_heads}(axis=1)\n"


def _importance(own: Own, attention: str, length: str) -> str:
    terms = (
        (own.w_attention, attention),
        (own.w_recent, "step.positions"),
        (own.w_keys, f"-{length}"),
    )
    total = " + ".join(f"{weight} * ranks({values})" for weight, values in terms if weight)
    spared = [f"step.positions < {own.n_sink}"] * bool(own.n_sink)
    spared += [f"step.positions > step.position - {own.n_recent}"] * bool(own.n_recent)
    scaled = "total / (2 * max(step.positions.shape[1] - 1, 1))"
    lines = [f"total = {total}", f"return {scaled}"]
    if spared:
        either = spared[0] if len(spared) == 1 else f"({spared[0]}) | ({spared[1]})"
        lines[1:] = [f"spared = {either}", f"return np.where(spared, np.inf, {scaled})"]
    return "    def importance(self, step, memory):\n" + "".join(f"        {line}\n" for line in lines)
