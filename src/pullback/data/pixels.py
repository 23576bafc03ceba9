"""Grey levels that stay bytes in memory, and become numbers where they are read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from . import aligned
from .rows import blocks

# Arrays below so many bytes are left as they are: there is nothing to be won.
_LEAST = 1 << 23


@dataclass(frozen=True, eq=False)
class Pixels:
    """An array of k/255 for whole k, which holds the k as bytes: a quarter of float32.

    It has the shape and the type of the array that it stands for, and an index gives rows of it, to
    the very bit, of arrays of NumPy and of JAX alike.

    Shapes: values (n, ...) uint8

    Args:
        values: the grey levels k.
        dtype: the type of the numbers, float32 or float64.

    >>> grey = Pixels(np.array([[0, 255], [51, 102]], np.uint8), np.dtype("float64"))
    >>> grey.shape, grey.dtype.name, grey[1:].tolist()
    ((2, 2), 'float64', [[0.2, 0.4]])
    """

    values: Any
    dtype: np.dtype

    def __len__(self) -> int:
        """Return the number of rows."""
        return self.values.shape[0]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the numbers."""
        return self.values.shape

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return self.values.ndim

    def __getitem__(self, key: Any) -> Any:
        """Return rows as numbers."""
        values = self.values[key]
        if isinstance(values, np.ndarray):
            # Without a compiler, each part of the formula would be an array as large as the result.
            return numbers(np.arange(256, dtype=np.uint8), self.dtype)[values]
        return numbers(values, self.dtype)

    def __array__(self, dtype: np.dtype | None = None, copy: bool | None = None) -> np.ndarray:
        """Return all rows as numbers, which are a new array."""
        return np.asarray(self[:], dtype)

    def take(self, index: np.ndarray) -> Pixels:
        """Return rows that stay bytes."""
        return Pixels(aligned.taken(self.values, index), self.dtype)


def numbers(values: Any, dtype: np.dtype) -> Any:
    """Return k/255 of bytes k, rounded as a division rounds it.

    In base 256 k/255 is 0.kkk…, so it is n bytes of k, which are exact, and a small rest, and their
    sum rounds once. Dividing would not do: where the divisor is the same for all, compilers
    multiply by its reciprocal, which rounds twice. A table would, but is slower in a program.

    >>> numbers(np.array([0, 51, 255], np.uint8), np.dtype("float32")).tolist()
    [0.0, 0.20000000298023224, 1.0]
    """
    whole, n = (np.int32, 3) if dtype == np.float32 else (np.int64, 6)
    repeated, unit = whole(int.from_bytes(bytes([1] * n))), dtype.type(256.0**-n)
    k = values.astype(whole)
    return (k * repeated).astype(dtype) * unit + k.astype(dtype) * dtype.type(unit / 255)


def packed(x: np.ndarray | Pixels) -> np.ndarray | Pixels:
    """Return `Pixels` of a large array if every number of it is some k/255 exactly, else itself.

    >>> packed(np.zeros((2, 3), np.float32)).shape
    (2, 3)
    """
    if isinstance(x, Pixels) or x.nbytes < _LEAST:
        return x
    values = aligned.empty(x.shape, np.uint8)
    for block in blocks(x):
        here = x[block]
        if not (here.min(initial=0) >= 0 and here.max(initial=0) <= 1):
            return x
        grey = np.rint(here * 255).astype(np.uint8)
        if not np.array_equal(Pixels(grey, x.dtype)[:], here):
            return x
        values[block] = grey
    return Pixels(values, x.dtype)
