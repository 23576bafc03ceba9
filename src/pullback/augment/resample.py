"""Pictures read between their pixels."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float


def bilinear(
    x: Float[Array, "n h w c"], rows: Float[Array, "n a b"], columns: Float[Array, "n a b"]
) -> Float[Array, "n a b c"]:
    """Read each picture at points between its pixels, with 0 all around it.

    Forward:  y[p] = (1−f)(1−g) x[i,j] + (1−f)g x[i,j+1] + f(1−g) x[i+1,j] + fg x[i+1,j+1],
              i + f = rows[p],  j + g = columns[p]
    Range:    a mean of four pixels: no value leaves the range of the picture and 0
    Exact:    at a whole point y is the pixel itself, bit for bit

    >>> x = jnp.arange(4.0).reshape(1, 2, 2, 1)
    >>> bilinear(x, jnp.full((1, 1, 1), 0.5), jnp.full((1, 1, 1), 0.5)).item()
    1.5
    """
    n, height, width, channels = x.shape
    framed = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))).reshape(n, -1, channels)
    i, f = _parted(rows, height)
    j, g = _parted(columns, width)
    line = width + 2
    corner = (i * line + j).reshape(n, -1, 1)

    def at(offset):
        # Every point lies in the frame: there is nothing left to clip or to fill.
        return jnp.take_along_axis(framed, corner + offset, axis=1, mode="promise_in_bounds")

    f, g = f.reshape(n, -1, 1), g.reshape(n, -1, 1)
    above = (1 - g) * at(0) + g * at(1)
    below = (1 - g) * at(line) + g * at(line + 1)
    return ((1 - f) * above + f * below).reshape(*rows.shape, channels)


def _parted(points, size):
    """The pixel of the framed picture before each point, and how far beyond it the point is."""
    inside = jnp.clip(points, -1, size)
    before = jnp.minimum(jnp.floor(inside), size - 1)
    return before.astype(jnp.int32) + 1, inside - before
