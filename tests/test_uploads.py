"""Files that people upload."""

import zipfile

import pytest
from traces import trace_of as traced

from core import NEVER
from core.errors import BadInput, BadTraceFile
from viz.tabs import uploads
from viz.tabs.uploads import text_of, trace_of


def test_a_text_is_read_and_no_other_file(tmp_path):
    file = tmp_path / "text.txt"
    file.write_text("für Maud ✓", encoding="utf-8")
    assert text_of(str(file)) == "für Maud ✓"
    file.write_bytes("für".encode("latin-1"))
    with pytest.raises(BadInput, match="UTF-8"):
        text_of(str(file))


def test_a_trace_is_read_and_what_is_none_or_too_large_is_refused(tmp_path, monkeypatch):
    trace = traced([[[2, NEVER, NEVER]]], ("a", "b", "c"))
    trace.save(tmp_path / "run.npz")
    assert (trace_of(str(tmp_path / "run.npz")).evicted_at == trace.evicted_at).all()
    (tmp_path / "text.npz").write_text("no trace")
    with zipfile.ZipFile(tmp_path / "other.npz", "w") as other:
        other.writestr("evicted_at.npy", b"nothing")
    for name in ("text.npz", "other.npz"):
        with pytest.raises(BadTraceFile, match=name):
            trace_of(str(tmp_path / name))
    monkeypatch.setattr(uploads, "MOST_BYTES", 100)
    with pytest.raises(BadTraceFile, match="at most"):
        trace_of(str(tmp_path / "run.npz"))
