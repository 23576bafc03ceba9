"""The record of a run: rows, appended one after the other, never changed.

A row is one line of strict JSON, `{"kind":"step","epoch":1,"loss":0.69}`: its kind always comes
first and says what else is in it. Nothing here reads the clock or makes a number of its own, so
equal calls give equal bytes. See `pullback.jsontext` for what JSON cannot say by itself.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import jsontext
from .errors import CheckpointError
from .files import reason, sync_folder, writing

_BUFFER_BYTES = 1 << 16


class Record:
    """Rows in a file, or in memory.

    Rows wait in a buffer until it is full, `flush` is called or the record is closed; a process
    that is killed loses those that wait, no others. A record of an existing file goes on after its
    last whole line. Close a record of a file, or use it in a `with` block.

    Args:
        path: the file; without one, the rows are kept in memory.

    Raises:
        OutputError: the file cannot be written (also later, by each method that writes).

    >>> record = Record()
    >>> record.add("step", epoch=1, loss=0.69)
    >>> record.add("evaluation", epoch=1, loss=float("nan"))
    >>> [row["loss"] for row in record.rows()], list(record.rows("step"))
    ([0.69, nan], [{'kind': 'step', 'epoch': 1, 'loss': 0.69}])
    """

    def __init__(self, path: Path | str | None = None):
        self._place = "a record in memory" if path is None else str(path)
        self._waiting = bytearray()
        self._size = 0
        self._newest: dict[str, dict[str, Any]] = {}
        if path is None:
            self._file: io.FileIO | io.BytesIO = io.BytesIO()
            return
        with writing(path):
            self._file = open(path, "a+b", buffering=0)
            try:
                sync_folder(Path(path).parent)
                self._cut(_whole_lines(self._all_bytes()))
            except OSError:
                self._file.close()
                raise

    @classmethod
    def read(cls, path: Path | str) -> Record:
        """Copy a file's rows into memory, and check every one.

        A last line without its end was torn by a crash and is left out.

        Raises:
            CheckpointError: the file cannot be read, or another line of it is broken.
        """
        try:
            data = Path(path).read_bytes()
        except OSError as error:
            raise CheckpointError(f"cannot read {path}: {reason(error)}") from error
        record = cls()
        record._place = str(path)
        record._size = record._file.write(data[: _whole_lines(data)])
        for _ in record.rows():
            pass
        return record

    @property
    def size(self) -> int:
        """The size of all rows in bytes, those that wait in the buffer among them."""
        return self._size

    def add(self, kind: str, **fields: Any) -> None:
        """Append a row.

        Args:
            kind: what the row tells.
            fields: what `pullback.jsontext` can hold; arrays and scalars of NumPy and JAX too.
        """
        line = jsontext.encode({"kind": kind, **fields}).encode() + b"\n"
        self._newest[kind] = fields
        self._waiting += line
        self._size += len(line)
        if len(self._waiting) >= _BUFFER_BYTES:
            self.flush()

    def newest(self, kind: str) -> dict[str, Any] | None:
        """Return the fields of the last row of a kind that was added here, as they were given."""
        return self._newest.get(kind)

    def flush(self, sync: bool = False) -> None:
        """Hand the waiting rows to the system.

        Args:
            sync: return only when they are on the disk, safe from a power cut.
        """
        with writing(self._place):
            while self._waiting:
                # A disk that fills up may take a part only: what it took must not be written twice.
                written = self._file.write(self._waiting)
                del self._waiting[:written]
            if sync and isinstance(self._file, io.FileIO):
                os.fsync(self._file.fileno())

    def rows(self, kind: str | None = None) -> Iterator[dict[str, Any]]:
        """Iterate over the rows there are now, or over those of one kind.

        Raises:
            CheckpointError: a row is broken; the error tells its line.
        """
        self.flush()
        # The kind comes first, so that the rows of another need not be parsed.
        start = b"" if kind is None else b'{"kind":' + jsontext.encode(kind).encode()
        for number, line in enumerate(self._all_bytes().split(b"\n")[:-1], start=1):
            if line.startswith(start):
                yield self._row(line, number)

    def truncate(self, size: int) -> None:
        """Drop the rows after the first `size` bytes, as a resumed run does.

        Raises:
            CheckpointError: the record is shorter than that, or has no line that ends there.
        """
        self.flush()
        data = self._all_bytes()
        if size > len(data) or _whole_lines(data[:size]) != size:
            raise CheckpointError(
                f"no row ends at byte {size} of {len(data)}",
                where=self._place,
                next="the file was changed after the checkpoint: restore it, or train again",
            )
        with writing(self._place):
            self._cut(size)

    def close(self) -> None:
        """Flush, and let the file go."""
        try:
            self.flush()
        finally:
            self._file.close()

    def __enter__(self) -> Record:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _all_bytes(self) -> bytes:
        self._file.seek(0)
        return self._file.read()

    def _cut(self, size: int) -> None:
        self._file.truncate(size)
        self._file.seek(0, io.SEEK_END)
        self._size = size

    def _row(self, line: bytes, number: int) -> dict[str, Any]:
        try:
            row = jsontext.decode(line)
        except ValueError as error:
            raise self._broken(number, str(error)) from error
        if not line.startswith(b'{"kind":"') or not isinstance(row, dict):
            raise self._broken(number, "it does not begin with its kind")
        return row

    def _broken(self, number: int, why: str) -> CheckpointError:
        return CheckpointError(
            f"line {number} is broken ({why})",
            where=self._place,
            next="restore the file from a copy, or train again",
        )


def _whole_lines(data: bytes) -> int:
    """Return the size of the lines that have their end."""
    return data.rfind(b"\n") + 1
