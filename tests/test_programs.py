"""Programs in the user's cache: found by the next command, harmless when they are broken."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import warnings
from pathlib import Path

from command import command, environment, settings

from pullback import programs


def checked(cache: Path, **more: str) -> tuple[str, str]:
    """Check derivatives in a process of its own with a cache; its numbers, and what it said."""
    without = ("JAX_COMPILATION_CACHE_DIR", programs._LOGGED, *programs._ALL)
    env = {key: value for key, value in environment().items() if key not in without}
    ended = subprocess.run(
        command("check", "--json", *settings(check__enabled=True)),
        env=env | {"XDG_CACHE_HOME": str(cache)} | more,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout, ended.stderr


def kept(cache: Path) -> dict[str, int]:
    """The programs in a cache, and when each was written."""
    found = sorted((cache / "pullback" / "programs").glob("*/*"))
    return {path.name: path.stat().st_mtime_ns for path in found}


def test_the_second_command_finds_what_the_first_compiled(tmp_path):
    cache = tmp_path / "cache"
    first, said = checked(cache)
    before = kept(cache)
    assert any(name.startswith("jit_gradient") for name in before)
    assert checked(cache) == (first, said)
    assert kept(cache) == before
    (folder,) = (cache / "pullback" / "programs").iterdir()
    assert folder.stat().st_mode & 0o777 == 0o700

    for path in (cache / "pullback" / "programs").glob("*/*"):
        path.write_bytes(path.read_bytes()[:100])
    assert checked(cache) == (first, said)
    # What could not be read was made anew, and is found again.
    assert kept(cache).keys() == before.keys()
    assert min(path.stat().st_size for path in folder.iterdir()) > 100


def test_who_tells_jax_otherwise_is_obeyed(tmp_path):
    checked(tmp_path / "cache", JAX_ENABLE_COMPILATION_CACHE="0")
    assert kept(tmp_path / "cache") == {}


def test_a_folder_that_others_may_write_to_is_not_used(tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "jax")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for variable in ("JAX_COMPILATION_CACHE_DIR", *programs._ALL):
        monkeypatch.setenv(variable, "")
        monkeypatch.delenv(variable)
    folder = tmp_path / "pullback" / "programs" / programs._kind(programs._told_of_processor())
    folder.mkdir(parents=True)
    for mode, used in ((0o700, True), (0o770, False), (0o707, False)):
        folder.chmod(mode)
        with warnings.catch_warnings():
            programs.keep_programs()
        assert (os.environ.pop("JAX_COMPILATION_CACHE_DIR", None) == str(folder)) == used


def test_a_cache_that_cannot_be_made_is_done_without(tmp_path):
    (tmp_path / "cache" / "pullback").mkdir(parents=True)
    (tmp_path / "cache" / "pullback" / "programs").write_text("a file")
    _, said = checked(tmp_path / "cache")
    assert "cache" not in said


def test_of_too_many_the_oldest_go(tmp_path, monkeypatch):
    monkeypatch.setattr(programs, "MOST", 10)
    now = time.time()
    for i in range(11):
        (tmp_path / str(i)).touch()
        os.utime(tmp_path / str(i), (now + i, now + i))
    programs._forget(tmp_path, os.listdir(tmp_path))
    assert sorted(os.listdir(tmp_path), key=int) == ["6", "7", "8", "9", "10"]
