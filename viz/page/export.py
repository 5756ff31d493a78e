"""Runs as files to download: traces (.npz), tables (.csv), and a page with the map (.html) that needs no server."""

import csv
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

from core.measures.tables import COST_COLUMNS
from core.trace import NEVER, Trace
from viz.maps.retention_map import standalone_html

TRACE_COLUMNS = (
    "layer",
    "kv_head",
    "position",
    "token",
    "evicted_at",
    "importance_at_eviction",
    "runner_up_importance",
    "attention_received",
    "generated",
    "sliding_window",
)


def table_file(path: Path) -> TextIO:
    """Open a .csv file to write, in UTF-8 with a byte order mark: without the mark, Excel assumes another encoding."""
    return path.open("w", encoding="utf-8-sig", newline="")


def write_csv(trace: Trace, file: TextIO) -> None:
    """Write one line per decider and token; a cell without a value (no KV head, never evicted, no window) is empty.

    ``sliding_window`` is how many tokens back the model itself looks in this layer, see `Trace.sliding_windows`.
    """
    writer = csv.writer(file)
    writer.writerow(TRACE_COLUMNS)
    layers, groups, n = trace.evicted_at.shape
    windows = trace.sliding_windows or (0,) * layers
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
                        windows[layer] or "",
                    )
                )


def write_trace(trace: Trace, folder: Path) -> str:
    """Write the trace (.npz); returns its path."""
    path = folder / f"{_name(trace)}.npz"
    with path.open("wb") as file:
        trace.save(file)
    return str(path)


def write_files(trace: Trace) -> list[str]:
    """Write the trace (.npz), the table (.csv) and the page (.html); returns their paths."""
    folder = new_folder()
    table, page = (folder / f"{_name(trace)}.{kind}" for kind in ("csv", "html"))
    with table_file(table) as text:
        write_csv(trace, text)
    page.write_text(standalone_html(trace), encoding="utf-8")
    return [write_trace(trace, folder), str(table), str(page)]


def write_comparison(traces: Sequence[Trace], costs: Sequence[dict[str, Any]]) -> list[str]:
    """Write the costs (.csv; none if each policy has written its own text) and every trace (.npz); returns paths."""
    folder = new_folder()
    table = folder / "comparison.csv"
    _write(costs, COST_COLUMNS, table)
    return [str(table), *(write_trace(trace, folder) for trace in traces)]


def write_rows(rows: Sequence[dict[str, Any]], name: str) -> str:
    """Write one or more rows, not rounded, as `name`.csv; returns its path."""
    path = new_folder() / f"{name}.csv"
    _write(rows, list(rows[0]), path)
    return str(path)


def _write(rows: Sequence[dict[str, Any]], columns: Sequence[str], path: Path) -> None:
    with table_file(path) as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


def _name(trace: Trace) -> str:
    return f"retention-{trace.policy.key}" + ("" if trace.policy.budget is None else f"-{trace.policy.budget}")


_exports = tempfile.TemporaryDirectory(prefix="retention-")  # deleted when the server stops


def new_folder() -> Path:
    """A new empty folder, deleted when the server stops."""
    return Path(tempfile.mkdtemp(dir=_exports.name))
