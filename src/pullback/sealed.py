"""A sealed folder: a few files and a manifest of their sums, whole or absent.

Writing:  files and manifest go to a temporary folder, each is flushed to the disk, then the folder;
          one rename puts it in its place; the parent is flushed. Before the rename nothing is
          there, after it everything is.
Again:    the old folder is renamed to `.old-<name>` first and deleted last. Between the two
          renames the old one stands for the folder: `find` gives it.
Reading:  the names, sizes and SHA-256 sums must be those of the manifest, and the manifest, byte
          for byte, the one that such files have: no changed bit passes.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from . import jsontext
from .errors import CheckpointError
from .files import (
    TEMPORARY,
    discard,
    reason,
    sync_folder,
    temporary_beside,
    write_synced,
    writing,
)

FORMAT = 1
MANIFEST = "manifest.json"
ASIDE = ".old-"

_MANIFEST_BYTES = 1 << 16
_ADVICE = "restore it from a copy, or train again"


def write(path: Path, kind: str, contents: Mapping[str, bytes]) -> None:
    """Write a folder of files, whole or not at all, over an older one if there is one.

    Args:
        path: the folder.
        kind: what it is, told in the manifest and asked for by `read`.
        contents: the bytes of each file by its name.

    Raises:
        OutputError: it could not be written; the older one is still found, nothing is left over.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        sync_folder(path.parent.parent)
        new = temporary_beside(path)
        try:
            new.mkdir()
            for name, data in contents.items():
                write_synced(new / name, data)
            write_synced(new / MANIFEST, _manifest(kind, contents))
            sync_folder(new)
            _put(new, path)
        finally:
            shutil.rmtree(new, ignore_errors=True)


def find(path: Path) -> Path | None:
    """Return where the folder is: in its place, or set aside by a writer that was killed."""
    return next((place for place in (path, _aside(path)) if os.path.lexists(place)), None)


def remove(path: Path) -> None:
    """Delete a folder, so that `find` gives it or nothing, never a part of it."""
    for place in (_aside(path), path):
        if os.path.lexists(place):
            discard(place)


def clean(parent: Path) -> None:
    """Delete what killed writers left in a folder that holds sealed folders."""
    for path in parent.glob(TEMPORARY + "*"):
        discard(path)
    for path in parent.glob(ASIDE + "*"):
        if os.path.lexists(parent / path.name.removeprefix(ASIDE)):
            discard(path)


def read(path: Path, kind: str, names: Iterable[str]) -> dict[str, bytes]:
    """Read a folder's files, every byte checked. No name is taken from the folder.

    Args:
        path: the folder.
        kind: what `write` was told that it is.
        names: the files that it must hold, and no others.

    Raises:
        CheckpointError: the folder is missing, incomplete, changed, holds something else than
            these files, or was written by a later version.
    """
    names = sorted(names)
    try:
        _check_names(path, {MANIFEST, *names})
        seal = _read_manifest(path)
        sizes = _sizes(path, seal, kind, names)
        contents = {name: _read_file(path, name, sizes[name]) for name in names}
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {reason(error)}", next=_ADVICE) from error
    if _manifest(kind, contents) != seal:
        raise _broken(path, "its files are not those that its manifest tells of")
    return contents


def _manifest(kind: str, contents: Mapping[str, bytes]) -> bytes:
    told = {
        "format": FORMAT,
        "kind": kind,
        "files": {
            name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            for name, data in sorted(contents.items())
        },
    }
    return (jsontext.encode(told, indent=2) + "\n").encode()


def _put(new: Path, path: Path) -> None:
    aside = _aside(path)
    if os.path.lexists(path):
        if os.path.lexists(aside):
            discard(aside)
        os.rename(path, aside)
    os.rename(new, path)
    sync_folder(path.parent)
    if os.path.lexists(aside):
        discard(aside)


def _aside(path: Path) -> Path:
    return path.with_name(ASIDE + path.name)


def _check_names(path: Path, wanted: set[str]) -> None:
    if path.is_symlink() or not path.is_dir():
        raise CheckpointError(f"{path} is no folder, a folder was wanted", next=_ADVICE)
    with os.scandir(path) as entries:
        plain = {entry.name: entry.is_file(follow_symlinks=False) for entry in entries}
    for name in sorted(wanted - plain.keys()):
        raise _broken(path, f"{name} is missing")
    for name in sorted(plain.keys() - wanted):
        raise _broken(path, f"{name!r} does not belong there")
    for name in sorted(name for name in plain if not plain[name]):
        raise _broken(path, f"{name} is no plain file")


def _sizes(path: Path, seal: bytes, kind: str, names: list[str]) -> dict[str, Any]:
    """Return the sizes that a manifest tells of; `read` compares all the rest of it."""
    try:
        told: Any = jsontext.decode(seal)
        version = told["format"]
        if type(version) is int and version > FORMAT:
            raise CheckpointError(
                f"{path} has format {version}, this version of Pullback reads up to {FORMAT}",
                next="read it with the version that wrote it",
            )
        if told["kind"] != kind:
            raise _broken(path, f"it is a {told['kind']!r}, a {kind!r} was wanted")
        return {name: told["files"][name]["bytes"] for name in names}
    except (ValueError, KeyError, TypeError) as error:
        raise _broken(path, "its manifest cannot be read") from error


def _read_manifest(path: Path) -> bytes:
    with open(path / MANIFEST, "rb") as file:
        seal = file.read(_MANIFEST_BYTES + 1)
    if len(seal) > _MANIFEST_BYTES:
        raise _broken(path, f"its manifest is larger than {_MANIFEST_BYTES} bytes")
    return seal


def _read_file(path: Path, name: str, size: Any) -> bytes:
    """Read a file of known size; a wrong size is told before any memory is asked for."""
    with open(path / name, "rb") as file:
        there = os.fstat(file.fileno()).st_size
        if there != size:
            raise _broken(path, f"{name} has {there} bytes, its manifest says {size}")
        # Read, and made into arrays, it is there twice. A file of zeros needs no disk to be large.
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        if 2 * there > memory:
            raise _broken(path, f"{name} has {there} bytes, too many for this machine's memory")
        return file.read()


def _broken(path: Path, why: str) -> CheckpointError:
    return CheckpointError(f"{path} is broken: {why}", next=_ADVICE)
