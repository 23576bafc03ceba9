"""Shift, rotation, scaling, shear and elastic distortion, in one reading of the picture."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..errors import ConfigError
from ..maps import key_for
from .core import OfPictures
from .resample import bilinear


@dataclass(frozen=True)
class Warp(OfPictures):
    """Shift, turn, stretch, slant and distort each picture, each by amounts of its own.

    All of it is one map of points, so that a picture is interpolated once, whatever is asked for.

    Forward:  y[p] = x[c + M⁻¹ (p − c − t) + d[p]], bilinear, and 0 outside of the picture;
              M = rotation · shear · scaling about the centre c,  d = elastic · G(smoothness) * u,
              u uniform on [−1, 1] for each pixel and direction, G a Gaussian of sum 1
    Range:    a mean of pixels: no value leaves the range of the picture and 0, its background
    Source:   Simard, Steinkraus, Platt 2003, §2, where elastic is 34 and smoothness 4 for digits;
              Ciresan, Meier, Gambardella, Schmidhuber 2010, arXiv:1003.0358, for the rest

    Near the border the Gaussian also meets zeros, and distorts less. u is drawn on 256 levels: the
    mean of many, which is all that is used, does not tell it from the continuous one.

    Pictures of one class must not come to look like those of another (Training Deep Nets, "Dataset
    Augmentation"): a 6 that may turn by 180 degrees is a 9.

    Args:
        shift: pixels, up, down, left and right; need not be whole.
        rotate: degrees, to either side.
        scale: share by which height and width each grow or shrink, below 1.
        shear: degrees by which columns slant, below 90.
        elastic: α, in pixels; a displacement has the deviation α/(2 √(3π) smoothness).
        smoothness: σ of the Gaussian, in pixels.

    Raises:
        ConfigError: a number is negative, not finite or too large.

    >>> x, y, weight = jnp.ones((2, 5, 5, 1)), jnp.ones((2, 1)), jnp.ones(2)
    >>> Warp(rotate=10, elastic=8)(jax.random.key(0), x, y, weight)[0].shape
    (2, 5, 5, 1)
    """

    shift: float = 0.0
    rotate: float = 0.0
    scale: float = 0.0
    shear: float = 0.0
    elastic: float = 0.0
    smoothness: float = 4.0

    def __post_init__(self):
        for field in fields(self):
            value = getattr(self, field.name)
            if not (math.isfinite(value) and value >= 0):
                raise ConfigError(
                    f"Warp's {field.name} must be a number of at least 0, got {value}"
                )
        if self.scale >= 1:
            raise ConfigError(f"Warp's scale must be below 1, got {self.scale}")
        if self.shear >= 90:
            raise ConfigError(f"Warp's shear must be below 90 degrees, got {self.shear}")
        if self.smoothness == 0:
            raise ConfigError("Warp's smoothness must be positive, got 0")

    def __call__(self, key, x, y, weight):
        rows, columns = self._affine(key_for(key, "affine"), x)
        if self.elastic:
            of_field = key_for(key, "elastic")
            down, right = displacements(of_field, rows.shape, self.smoothness, x.dtype)
            rows, columns = rows + self.elastic * down, columns + self.elastic * right
        return bilinear(x, rows, columns), y, weight

    def _affine(self, key, x):
        """Where each pixel of the result lies in the picture, before it is distorted."""
        n, height, width, _ = x.shape
        u = jax.random.uniform(key, (6, n), x.dtype, minval=-1, maxval=1)
        matrix = inverse(
            angle=math.radians(self.rotate) * u[0],
            slant=math.radians(self.shear) * u[1],
            stretch=1 + self.scale * u[2:4],
        )
        return moved(matrix, self.shift * u[4:6], height, width)


def inverse(
    angle: Float[Array, " n"], slant: Float[Array, " n"], stretch: Float[Array, "2 n"]
) -> Float[Array, "2 2 n"]:
    """The inverse of rotation · shear · scaling, acting on (row, column).

    Forward:  M⁻¹ = diag(1/stretch) [1 0; −tan slant 1] [cos sin; −sin cos](angle)

    Rows count downwards: a positive angle turns against the clock, a positive slant moves what is
    below the centre to the right.
    """
    cos, sin, tan = jnp.cos(angle), jnp.sin(angle), jnp.tan(slant)
    turned = jnp.stack(
        [jnp.stack([cos, sin]), jnp.stack([-sin - tan * cos, cos - tan * sin])],
    )
    return turned / stretch[:, None]


def moved(
    matrix: Float[Array, "2 2 n"], shift: Float[Array, "2 n"], height: int, width: int
) -> tuple[Float[Array, "n h w"], Float[Array, "n h w"]]:
    """The points c + M⁻¹ (p − c − t) of all pixels p: their rows and their columns."""
    middle_row, middle_column = (height - 1) / 2, (width - 1) / 2
    p = jnp.arange(height, dtype=matrix.dtype)[None, :, None] - middle_row
    q = jnp.arange(width, dtype=matrix.dtype)[None, None, :] - middle_column
    p, q = p - shift[0][:, None, None], q - shift[1][:, None, None]
    (a, b), (c, d) = matrix[:, :, :, None, None]
    return a * p + b * q + middle_row, c * p + d * q + middle_column


def displacements(key, shape: tuple[int, ...], smoothness: float, dtype):
    """Two random fields of a shape (n, height, width), as smooth as a Gaussian of this deviation.

    It parts into two small products of matrices, one for each direction. The rows come first in
    memory until the end, so that neither of them has to be transposed.
    """
    n, height, width = shape
    u = _uniform(key, (height, 2 * n * width), dtype)
    down = jnp.asarray(gaussian(height, smoothness), dtype) @ u
    both = down.reshape(-1, width) @ jnp.asarray(gaussian(width, smoothness), dtype)
    return jnp.moveaxis(both.reshape(height, 2, n, width), 0, 2)


def gaussian(size: int, deviation: float) -> np.ndarray:
    """The matrix (size, size) of a convolution with a Gaussian, which has 0 beyond both ends."""
    reach = math.ceil(10 * deviation) + size
    density = np.exp(-0.5 * (np.arange(-reach, reach + 1) / deviation) ** 2)
    density /= density.sum()
    apart = np.subtract.outer(np.arange(size), np.arange(size))
    return density[reach + apart]


def _uniform(key, shape: tuple[int, ...], dtype):
    """Numbers of mean 0 on 256 levels in (−1, 1): four of each word that is drawn."""
    size = math.prod(shape)
    words = jax.random.bits(key, (-(-size // 4),), jnp.uint32)
    levels = jax.lax.bitcast_convert_type(words, jnp.uint8).reshape(-1)[:size]
    return ((levels.astype(dtype) + 0.5) / 128 - 1).reshape(shape)
