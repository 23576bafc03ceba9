"""Where data lie, whether they are what their name says, and how they are brought."""

from __future__ import annotations

import gzip
import hashlib
import os
import zlib
from dataclasses import dataclass
from pathlib import Path

from ..errors import DataError, OutputError
from ..files import user_cache
from .registry import DataFile, DataSet, data_set, known

_SECONDS = 20


@dataclass(frozen=True)
class Directory:
    """A directory of data sets.

    Args:
        path: the directory.
        origin: what named it, for errors; None for the user's cache, the only one that is filled
            without being asked.
    """

    path: Path
    origin: str | None = None

    def __str__(self) -> str:
        """Return the path."""
        return str(self.path)


def data_directory(option: Path | str | None = None) -> Directory:
    """Return the directory of the data: the option, else PULLBACK_DATA, else the user's cache."""
    variable = os.environ.get("PULLBACK_DATA")
    for origin, value in (("--data-dir", option), ("PULLBACK_DATA", variable)):
        if value:
            return Directory(Path(value).expanduser(), origin)
    return Directory(user_cache())


def find_folder(wanted: DataSet, directory: Directory) -> Path | None:
    """Return the folder that holds all files of a data set, DIR/name or DIR itself, or None."""
    for folder in (directory.path / wanted.name, directory.path):
        if all(_find(file, folder) for file in wanted.files):
            return folder
    return None


def locate(wanted: DataSet, directory: Directory) -> Path:
    """Return the folder that holds the files of a data set; the user's cache is filled first.

    Raises:
        DataError: a given directory is none or lacks a file, or the files are another data set's.
    """
    folder = find_folder(wanted, directory)
    if folder is not None:
        _refuse_impostor(wanted, folder)
        return folder
    if directory.origin is None:
        return fetch(wanted.name, directory)
    if not directory.path.is_dir():
        raise DataError(f"{directory.origin} names {directory.path}, which is not a directory")
    folder = _likely(wanted, directory)
    missing = next(file.name for file in wanted.files if _find(file, folder) is None)
    raise DataError(
        f"{wanted.name} lacks its file {missing}.gz",
        where=str(folder),
        next=f"give another directory, or run 'pullback data fetch {wanted.name}'",
    )


def data_file(file: DataFile, folder: Path) -> Path:
    """Return the path of a file, packed or not.

    Raises:
        DataError: it is not there.
    """
    path = _find(file, folder)
    if path is None:
        raise DataError(f"there is no {file.name}.gz", where=str(folder))
    return path


def verify(name: str, directory: Directory) -> dict[str, str]:
    """Compare every file of a data set with its published sum.

    Returns:
        File name → "ok", "missing", "wrong", or "unknown" for a copy in a form whose sum nobody
        published, such as an unpacked archive of Fashion-MNIST.

    Raises:
        ConfigError: there is no data set of that name.
        DataError: a file cannot be read.
    """
    wanted = data_set(name)
    folder = _likely(wanted, directory)
    return {file.name: _state(file, folder) for file in wanted.files}


def fetch(name: str, directory: Directory) -> Path:
    """Download the files that are missing or wrong into DIR/name.

    The mirrors are tried in turn; a file appears under its name only when its sum is right.

    Returns:
        The folder that holds them.

    Raises:
        ConfigError: there is no data set of that name.
        DataError: no mirror gave the file.
        OutputError: the folder cannot be written.
    """
    wanted = data_set(name)
    if all(state == "ok" for state in verify(name, directory).values()):
        return _likely(wanted, directory)
    folder = directory.path / wanted.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make {folder}: {error.strerror}") from error
    for file in wanted.files:
        if _state(file, folder) in ("missing", "wrong"):
            _download(file, folder, wanted)
    return folder


def _download(file: DataFile, folder: Path, wanted: DataSet) -> None:
    import pooch
    from requests import RequestException

    failures = []
    for mirror in wanted.mirrors:
        try:
            pooch.retrieve(
                url=f"{mirror}{file.name}.gz",
                known_hash=f"sha256:{file.archive}",
                fname=f"{file.name}.gz",
                path=folder,
                # pooch's type of a downloader names the parameters otherwise than its own class
                downloader=pooch.HTTPDownloader(timeout=_SECONDS),  # pyright: ignore[reportArgumentType]
            )
            return
        except RequestException as error:
            failures.append(f"{mirror}: {type(error).__name__}")
        except ValueError:
            failures.append(f"{mirror}: wrong checksum")
        except OSError as error:
            raise OutputError(
                f"cannot write {file.name}.gz: {error.strerror}", where=str(folder)
            ) from error
    raise DataError(
        f"could not download {file.name}.gz of {wanted.name} ({'; '.join(failures)})",
        next="try again later, or give a directory that holds the files: "
        "--data-dir DIR or PULLBACK_DATA=DIR",
    )


def _likely(wanted: DataSet, directory: Directory) -> Path:
    """Return the folder in which the files of a data set are, or else ought to be."""
    own = directory.path / wanted.name
    in_own = any(_find(file, own) for file in wanted.files)
    in_directory = any(_find(file, directory.path) for file in wanted.files)
    return directory.path if in_directory and not in_own else own


def _find(file: DataFile, folder: Path) -> Path | None:
    for path in (folder / f"{file.name}.gz", folder / file.name):
        if path.is_file():
            return path
    return None


def _state(file: DataFile, folder: Path) -> str:
    path = _find(file, folder)
    if path is None:
        return "missing"
    archive, content = _sums(path)
    if archive == file.archive or (file.content is not None and content == file.content):
        return "ok"
    return "unknown" if file.content is None and path.suffix != ".gz" else "wrong"


def _sums(path: Path) -> tuple[str, str | None]:
    """Return the SHA-256 of a file and of what it holds, None if that does not unpack."""
    try:
        with path.open("rb") as file:
            outer = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"cannot read the file: {error.strerror}", where=str(path)) from error
    if path.suffix != ".gz":
        return outer, outer
    inner = hashlib.sha256()
    try:
        with gzip.open(path) as stream:
            while block := stream.read(1 << 20):
                inner.update(block)
    except (OSError, EOFError, zlib.error):
        return outer, None
    return outer, inner.hexdigest()


def _refuse_impostor(wanted: DataSet, folder: Path) -> None:
    """Refuse the files of another known data set: all of them use the same file names."""
    archive, content = _sums(data_file(wanted.test_labels, folder))
    for other in known():
        labels = other.test_labels
        if other != wanted and (archive == labels.archive or content == labels.content):
            raise DataError(
                f"these files are {other.name}, {wanted.name} is wanted",
                where=str(folder),
                next=f"put them into a folder named {other.name}, and {wanted.name} beside it",
            )
