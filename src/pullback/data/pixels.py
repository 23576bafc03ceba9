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
    the very bit, of arrays of NumPy and of JAX alike. So the numbers are looked up: of a division
    by what is the same everywhere a compiler makes a multiplication, which rounds otherwise.

    Shapes: values (n, ...) uint8; levels (256,)

    Args:
        values: the grey levels.
        levels: the number that each level stands for.

    >>> grey = Pixels(np.array([[0, 255], [51, 102]], np.uint8), levels(np.float64))
    >>> grey.shape, grey.dtype.name, grey[1:].tolist()
    ((2, 2), 'float64', [[0.2, 0.4]])
    """

    values: Any
    levels: Any

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

    @property
    def dtype(self) -> np.dtype:
        """The type of the numbers."""
        return self.levels.dtype

    def __getitem__(self, key: Any) -> Any:
        """Return rows as numbers."""
        return self.levels[self.values[key]]

    def __array__(self, dtype: np.dtype | None = None, copy: bool | None = None) -> np.ndarray:
        """Return all rows as numbers, which are a new array."""
        return np.asarray(self[:], dtype)

    def take(self, index: np.ndarray) -> Pixels:
        """Return rows that stay bytes."""
        return Pixels(aligned.taken(self.values, index), self.levels)


def levels(dtype: np.dtype | type) -> np.ndarray:
    """Return k/255 for every byte k."""
    return np.arange(256, dtype=dtype) / np.dtype(dtype).type(255)


def packed(x: np.ndarray | Pixels) -> np.ndarray | Pixels:
    """Return `Pixels` of a large array if every number of it is some k/255 exactly, else itself.

    >>> packed(np.zeros((2, 3), np.float32)).shape
    (2, 3)
    """
    if isinstance(x, Pixels) or x.nbytes < _LEAST:
        return x
    values, known = aligned.empty(x.shape, np.uint8), levels(x.dtype)
    for block in blocks(x):
        here = x[block]
        if not (here.min(initial=0) >= 0 and here.max(initial=0) <= 1):
            return x
        grey = np.rint(here * 255).astype(np.uint8)
        if not np.array_equal(known[grey], here):
            return x
        values[block] = grey
    return Pixels(values, known)
