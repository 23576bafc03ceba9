import errno
import io
import math
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pullback.errors import CheckpointError, OutputError
from pullback.record import Record

FIELDS = st.dictionaries(
    st.sampled_from(["epoch", "step", "loss", "Grüße\n"]),
    st.floats(allow_nan=False) | st.integers() | st.text() | st.lists(st.floats(width=32)),
)
ROWS = st.lists(st.tuples(st.sampled_from(["step", "steps", 'a"b', ""]), FIELDS), max_size=6)


def fill(record, rows):
    for kind, fields in rows:
        record.add(kind, **fields)


def wanted(rows, kind=None):
    return [{"kind": k, **fields} for k, fields in rows if kind in (None, k)]


@given(ROWS)
@settings(deadline=None, max_examples=50)
def test_rows_come_back_from_memory_and_file(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("record") / "metrics.jsonl"
    memory = Record()
    fill(memory, rows)
    with Record(path) as record:
        fill(record, rows)
        assert repr(list(record.rows())) == repr(wanted(rows))
    read = Record.read(path)
    for copy in (memory, read):
        assert repr(list(copy.rows())) == repr(wanted(rows))
        for kind in ("step", "steps", 'a"b', "", "none"):
            assert repr(list(copy.rows(kind))) == repr(wanted(rows, kind))
        assert copy.size == path.stat().st_size


def test_a_row_is_one_compact_line_with_its_kind_first(tmp_path):
    with Record(tmp_path / "m.jsonl") as record:
        record.add("step", epoch=1, loss=np.float32(0.1), outputs=np.array([1.0, math.nan]))
    assert (tmp_path / "m.jsonl").read_text() == (
        '{"kind":"step","epoch":1,"loss":0.10000000149011612,"outputs":[1.0,{"float":"nan"}]}\n'
    )


def test_a_row_has_one_kind():
    with pytest.raises(TypeError):
        Record().add("step", **{"kind": "other"})


@given(ROWS, ROWS, st.data())
@settings(deadline=None, max_examples=50)
def test_an_interrupted_and_resumed_file_equals_an_unbroken_one(
    tmp_path_factory, before, after, data
):
    folder = tmp_path_factory.mktemp("record")
    with Record(folder / "unbroken") as record:
        fill(record, before + after)
    with Record(folder / "resumed") as record:
        fill(record, before)
        size = record.size
        fill(record, after)
        record.flush(sync=True)
        whole = record.size
    cut = data.draw(st.integers(size, whole))  # what a crash left of the rows after the checkpoint
    os.truncate(folder / "resumed", cut)
    with Record(folder / "resumed") as record:
        record.truncate(size)
        fill(record, after)
    assert (folder / "resumed").read_bytes() == (folder / "unbroken").read_bytes()


@pytest.mark.parametrize("where", ["memory", "file"])
def test_truncate_wants_the_end_of_a_row(tmp_path, where):
    with Record(tmp_path / "m.jsonl" if where == "file" else None) as record:
        record.add("a")
        size = record.size
        record.add("b")
        for wrong in (size - 1, size + 1, 2 * size + 1):
            with pytest.raises(CheckpointError, match="no row ends at byte"):
                record.truncate(wrong)
        record.truncate(size)
        record.add("c")
        assert [row["kind"] for row in record.rows()] == ["a", "c"]
        assert record.size == 2 * size
        record.truncate(0)
        assert list(record.rows()) == []


def test_a_torn_last_line_is_dropped_by_readers_and_writers(tmp_path):
    path = tmp_path / "m.jsonl"
    whole = b'{"kind":"a"}\n'
    for torn in (b"{", b'{"kind":"b"}', b"\x00\x00"):
        path.write_bytes(whole + torn)
        assert [row["kind"] for row in Record.read(path).rows()] == ["a"]
        assert path.read_bytes() == whole + torn  # a reader changes nothing
        with Record(path) as record:
            record.add("c")
        assert path.read_bytes() == whole + b'{"kind":"c"}\n'


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{",
        b"7",
        b"[]",
        b'{"epoch":1}',
        b'{"kind":1}',
        b'{"kind":"b","x":NaN}',
        b'{"kind":"\xff"}',
        b"\x00" * 8,
        b'{"kind":' + b"[" * 100_000,
    ],
)
def test_a_broken_line_is_told_by_its_number(tmp_path, line):
    path = tmp_path / "m.jsonl"
    path.write_bytes(b'{"kind":"a"}\n' + line + b'\n{"kind":"c"}\n')
    with pytest.raises(CheckpointError, match=r"line 2 is broken.*m\.jsonl"):
        Record.read(path)


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(CheckpointError, match="cannot read"):
        Record.read(tmp_path / "none.jsonl")


def test_rows_are_buffered(tmp_path, monkeypatch):
    calls = []

    class Counted(io.FileIO):
        def write(self, data):
            calls.append(len(data))
            return super().write(data)

    monkeypatch.setattr("builtins.open", lambda path, mode, buffering: Counted(path, "a+"))
    with Record(tmp_path / "m.jsonl") as record:
        for step in range(60_000):
            record.add("step", epoch=1, step=step, loss=0.5)
        size = record.size
    assert sum(calls) == size == (tmp_path / "m.jsonl").stat().st_size
    assert len(calls) <= size // (1 << 16) + 1


def test_a_disk_that_fills_up_is_told_and_no_byte_is_written_twice(tmp_path, monkeypatch):
    room = 20

    class Full(io.FileIO):
        def write(self, data):
            nonlocal room
            if room == 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            written = super().write(bytes(data[:room]))
            room -= written or 0
            return written

    path = tmp_path / "m.jsonl"
    monkeypatch.setattr("builtins.open", lambda path, mode, buffering: Full(path, "a+"))
    with Record(path) as record:
        record.add("a")
        record.add("b")
        with pytest.raises(OutputError, match="free some space") as caught:
            record.flush()
        assert caught.value.exit_code == 7
        assert path.stat().st_size == 20
        room = 1000
        record.add("c")
    monkeypatch.undo()
    assert [row["kind"] for row in Record.read(path).rows()] == ["a", "b", "c"]


def test_sync_reaches_the_disk(tmp_path, monkeypatch):
    synced = []
    with Record(tmp_path / "m.jsonl") as record:
        monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.fstat(fd).st_size))
        record.add("a")
        record.flush()
        assert synced == []
        record.flush(sync=True)
        assert synced == [record.size]


def test_a_place_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "file" / "m.jsonl", tmp_path / "none" / "m.jsonl"):
        with pytest.raises(OutputError, match="cannot write"):
            Record(path)


def test_the_record_needs_the_standard_library_only():
    code = "import sys, pullback.record; assert not {'jax', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
