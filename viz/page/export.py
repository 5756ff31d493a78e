"""Runs as files to download: traces (.npz), tables (.csv), and a page with the map (.html) that needs no server."""

import csv
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from core.measures.costs import costs
from core.measures.tables import COST_COLUMNS, cost_rows
from core.store import Stored
from core.trace import NEVER, Trace
from viz.maps.standalone import standalone_html
from viz.page.asked import shown

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
    """Write one line per decider and token; a cell without a value is empty.

    There is none of a KV head if the layer decides, of an eviction if the token was never evicted, of a window if there
    is none, and of importances and attention if the run was recorded.

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
                        _number(trace.importance_at_eviction[where]),
                        _number(trace.runner_up_importance[where]),
                        _number(trace.attention_received[where]),
                        int(position >= trace.prompt_length),
                        windows[layer] or "",
                    )
                )


def _number(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.6g}"


def write_trace(trace: Trace, folder: Path, name: str = "") -> str:
    """Write the trace as name.npz, by default under the name of its policy; returns its path."""
    path = folder / f"{name or _name(trace)}.npz"
    with path.open("wb") as file:
        trace.save(file)
    return str(path)


def write_files(stored: Stored) -> list[str]:
    """Write each trace (.npz) with its table (.csv), the costs (.csv) if they are known, and the maps (.html).

    Returns:
        The paths of the files.
    """
    folder, traces = new_folder(), shown(stored)
    paths = []
    for number, trace in enumerate(traces, 1):
        name = f"{number}-{_name(trace)}" if len(traces) > 1 else _name(trace)
        table = folder / f"{name}.csv"
        with table_file(table) as text:
            write_csv(trace, text)
        paths += [write_trace(trace, folder, name), str(table)]
    if stored.comparison is not None:
        table = folder / "costs.csv"
        _write(cost_rows(costs(stored.comparison)), COST_COLUMNS, table)
        paths.append(str(table))
    page = folder / f"{_name(traces[0]) if len(traces) == 1 else 'retention'}.html"
    page.write_text(standalone_html(traces), encoding="utf-8")
    return [*paths, str(page)]


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
