"""IDX, the format of MNIST: a magic number, the sizes, and the numbers in big-endian order.

    0 0 type count | size₁ … size_count (4 bytes each) | product(sizes) numbers

The header is not believed: nothing is allocated from it before the bytes are there.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import IO

import numpy as np

from ..errors import DataError

_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_GZIP_MAGIC = b"\x1f\x8b"
# Deflate packs at most this many bytes into one (zlib technical details, "maximum compression").
DEFLATE_LIMIT = 1032


def read_idx(path: Path) -> np.ndarray:
    """Read an IDX file, compressed if its name ends in .gz.

    Returns:
        The array, in the machine's byte order.

    Raises:
        DataError: the file is absent, not IDX, truncated, or longer than its header says.
    """
    try:
        with path.open("rb") as file:
            packed = file.read(2) == _GZIP_MAGIC
            size = file.seek(0, 2)
            file.seek(0)
            if packed != (path.suffix == ".gz"):
                got = "gzip" if packed else "not gzip"
                raise DataError(
                    f"the file is {got}", where=str(path), next="name it .gz if and only if it is"
                )
            if not packed:
                return _read(file, path, most=size)
            with gzip.GzipFile(fileobj=file) as stream:
                return _read(stream, path, most=size * DEFLATE_LIMIT)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(
            f"cannot read an IDX file: {error}", where=str(path), next="fetch it again"
        ) from error


def _read(stream: IO[bytes] | gzip.GzipFile, path: Path, most: int) -> np.ndarray:
    """Read an array from a stream that can hold at most `most` bytes."""
    magic = _take(stream, 4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _TYPES or magic[3] == 0:
        raise DataError(
            f"the magic number is {bytes(magic).hex(' ') or 'absent'}, IDX begins with 00 00",
            where=str(path),
            next="is it an IDX file?",
        )
    dtype, count = np.dtype(_TYPES[magic[2]]), magic[3]
    header = _take(stream, 4 * count)
    if len(header) < 4 * count:
        raise DataError(
            f"the header ends early: {count} sizes are wanted",
            where=str(path),
            next="fetch it again",
        )
    sizes = struct.unpack(f">{count}I", header)
    wanted = math.prod(sizes) * dtype.itemsize
    if wanted > most:
        raise DataError(
            f"the header claims {sizes}, {wanted} bytes, more than the file can hold",
            where=str(path),
            next="fetch it again",
        )
    data = _take(stream, wanted + 1)
    if len(data) != wanted:
        got = f"only {len(data)}" if len(data) < wanted else "more"
        raise DataError(
            f"the header {sizes} wants {wanted} bytes, the file has {got}",
            where=str(path),
            next="fetch it again",
        )
    return np.frombuffer(data, dtype).reshape(sizes).astype(dtype.newbyteorder("="), copy=False)


def _take(stream: IO[bytes] | gzip.GzipFile, size: int) -> bytearray:
    """Read up to `size` bytes, in blocks, so that memory grows only with what is really there."""
    data = bytearray()
    while len(data) < size and (block := stream.read(min(1 << 20, size - len(data)))):
        data += block
    return data
