"""Locks that a killed process gives back: the system holds them, by file."""

from __future__ import annotations

import fcntl
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..files import writing


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold a lock, waiting for it if need be."""
    with writing(path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


class Worker:
    """The sign of a living process: a file that it keeps locked until it ends, however it ends."""

    def __init__(self, folder: Path):
        """Lock a file of its own."""
        self.name = uuid.uuid4().hex
        with writing(folder):
            folder.mkdir(exist_ok=True)
            self._path = folder / self.name
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)

    def close(self) -> None:
        """End it."""
        self._path.unlink(missing_ok=True)
        os.close(self._descriptor)


def alive(folder: Path, worker: str) -> bool:
    """Whether the process of a `Worker` still runs."""
    try:
        descriptor = os.open(folder / worker, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


class JournalLock:
    """The lock of Optuna's journal; whoever takes it cuts off a line that a crash left unfinished.

    Optuna's own locks are files that a killed process leaves behind, to be waited for.
    """

    def __init__(self, journal: Path):
        """Keep the path."""
        self._journal = journal
        self._descriptor = -1

    def acquire(self) -> bool:
        """Take it, waiting if need be."""
        self._descriptor = os.open(f"{self._journal}.lock", os.O_RDWR | os.O_CREAT, 0o666)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        with open(self._journal, "rb+") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(end - 1, 0))
            if end and file.read(1) != b"\n":
                file.seek(0)
                file.truncate(file.read().rfind(b"\n") + 1)
        return True

    def release(self) -> None:
        """Give it back."""
        os.close(self._descriptor)
