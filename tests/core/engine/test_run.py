"""The bookkeeping of a run alone, on attention that no model of ours would pay."""

import numpy as np
import pytest

from core import make_policy
from core.engine.eviction import Computed
from core.engine.multi_state import Run
from core.trace import NEVER

COUNT, HEADS = 40, 4


def logits_of(kind: str) -> np.ndarray:
    """(KV heads, query heads of each, steps, columns) float32 of a text read as one chunk."""
    logits = np.random.default_rng(3).normal(size=(2, HEADS // 2, COUNT, COUNT))
    if kind.startswith(
        "a giant that was evicted"
    ):  # unloved until step 20, then a softmax over all columns sees only it
        logits[..., :20, 5] = -9.0
        logits[..., 20:, 5] = 200.0
    if kind == "ties":
        logits[:] = np.round(logits[0, 0])
    step, column = np.arange(COUNT)[:, None], np.arange(COUNT)
    return np.where(column <= step, logits, -np.inf).astype(np.float32)


SINKS = {
    "sinks": np.array([-9.0, 1, 2, 5]),
    "a giant sink": np.array([-9.0, 1, 2, 40]),
    "a giant that was evicted, and sinks": np.array([-9.0, 190, 1, 40]),
}


def softmax(logits: np.ndarray, sinks: np.ndarray | None = None) -> np.ndarray:
    """Over the last axis, of logits (…, heads, queries, rows) and the sinks (…, heads), whose share comes last."""
    if sinks is not None:
        logits = np.concatenate([logits, np.broadcast_to(sinks[..., None, None], (*logits.shape[:-1], 1))], axis=-1)
    exponents = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exponents / exponents.sum(axis=-1, keepdims=True)


def brute_force(key: str, budget: int, logits: np.ndarray, sinks: np.ndarray | None = None) -> np.ndarray:
    """Evicted at (groups, positions), one step and one row at a time, in double precision."""
    groups = 1 if key == "tova" else 2
    logits = logits.astype(np.float64).reshape(groups, -1, COUNT, COUNT)
    of_heads = np.full((groups, logits.shape[1]), -np.inf) if sinks is None else sinks.reshape(groups, -1)
    evicted_at = np.full((groups, COUNT), NEVER)
    for group in range(groups):
        kept: list[int] = []
        memory = np.zeros(COUNT)
        for step in range(COUNT):
            kept.append(step)
            of_head = zip(logits[group], of_heads[group], strict=True)
            paid = np.stack([softmax(np.append(head[step, kept], sink))[:-1] for head, sink in of_head])
            memory[kept] += paid.sum(axis=0)
            if len(kept) > budget:
                worth = list(memory[kept] if key == "h2o" else paid.mean(axis=0).astype(np.float32))
                if key == "h2o":
                    worth = [np.inf if row > step - budget // 2 else w for row, w in zip(kept, worth, strict=True)]
                evicted_at[group, kept.pop(int(np.argmin(worth)))] = step
    return evicted_at


@pytest.mark.parametrize("kind", ["ordinary", "a giant that was evicted", "ties", *SINKS])
@pytest.mark.parametrize("key", ["tova", "tova-head", "h2o"])
@pytest.mark.parametrize("budget", [3, 8])
def test_chunks_are_decided_as_one_step_after_the_other(key, budget, kind):
    logits, sinks = logits_of(kind), SINKS.get(kind)
    expected = brute_force(key, budget, logits, sinks)
    assert kind != "a giant that was evicted" or (expected[:, 5] < 20).all()
    run = Run(make_policy(key, budget), layers=1, kv_heads=2, capacity=COUNT, prompt_length=COUNT)
    logits = logits.reshape(run.groups, -1, COUNT, COUNT)
    sinks = None if sinks is None else sinks.astype(np.float32).reshape(run.groups, -1)
    evicted_at = np.full((run.groups, COUNT), NEVER)
    groups = np.arange(run.groups)[:, None]
    for chunk in (range(15), range(15, COUNT)):
        run.positions = run.positions[:, :, ::-1]  # the slots are in no particular order
        run.memory = run.memory[:, :, ::-1]
        columns = run.column_positions(0, run.slots, chunk)
        own = np.stack([of_group[:, chunk][:, :, at] for of_group, at in zip(logits, columns, strict=True)])
        paid, to_sinks = softmax(own, sinks), None
        if sinks is not None:
            paid, to_sinks = paid[..., :-1], paid[..., -1:]
        computed = Computed(lambda own=own: own, lambda: None, lambda: None, paid, sinks=sinks, to_sinks=to_sinks)
        until, kept = run.decide_chunk(0, columns, chunk, computed)
        kept = np.arange(columns.shape[1]) if kept is None else kept
        run.finish_chunk(chunk)
        gone = until < len(chunk)
        evicted_at[np.nonzero(gone)[0], columns[gone]] = until[gone] + chunk.start
        np.testing.assert_array_equal(np.sort(columns[groups, kept]), np.sort(run.positions[0]))
    np.testing.assert_array_equal(evicted_at, expected)
