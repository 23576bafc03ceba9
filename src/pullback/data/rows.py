"""Rows of an array that lies on disk, and the walk over any array in blocks."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

_BLOCK_BYTES = 1 << 23


class Shaped(Protocol):
    """Rows of one shape, in memory or not."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The number of rows, and the shape of one."""
        ...

    def __len__(self) -> int:
        """The number of rows."""
        ...


@dataclass(frozen=True, eq=False)
class Rows:
    """Chosen rows of an array on disk, read and prepared only when they are asked for.

    Slicing or indexing gives an ordinary array in memory, as an array in memory does; `take` and
    `prepared` read nothing.

    Args:
        source: the array on disk, a memory map of shape (N, ...).
        index: the chosen rows, ascending, so that reading goes forward; None for all.
        prepare: what is done to rows when they are read; it keeps their shape.
        prepared_dtype: the type that `prepare` returns; None for the source's own.

    >>> rows = Rows(np.arange(10).reshape(5, 2)).take(np.array([1, 3, 4]))
    >>> rows.shape, rows[1:].tolist()
    ((3, 2), [[6, 7], [8, 9]])
    """

    source: np.ndarray
    index: np.ndarray | None = None
    prepare: Callable[[np.ndarray], np.ndarray] = np.array
    prepared_dtype: np.dtype | None = None

    def __len__(self) -> int:
        """Return the number of chosen rows."""
        return len(self.source) if self.index is None else len(self.index)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape that the rows have in memory."""
        return (len(self), *self.source.shape[1:])

    @property
    def ndim(self) -> int:
        """The number of axes, the rows' own among them."""
        return self.source.ndim

    @property
    def dtype(self) -> np.dtype:
        """The type that the rows have in memory."""
        return self.prepared_dtype or self.source.dtype

    def __getitem__(self, key: int | slice | np.ndarray) -> np.ndarray:
        """Read rows, or one row."""
        if isinstance(key, int | np.integer):
            return self[np.array([key])][0]
        return self.prepare(self.source[key if self.index is None else self.index[key]])

    def __array__(self, dtype: np.dtype | None = None, copy: bool | None = None) -> np.ndarray:
        """Read all rows."""
        return self[:] if dtype is None else self[:].astype(dtype)

    def take(self, index: np.ndarray) -> Rows:
        """Choose rows among these."""
        return replace(self, index=index if self.index is None else self.index[index])

    def prepared(self, prepare: Callable[[np.ndarray], np.ndarray], dtype: np.dtype) -> Rows:
        """Return the same rows, to be prepared in this way when they are read."""
        return replace(self, prepare=prepare, prepared_dtype=dtype)


def row_bytes(x: np.ndarray | Rows) -> int:
    """Return the bytes of one row in memory, at least 1."""
    return max(1, int(np.prod(x.shape[1:])) * x.dtype.itemsize)


def blocks(x: Shaped, start: int = 0, stop: int | None = None) -> Iterator[slice]:
    """Cut rows of an array, all of them unless told, into slices of some 8 MiB of float64.

    >>> list(blocks(np.zeros((3, 2))))
    [slice(0, 3, None)]
    """
    size = max(1, _BLOCK_BYTES // max(8, 8 * int(np.prod(x.shape[1:]))))
    stop = len(x) if stop is None else stop
    for begin in range(start, stop, size):
        yield slice(begin, min(begin + size, stop))


def digest(*arrays: np.ndarray) -> str:
    """Return the SHA-256 of the arrays' types, shapes and bytes, read block by block."""
    total = hashlib.sha256()
    for array in arrays:
        total.update(f"{array.dtype.str}{array.shape}".encode())
        for block in blocks(array):
            total.update(array[block].tobytes())
    return total.hexdigest()


def first_not_finite(x: np.ndarray) -> tuple[int, ...] | None:
    """Return the index of the first value that is nan or infinite, or None."""
    if x.dtype.kind != "f":
        return None
    for block in blocks(x):
        finite = np.isfinite(x[block])
        if not finite.all():
            row, *rest = np.argwhere(~finite)[0].tolist()
            return (block.start + row, *rest)
    return None


def cast(x: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Return `x` in another type; what does not fit becomes infinite, for a later check to name."""
    with np.errstate(over="ignore"):
        return x.astype(dtype, copy=False)
