"""A model's own sliding window in words, tables and payloads: what is held and not seen is told as that."""

import csv
import io
from typing import Any

import numpy as np
import pytest

from core.trace import NEVER, Trace
from tests.traces import trace_of
from tests.viz.maps.test_payload import decoded, of_one
from viz.page.export import write_csv
from viz.words.catalogue import speaking
from viz.words.headlines import headline
from viz.words.sentences import life, why

N = 12


def sinks(windows: tuple[int, ...] = (0, 4), **more: Any) -> Trace:
    """Two layers that hold the first two tokens and the newest three, as Window+i does."""
    ends = [NEVER, NEVER, *range(5, N), NEVER, NEVER, NEVER]
    return trace_of([[ends], [ends]], tuple("abcdefghijkl"), budget=5, sliding_windows=windows, **more)


LOOKS = "the model itself looks back 4 tokens"


def test_a_maps_note_says_how_far_the_model_looks() -> None:
    assert headline(sinks()).endswith(f" · {LOOKS}")


@pytest.mark.parametrize("windows", [(), (0, 0), (12, 12), (64, 64)])
def test_nothing_is_said_where_the_window_hides_nothing(windows: tuple[int, ...]) -> None:
    assert "looks back" not in headline(sinks(windows))
    assert "looks back" not in why(sinks(windows), 1, 0, 0) + life(sinks(windows), 0)


def test_a_row_that_is_held_unseen_is_told_as_that() -> None:
    assert (
        " (step 11), 11 steps after reading it. The model itself looks back at most 4 tokens here: at that step it no "
        "longer saw it. It evicted 7 others since" in why(sinks(), 1, 0, 0)
    )
    assert "looks back" not in why(sinks(), 0, 0, 0)  # this layer has no window
    assert "looks back" not in why(sinks(), 1, 0, 3)  # evicted before it left the window
    assert why(sinks((3, 3)), 1, 0, 3).endswith(": at that step it no longer saw it.")
    assert life(sinks(), 0).endswith("In 1 of those it is out of sight: the model itself looks back at most 4 tokens.")
    with speaking("zh_CN"):
        assert "模型自身在这里最多回看 4 个词元：在那一步，模型已经看不到它。此后" in why(sinks(), 1, 0, 0)
        assert life(sinks(), 0).endswith("其中 1 个虽保留着它，模型却看不到：模型自身最多回看 4 个词元。")


def test_the_window_counts_the_distances_that_the_model_is_told() -> None:
    """In the cache the two oldest of the six rows are four and five away from the query, not ten and eleven."""
    assert headline(sinks((4, 4), positions="in-cache")).endswith(f" · {LOOKS}")
    assert "looks back" not in headline(sinks((6, 6), positions="in-cache"))


def test_the_table_has_the_window_of_each_layer() -> None:
    write_csv(sinks(), file := io.StringIO())

    lines = list(csv.DictReader(io.StringIO(file.getvalue().removeprefix("\ufeff"))))

    assert [line["sliding_window"] for line in lines] == [""] * N + ["4"] * N


def test_the_payload_tells_the_windows_and_which_older_rows_are_seen() -> None:
    trace = sinks()
    sent = of_one(trace, window=range(3, N))

    assert decoded(sent["sliding_windows"]).tolist() == [0, 4]
    for step in range(3, N):
        seen = (trace.kept(step) & trace.in_sight(step))[:, 0, :3].sum(axis=-1)
        np.testing.assert_array_equal(held(sent["older_seen"], step - 3), seen)


def test_older_rows_are_not_told_as_seen_where_that_is_not_known() -> None:
    assert of_one(sinks())["older_seen"] is None
    assert of_one(sinks(()), window=range(3, N))["older_seen"] is None
    assert of_one(sinks(positions="log-gap"), window=range(3, N))["older_seen"] is None
    assert decoded(of_one(sinks(()))["sliding_windows"]).tolist() == [0, 0]


def held(sent: dict[str, Any], step: int) -> list[int]:
    """Of each decider, how many rows it still has after the step."""
    kept, ends, leaving = (decoded(sent[name]) for name in ("kept", "ends", "evicted_at"))
    parts = np.split(leaving, ends[:-1])
    return [int(count - (part <= step).sum()) for count, part in zip(kept, parts, strict=True)]
