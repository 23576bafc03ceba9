"""Pooling of images: the largest or the mean entry of each window, channel by channel.

A window of k entries is seen as k pictures, each a strided slice of the images; values are taken
over these pictures entry by entry. No gather and no scatter is needed, and the reverse adds the
same slices back in a fixed order.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import reduce

import jax.numpy as jnp
import numpy as np
from jax import lax

from ..errors import ConfigError
from .core import Map
from .window import Padding, Pair, Window

_MOST_ENTRIES = 1 << 14


@dataclass(frozen=True)
class _Pool(Map):
    """What the two pools share: their fields, and how they are checked."""

    size: Pair = 2
    stride: Pair | None = None
    padding: Padding = "valid"

    def __post_init__(self):
        window = self._window()
        if math.prod(window.size) > _MOST_ENTRIES:
            raise ConfigError(
                f"{type(self).__name__}'s window {window.size} has more than {_MOST_ENTRIES:,} "
                "entries, each of which is a picture of its own"
            )
        for size, padding in zip(window.size, window.padding, strict=True):
            # A window that shows nothing but padding has no largest entry and no mean.
            if isinstance(padding, int) and padding >= size:
                raise ConfigError(
                    f"{type(self).__name__}'s padding must be smaller than its size {self.size}, "
                    f"got {self.padding}"
                )

    def init(self, key, x):
        self._window().check(self, x)
        return {}, {}

    def _window(self) -> Window:
        stride = self.size if self.stride is None else self.stride
        return Window.of(self, self.size, stride, self.padding)


@dataclass(frozen=True)
class MaxPool(_Pool):
    """Take the largest entry of each window, for each channel by itself.

    Forward:  y[n, p, q, c] = max_ij x[n, s p + i − l, s q + j − l, c]
              s the stride, l the padding before the axis; padding never wins
    Reverse:  dx = Σ dy of the windows in which the entry was the largest; of several equal ones
              the first in row-major order takes all
    Shapes:   x (n, h, w, c); y (n, p, q, c), p and q as `output_size` says; saved: one byte for
              each entry of y, if the window has at most 256
    Source:   the sheets, MAXPOOL: no parameters

    Args:
        size: of the window, one number or (height, width).
        stride: from one place of the window to the next; the size itself if not given.
        padding: around the image, as for `Conv`; smaller than the size.

    Raises:
        ConfigError: size or stride is not positive, or padding is negative or not below the size;
            the window has more than 16,384 entries.
        ShapeError: x is no batch of images, or the window does not fit into them.

    >>> x = jnp.array([[1.0, 2.0, 0.0, 0.0], [3.0, 4.0, 0.0, 5.0]])[None, :, :, None]
    >>> MaxPool().forward({}, {}, x, None)[0].ravel().tolist()
    [4.0, 5.0]
    """

    def forward(self, params, state, x, run):
        first, *others = _pictures(x, self._window(), -jnp.inf)
        count = 1 + len(others)
        y, index = first, jnp.zeros(first.shape, jnp.uint8 if count <= 256 else jnp.int32)
        for i, picture in enumerate(others, start=1):
            # nan compares as not larger, and must not be passed over.
            larger = (picture > y) | jnp.isnan(picture)
            y, index = jnp.where(larger, picture, y), jnp.where(larger, i, index)
        return y, (index, x[:0]), state  # of x only the shape is needed: no entry of it is kept

    def reverse(self, params, saved, dy):
        index, like = saved
        high, wide = self._window().size
        parts = [jnp.where(index == i, dy, 0) for i in range(high * wide)]
        return {}, _unite(parts, self._window(), like)


@dataclass(frozen=True)
class AveragePool(_Pool):
    """Take the mean of each window, for each channel by itself. Padding does not count.

    Forward:  y[n, p, q, c] = Σ_ij x[n, s p + i − l, s q + j − l, c] / m[p, q]
              s the stride, l the padding before the axis, m how many entries of the window lie
              inside of the image
    Reverse:  dx = Σ dy/m of the windows that show the entry
    Shapes:   x (n, h, w, c); y (n, p, q, c), p and q as `output_size` says; m (p, q)
    Source:   LeCun et al. 1998, §II.B, there with a learned factor and bias

    Where padding counts as zeros, as PyTorch has it, the means at the border are smaller; here they
    are means of what is there, as in TensorFlow.

    Args:
        size: of the window, one number or (height, width).
        stride: from one place of the window to the next; the size itself if not given.
        padding: around the image, as for `Conv`; smaller than the size.

    Raises:
        ConfigError: size or stride is not positive, or padding is negative or not below the size;
            the window has more than 16,384 entries.
        ShapeError: x is no batch of images, or the window does not fit into them.

    >>> x = jnp.array([[1.0, 2.0, 0.0, 0.0], [3.0, 4.0, 0.0, 5.0]])[None, :, :, None]
    >>> AveragePool().forward({}, {}, x, None)[0].ravel().tolist()
    [2.5, 1.25]
    """

    def forward(self, params, state, x, run):
        total = reduce(jnp.add, _pictures(x, self._window(), 0))
        return total / self._inside(x), x[:0], state

    def reverse(self, params, saved, dy):
        high, wide = self._window().size
        part = dy / self._inside(saved)
        return {}, _unite([part] * (high * wide), self._window(), saved)

    def _inside(self, x):
        """How many entries of each window lie inside of the image, (1, p, q, 1)."""
        window = self._window()
        ones = np.ones((1, *x.shape[1:3], 1), x.dtype)
        return reduce(jnp.add, _pictures(jnp.asarray(ones), window, 0))


def _places(window: Window):
    """The entries of a window in row-major order."""
    return list(np.ndindex(*window.size))


def _pictures(x, window: Window, fill: float) -> list:
    """For each entry of the window, what it shows at each place: (n, p, q, c)."""
    n, *_, channels = x.shape
    edges = [(0, 0, 0), *((low, high, 0) for low, high in window.around(x)), (0, 0, 0)]
    padded = lax.pad(x, jnp.asarray(fill, x.dtype), edges)
    s, t = window.stride
    down, right = window.spans(x)
    return [
        lax.slice(padded, (0, i, j, 0), (n, i + down, j + right, channels), (1, s, t, 1))
        for i, j in _places(window)
    ]


def _unite(parts: list, window: Window, x):
    """Add such pictures up where they come from, in images like x: the adjoint of `_pictures`."""
    s, t = window.stride
    (above, _), (left, _) = window.around(x)
    (high, wide), (down, right) = x.shape[1:3], window.spans(x)

    def placed(i, j, part):
        # Negative edges cut off what came from the padding.
        rows = (i - above, high - (i - above) - down, s - 1)
        columns = (j - left, wide - (j - left) - right, t - 1)
        return lax.pad(part, jnp.zeros((), part.dtype), [(0, 0, 0), rows, columns, (0, 0, 0)])

    return reduce(
        jnp.add, (placed(i, j, part) for (i, j), part in zip(_places(window), parts, strict=True))
    )
