import errno
import os

import pytest

from pullback import files
from pullback.errors import CheckpointError, OutputError


def test_text_and_json_come_back(tmp_path):
    files.write_text(tmp_path / "a.txt", "über\n")
    assert (tmp_path / "a.txt").read_bytes() == "über\n".encode()
    files.write_json(tmp_path / "a.json", {"loss": float("inf")})
    assert files.read_json(tmp_path / "a.json") == {"loss": float("inf")}
    assert sorted(os.listdir(tmp_path)) == ["a.json", "a.txt"]


def test_the_file_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    events = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (events.append(os.fstat(fd).st_ino), fsync(fd)))
    monkeypatch.setattr(os, "replace", lambda a, b: (events.append("replace"), replace(a, b)))
    files.write_text(tmp_path / "a", "new")
    inode = (tmp_path / "a").stat().st_ino
    assert events == [inode, "replace", tmp_path.stat().st_ino]


@pytest.mark.parametrize(
    ("name", "number", "advice"),
    [
        ("fsync", errno.ENOSPC, "free some space"),
        ("fsync", errno.EIO, "check it"),
        ("replace", errno.EACCES, "allow writing"),
        ("replace", errno.EROFS, "read-only"),
    ],
)
def test_a_failure_leaves_the_old_file_and_nothing_else(
    tmp_path, monkeypatch, name, number, advice
):
    def fail(*_):
        raise OSError(number, os.strerror(number))

    files.write_text(tmp_path / "a", "old")
    monkeypatch.setattr(os, name, fail)
    with pytest.raises(OutputError, match=advice) as caught:
        files.write_text(tmp_path / "a", "new")
    assert caught.value.exit_code == 7
    assert str(tmp_path / "a") in str(caught.value)
    assert (tmp_path / "a").read_text() == "old"
    assert os.listdir(tmp_path) == ["a"]


def test_a_missing_or_impossible_folder_is_told(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "none" / "a", tmp_path / "file" / "a"):
        with pytest.raises(OutputError, match="cannot write"):
            files.write_text(path, "")


def test_an_inner_error_keeps_its_path():
    wanted = pytest.raises(OutputError, match=r"^cannot write inner: fault")
    with wanted, files.writing("outer"), files.writing("inner"):
        raise OSError(errno.EIO, "fault")


@pytest.mark.parametrize("data", [b"{", b"\xff", b"NaN", b"[" * 100_000])
def test_broken_json_is_told(tmp_path, data):
    (tmp_path / "a.json").write_bytes(data)
    with pytest.raises(CheckpointError, match="is broken"):
        files.read_json(tmp_path / "a.json")


def test_missing_json_is_told(tmp_path):
    with pytest.raises(CheckpointError, match="cannot read"):
        files.read_json(tmp_path / "a.json")


def test_discard_does_not_follow_a_link(tmp_path):
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "kept")
    files.discard(tmp_path / "link")
    assert os.listdir(tmp_path) == ["kept"]
    assert os.listdir(tmp_path / "kept") == ["file"]
