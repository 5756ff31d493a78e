"""A trace as files to take away: the trace itself, a table, and a page that needs no server."""

import csv
from pathlib import Path
from typing import TextIO

from core.trace import NEVER, Trace
from viz.retention_map import standalone_html

COLUMNS = (
    "layer",
    "kv_head",
    "position",
    "token",
    "evicted_at",
    "importance_at_eviction",
    "runner_up_importance",
    "attention_received",
    "generated",
)


def write_csv(trace: Trace, file: TextIO) -> None:
    """One line per decider and token; empty where there is nothing to say: no KV head, never evicted."""
    writer = csv.writer(file)
    writer.writerow(COLUMNS)
    layers, groups, n = trace.evicted_at.shape
    for layer in range(layers):
        for group in range(groups):
            for position in range(n):
                where = (layer, group, position)
                gone = trace.evicted_at[where] != NEVER
                writer.writerow(
                    (
                        layer,
                        group if trace.policy.scope == "kv_head" else "",
                        position,
                        trace.tokens.pieces[position],
                        trace.evicted_at[where] if gone else "",
                        f"{trace.importance_at_eviction[where]:.6g}" if gone else "",
                        f"{trace.runner_up_importance[where]:.6g}" if gone else "",
                        f"{trace.attention_received[where]:.6g}",
                        int(position >= trace.prompt_length),
                    )
                )


def write_files(trace: Trace, folder: Path) -> list[Path]:
    """Write the trace (.npz), the table (.csv) and the page (.html) into a folder; returns their paths."""
    name = trace.policy.key if trace.policy.budget is None else f"{trace.policy.key}-{trace.policy.budget}"
    npz, table, page = (folder / f"retention-{name}.{kind}" for kind in ("npz", "csv", "html"))
    with npz.open("wb") as binary:
        trace.save(binary)
    with table.open("w", encoding="utf-8", newline="") as text:
        write_csv(trace, text)
    page.write_text(standalone_html(trace), encoding="utf-8")
    return [npz, table, page]
