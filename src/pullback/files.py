"""Files that are there whole or not at all, and errors that say what a full disk means.

A file is written beside its place under a temporary name, flushed to the disk, and only then
renamed; the folder is flushed last, so that the name survives a power cut too. Whoever reads
finds the old content or the new. Temporary names begin with `.tmp-`: what a killed writer left
behind is known by that, and nothing else is ever called so.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from . import jsontext
from .errors import CheckpointError, OutputError

TEMPORARY = ".tmp-"

_ADVICE = {
    errno.ENOSPC: "free some space on that disk, or write elsewhere",
    errno.EDQUOT: "free some of your quota, or write elsewhere",
    errno.EFBIG: "raise the limit on the size of files, or write elsewhere",
    errno.EACCES: "allow writing there, or write elsewhere",
    errno.EPERM: "allow writing there, or write elsewhere",
    errno.EROFS: "that disk is read-only: write elsewhere",
    errno.EIO: "the disk reports a fault: check it, or write elsewhere",
}


def user_cache() -> Path:
    """Return the user's folder of what may be lost: data sets, compiled programs."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pullback"


@contextmanager
def writing(path: Path | str) -> Iterator[None]:
    """Tell every failure of the system inside the block as an `OutputError` about `path`."""
    try:
        yield
    except OutputError:
        raise
    except OSError as error:
        advice = _ADVICE.get(error.errno or 0, "write elsewhere")
        raise OutputError(f"cannot write {path}: {reason(error)}", next=advice) from error


def reason(error: OSError) -> str:
    """Return the system's words for a failure, without its number and paths."""
    return error.strerror or str(error)


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file, whole or not at all, over an older one if there is one.

    Raises:
        OutputError: it could not be written; the older file is untouched, and nothing is left over.
    """
    with writing(path):
        temporary = temporary_beside(path)
        try:
            write_synced(temporary, data)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        sync_folder(path.parent)


def write_text(path: Path, text: str) -> None:
    """Write a text in UTF-8, whole or not at all (see `write_bytes`)."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON (see `pullback.jsontext`), whole or not at all."""
    write_text(path, jsontext.encode(value, indent=2) + "\n")


def read_json(path: Path) -> Any:
    """Read a file of `write_json`.

    Raises:
        CheckpointError: the file is missing, cannot be read, or is not what was written.
    """
    advice = "restore it from a copy, or train again"
    try:
        return jsontext.decode(path.read_bytes())
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {reason(error)}", next=advice) from error
    except ValueError as error:
        raise CheckpointError(f"{path} is broken: {error}", next=advice) from error


def temporary_beside(path: Path) -> Path:
    """Return a new temporary name in the folder of `path`."""
    return path.parent / f"{TEMPORARY}{secrets.token_hex(6)}"


def write_synced(path: Path, data: bytes) -> None:
    """Create a file that is not there yet, and return when its content is on the disk."""
    with open(path, "xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Return when the names in a folder are on the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def discard(path: Path) -> None:
    """Delete a file or a folder; a folder killed half deleted does not pass for a whole one."""
    if path.is_symlink() or not path.is_dir():
        path.unlink()
        return
    temporary = temporary_beside(path)
    os.rename(path, temporary)
    shutil.rmtree(temporary)
