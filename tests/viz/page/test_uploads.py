"""Files that people upload."""

import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from core import NEVER
from core.errors import BadInput, BadTraceFile
from tests.traces import trace_of as traced
from viz.page import limits
from viz.page.uploads import text_of, trace_of
from viz.tabs.write import prompts_in


def test_a_text_is_read_and_no_other_file(tmp_path):
    file = tmp_path / "text.txt"
    file.write_text("für Maud ✓", encoding="utf-8")
    assert text_of(str(file)) == "für Maud ✓"
    file.write_bytes("für".encode("latin-1"))
    with pytest.raises(BadInput, match="UTF-8"):
        text_of(str(file))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_is_no_part_of_a_text(tmp_path, encoding):
    file = tmp_path / "text.txt"
    file.write_bytes("für Maud\r\n✓ \ufeff 海 🦊".encode(encoding))
    assert text_of(str(file)) == "für Maud\n✓ \ufeff 海 🦊"
    file.write_bytes("für".encode(encoding) + b"\xff")
    with pytest.raises(BadInput, match="UTF-8"):
        text_of(str(file))


@pytest.mark.parametrize("beginning", [b"\xef", b"\xef\xbb", b"\xff"])
def test_a_mark_that_is_cut_short_is_no_empty_text(tmp_path: Path, beginning: bytes) -> None:
    file = tmp_path / "text.txt"
    file.write_bytes(beginning)
    with pytest.raises(BadInput, match="UTF-8"):
        text_of(str(file))


def test_pasted_texts_lose_their_mark_too(smollm2):
    tokens = limits.current.encode(smollm2, "\ufeffThe lamp.")
    assert tokens.pieces == ("The", " lamp", ".")
    assert prompts_in("\ufeffA lamp.\n A cat. ") == ["A lamp.", "A cat."]


def test_a_trace_is_read_and_what_is_none_is_refused(tmp_path):
    trace = traced([[[2, NEVER, NEVER]]], ("a", "b", "c"))
    trace.save(tmp_path / "run.npz")
    assert (trace_of(str(tmp_path / "run.npz")).evicted_at == trace.evicted_at).all()
    (tmp_path / "text.npz").write_text("no trace")
    with zipfile.ZipFile(tmp_path / "other.npz", "w") as other:
        other.writestr("evicted_at.npy", b"nothing")
    for name in ("text.npz", "other.npz"):
        with pytest.raises(BadTraceFile, match=name):
            trace_of(str(tmp_path / name))


def test_what_a_trace_unpacks_to_is_bound_by_the_owners_limit_alone(tmp_path, monkeypatch):
    file, n = tmp_path / "run.npz", 150_000
    life = np.arange(n, dtype=np.int32)[None, None]
    traced(np.where(life + 64 < n, life + 64, NEVER), ("a",) * n, "window", 64).save(file)  # 8 MB in less than 1
    for most, opens in ((1, False), (2, True)):
        monkeypatch.setattr(limits, "current", replace(limits.current, max_upload_mb=most))
        if opens:
            assert len(trace_of(str(file))) == n
            continue
        with pytest.raises(BadTraceFile, match=r"run\.npz: .* at most 5 MB .* the 1 MB .*--max-upload-mb"):
            trace_of(str(file))


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32", "utf-32-le"])
def test_a_text_in_another_encoding_is_refused(encoding: str, tmp_path: Path) -> None:
    file = tmp_path / "story.txt"
    file.write_bytes("The keeper lit the lamp.".encode(encoding))
    with pytest.raises(BadInput, match="UTF-8"):
        text_of(str(file))
