"""Buffers as the bytes of one message, and back.

A message is "PBMS", a version, the number of buffers; for each buffer, sorted by name, the length
of its name, the name, the number of its dtype, and its length; then their entries, lowest byte
first. Both ends know what to expect from the codec and the shapes, so that a receiver reads nothing
that it does not know beforehand: no length out of a message decides what is allocated, and no code
is run by reading one.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np

from ...errors import DataError, DivergedError
from .core import Layout

MAGIC, VERSION = b"PBMS", 1

# A dtype's number in a message is its place here: add at the end only.
_DTYPES = tuple(
    np.dtype(kind)
    for kind in (
        np.uint8,
        np.uint16,
        np.uint32,
        np.float16,
        ml_dtypes.bfloat16,
        np.float32,
        np.float64,
    )
)
_FIRST, _LENGTH = struct.Struct("<4sBB"), struct.Struct("<BI")


def overhead(layout: Layout) -> int:
    """The bytes of a message besides those of its buffers."""
    return len(_header(layout))


def pack(buffers: Mapping[str, Any]) -> bytes:
    """Write one message; equal buffers give equal bytes.

    Raises:
        DataError: a buffer is no vector, or of a dtype that no codec sends.
        DivergedError: a buffer holds nan or an infinite number.

    >>> len(pack({"values": np.ones(3, np.float32)}))
    30
    """
    arrays = {name: np.asarray(buffers[name]) for name in sorted(buffers)}
    header = _header(arrays)
    for name, array in arrays.items():
        _require_finite(name, array)
    return header + b"".join(_swapped(array).tobytes() for array in arrays.values())


def unpack(
    data: bytes | bytearray | memoryview, layout: Layout, where: str | None = None
) -> dict[str, np.ndarray]:
    """Read a message that is as the receiver expects it, without copying its entries.

    Args:
        data: the message.
        layout: the buffers expected: `Codec.layout` of the sender's codec.
        where: the place that an error names, such as "the message of worker 3 in round 12".

    Raises:
        DataError: these are not the bytes of such a message.
        DivergedError: a buffer holds nan or an infinite number.

    >>> sent = {"values": np.ones(3, np.float32)}
    >>> unpack(pack(sent), sent)["values"].tolist()
    [1.0, 1.0, 1.0]
    """
    data = memoryview(data).cast("B")
    expected = _header(layout)
    start = len(expected)
    if data[:start] != expected:
        raise DataError(_difference(bytes(data[:start]), layout), where=where)
    wanted = start + sum(spec.size * spec.dtype.itemsize for spec in layout.values())
    if len(data) != wanted:
        raise DataError(f"a message of {len(data)} bytes, wanted {wanted}", where=where)
    found = {}
    for name in sorted(layout):
        dtype, size = np.dtype(layout[name].dtype), layout[name].size
        raw = np.frombuffer(data, _word(dtype), count=size, offset=start)
        found[name] = _native(raw, dtype)
        _require_finite(name, found[name], where)
        start += size * dtype.itemsize
    return found


def _header(layout: Mapping[str, Any]) -> bytes:
    parts = [_FIRST.pack(MAGIC, VERSION, len(layout))]
    for name in sorted(layout):
        dtype, shape = np.dtype(layout[name].dtype), layout[name].shape
        if len(shape) != 1 or dtype not in _DTYPES:
            known = ", ".join(str(each) for each in _DTYPES)
            raise DataError(
                f"buffer '{name}' is {dtype}{list(shape)}, wanted a vector of one of {known}",
                next="let a codec make the buffers",
            )
        text = name.encode()
        parts += [bytes([len(text)]), text, _LENGTH.pack(_DTYPES.index(dtype), shape[0])]
    return b"".join(parts)


def _difference(head: bytes, layout: Layout) -> str:
    """Why a message does not begin as it should. All that is read of it is shown, never used."""
    if len(head) < _FIRST.size:
        return f"a message of {len(head)} bytes, too short for any"
    magic, version, count = _FIRST.unpack_from(head)
    if magic != MAGIC:
        return f"a message that begins with {magic!r}, wanted {MAGIC!r}"
    if version != VERSION:
        return f"a message of version {version}, wanted {VERSION}"
    wanted = [_spelled(layout[name].dtype, layout[name].size, name) for name in sorted(layout)]
    got, at = [], _FIRST.size
    for _ in range(count):
        # A table longer than the one expected is cut off where that one ends.
        end = at + 1 + head[at] if at < len(head) else len(head)
        if end + _LENGTH.size > len(head):
            got.append("…")
            break
        kind, size = _LENGTH.unpack_from(head, end)
        dtype = _DTYPES[kind] if kind < len(_DTYPES) else f"dtype {kind}"
        got.append(_spelled(dtype, size, head[at + 1 : end].decode(errors="replace")))
        at = end + _LENGTH.size
    return f"a message of [{', '.join(got)}], wanted [{', '.join(wanted)}]"


def _spelled(dtype: Any, size: int, name: str) -> str:
    return f"{name!r} {dtype}[{size}]"


def _require_finite(name: str, array: np.ndarray, where: str | None = None) -> None:
    # Kinds f and V: floats of NumPy, and bfloat16. What is packed in bits has its scale beside it.
    if array.dtype.kind in "fV" and not (fine := np.isfinite(array)).all():
        place = int(np.argmin(fine))
        raise DivergedError(
            f"buffer '{name}' of a message holds {array[place]} at entry {place}, wanted finite "
            "numbers",
            where=where,
            next="lower the learning rate, or clip the gradients",
        )


def _word(dtype: np.dtype) -> np.dtype:
    """The whole number that carries an entry: bfloat16 has no order of bytes of its own."""
    return np.dtype(f"<u{dtype.itemsize}")


def _swapped(array: np.ndarray) -> np.ndarray:
    array = np.ascontiguousarray(array)
    return array.view(f"u{array.dtype.itemsize}").astype(_word(array.dtype), copy=False)


def _native(raw: np.ndarray, dtype: np.dtype) -> np.ndarray:
    return raw.astype(f"u{dtype.itemsize}", copy=False).view(dtype)
