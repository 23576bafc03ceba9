"""Affine maps."""

from __future__ import annotations

from dataclasses import dataclass, field

import jax.numpy as jnp

from ..errors import ConfigError, ShapeError
from ..initializer import Initializer, LeCun
from .core import Map


@dataclass(frozen=True)
class Affine(Map):
    """Multiply by a weight and add a bias.

    Forward:  y = x @ weight + bias
    Reverse:  dweight = xᵀ @ dy,  dbias = Σ dy over the batch,  dx = dy @ weightᵀ
    Shapes:   x (n, d_in); y (n, width); weight (d_in, width); bias (width,)
    Source:   CA6 eq. (1), (3), (5), there with weight transposed

    Args:
        width: the number of outputs.
        bias: whether a bias is added; it begins at zero.
        initializer: draws the weight.

    Raises:
        ConfigError: width is not positive.
        ShapeError: x is not a matrix.

    >>> import jax
    >>> params, _ = Affine(3).init(jax.random.key(0), jnp.ones((8, 5)))
    >>> params["weight"].shape, params["bias"].shape
    ((5, 3), (3,))
    """

    width: int
    bias: bool = True
    initializer: Initializer = field(default=LeCun())

    def __post_init__(self):
        if self.width < 1:
            raise ConfigError(f"Affine's width must be at least 1, got {self.width}")

    def init(self, key, x):
        if len(x.shape) != 2 or x.shape[1] < 1:
            raise ShapeError(
                f"Affine wants x of shape (n, d), got {tuple(x.shape)}",
                next="flatten each example to a vector",
            )
        d = x.shape[1]
        params = {"weight": self.initializer(key, (d, self.width), d, self.width, x.dtype)}
        if self.bias:
            params["bias"] = jnp.zeros((self.width,), x.dtype)
        return params, {}

    def forward(self, params, state, x, run):
        y = x @ params["weight"]
        if self.bias:
            y = y + params["bias"][None]
        return y, x, state

    def reverse(self, params, saved, dy):
        dparams = {"weight": saved.T @ dy}
        if self.bias:
            dparams["bias"] = jnp.sum(dy, axis=0)
        return dparams, dy @ params["weight"].T
