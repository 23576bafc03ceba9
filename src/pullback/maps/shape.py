"""Maps that move no number: they only change how an example is laid out."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..errors import ConfigError, ShapeError
from .core import Map


@dataclass(frozen=True)
class Reshape(Map):
    """Lay each example out in another shape, such as a row of pixels as an image.

    Forward:  y = x, entry by entry in row-major order
    Reverse:  dx = dy, laid out as x was
    Shapes:   x (n, ...); y (n, *shape), with as many entries

    Args:
        shape: of one example.

    Raises:
        ConfigError: a length is not positive.
        ShapeError: an example has not as many entries.

    >>> import jax.numpy as jnp
    >>> Reshape((28, 28, 1)).forward({}, {}, jnp.ones((5, 784)), None)[0].shape
    (5, 28, 28, 1)
    """

    shape: tuple[int, ...]

    def __post_init__(self):
        if not self.shape or min(self.shape) < 1:
            raise ConfigError(
                f"Reshape wants the shape of one example, lengths of at least 1, got {self.shape}",
                next="such as (28, 28, 1)",
            )

    def init(self, key, x):
        if math.prod(x.shape[1:]) != math.prod(self.shape):
            raise ShapeError(
                f"Reshape wants examples of {math.prod(self.shape)} entries for {self.shape}, "
                f"got {math.prod(x.shape[1:])} in {tuple(x.shape[1:])}"
            )
        return {}, {}

    def forward(self, params, state, x, run):
        return x.reshape(x.shape[0], *self.shape), x[:0], state

    def reverse(self, params, saved, dy):
        return {}, dy.reshape(dy.shape[0], *saved.shape[1:])


@dataclass(frozen=True)
class Flatten(Map):
    """Lay each example out as a row, for an affine map after convolutions.

    Forward:  y = x, entry by entry in row-major order
    Reverse:  dx = dy, laid out as x was
    Shapes:   x (n, ...); y (n, d), d the number of entries of an example

    >>> import jax.numpy as jnp
    >>> Flatten().forward({}, {}, jnp.ones((5, 4, 4, 2)), None)[0].shape
    (5, 32)
    """

    def forward(self, params, state, x, run):
        return x.reshape(x.shape[0], math.prod(x.shape[1:])), x[:0], state

    def reverse(self, params, saved, dy):
        return {}, dy.reshape(dy.shape[0], *saved.shape[1:])
