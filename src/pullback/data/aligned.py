"""Arrays that JAX on a processor takes as they are: those that begin where a cache line does.

NumPy promises 16 bytes. What begins elsewhere is copied when it is sent to the device, so it would
be in memory twice for as long as training goes on.
"""

from __future__ import annotations

import math

import numpy as np

LINE = 64


def empty(shape: tuple[int, ...], dtype: np.dtype | type) -> np.ndarray:
    """Return an array of any content whose first byte begins a cache line.

    >>> empty((3, 2), np.float32).ctypes.data % LINE
    0
    """
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    room = np.empty(size + LINE, np.uint8)
    begin = -room.ctypes.data % LINE
    return room[begin : begin + size].view(dtype).reshape(shape)


def aligned(x: np.ndarray) -> np.ndarray:
    """Return `x` if it lies so already, in rows one after another; else a copy that does.

    >>> a = aligned(np.arange(6.0)[1:])
    >>> aligned(a) is a, a.tolist()
    (True, [1.0, 2.0, 3.0, 4.0, 5.0])
    """
    x = np.asarray(x)
    if x.flags.c_contiguous and x.ctypes.data % LINE == 0:
        return x
    out = empty(x.shape, x.dtype)
    out[...] = x
    return out


def taken(x: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return rows of `x`, by index or by mask, as such an array.

    >>> taken(np.arange(6.0).reshape(3, 2), np.array([2, 0])).tolist()
    [[4.0, 5.0], [0.0, 1.0]]
    """
    index = np.flatnonzero(rows) if rows.dtype == bool else rows
    out = empty((len(index), *x.shape[1:]), x.dtype)
    # Not mode "raise": NumPy would then gather all into an array of its own first.
    if len(index):
        if index.min() < -len(x) or index.max() >= len(x):
            raise IndexError(f"rows {index.min()} to {index.max()} of an array of {len(x)}")
        np.take(x, index, axis=0, out=out, mode="wrap")
    return out
