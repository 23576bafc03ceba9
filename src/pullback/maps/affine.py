"""Affine maps."""

from __future__ import annotations

from dataclasses import dataclass, field

import jax
import jax.numpy as jnp

from ..arithmetic import product, product_over_batch, product_over_outputs
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
        _check_rows(self, x)
        d = x.shape[1]
        params = {"weight": self.initializer(key, (d, self.width), d, self.width, x.dtype)}
        if self.bias:
            params["bias"] = jnp.zeros((self.width,), x.dtype)
        return params, {}

    def forward(self, params, state, x, run):
        y = product(x, params["weight"])
        if self.bias:
            y = y + params["bias"][None]
        return y, x, state

    def reverse(self, params, saved, dy):
        dparams = {"weight": product_over_batch(saved, dy)}
        if self.bias:
            dparams["bias"] = jnp.sum(dy, axis=0)
        return dparams, product_over_outputs(dy, params["weight"])


@dataclass(frozen=True)
class LowRankAffine(Map):
    """Multiply by a weight of low rank, kept as two factors, and add a bias.

    Forward:  y = u @ right + bias,  u = x @ left
    Reverse:  dright = uᵀ @ dy,  du = dy @ rightᵀ,  dleft = xᵀ @ du,  dbias = Σ dy over the batch,
              dx = du @ leftᵀ
    Shapes:   x (n, d_in); y (n, width); left (d_in, rank); right (rank, width); bias (width,)
    Source:   the same function as two affine maps of which the first has no bias; Sainath et al.
              2013, Low-rank matrix factorization for deep neural network training

    It has rank · (d_in + width) weights instead of d_in · width. A penalty finds them by the names
    "left" and "right".

    Args:
        width: the number of outputs.
        rank: the width between the two factors.
        bias: whether a bias is added; it begins at zero.
        initializer: draws both factors, each with its own fans.

    Raises:
        ConfigError: width or rank is not positive.
        ShapeError: x is not a matrix, or the rank is above d_in or the width.

    >>> params, _ = LowRankAffine(6, rank=2).init(jax.random.key(0), jnp.ones((8, 5)))
    >>> params["left"].shape, params["right"].shape
    ((5, 2), (2, 6))
    """

    width: int
    rank: int
    bias: bool = True
    initializer: Initializer = field(default=LeCun())

    def __post_init__(self):
        for name, value in (("width", self.width), ("rank", self.rank)):
            if value < 1:
                raise ConfigError(f"LowRankAffine's {name} must be at least 1, got {value}")

    def init(self, key, x):
        _check_rows(self, x)
        d = x.shape[1]
        if self.rank > min(d, self.width):
            raise ShapeError(
                f"LowRankAffine has rank {self.rank}, more than its weight ({d}, {self.width}) "
                "can have",
                next="lower the rank, or use Affine",
            )
        left, right = jax.random.split(key)
        params = {
            "left": self.initializer(left, (d, self.rank), d, self.rank, x.dtype),
            "right": self.initializer(
                right, (self.rank, self.width), self.rank, self.width, x.dtype
            ),
        }
        if self.bias:
            params["bias"] = jnp.zeros((self.width,), x.dtype)
        return params, {}

    def forward(self, params, state, x, run):
        u = product(x, params["left"])
        y = product(u, params["right"])
        if self.bias:
            y = y + params["bias"][None]
        return y, (x, u), state

    def reverse(self, params, saved, dy):
        x, u = saved
        du = product_over_outputs(dy, params["right"])
        dparams = {"left": product_over_batch(x, du), "right": product_over_batch(u, dy)}
        if self.bias:
            dparams["bias"] = jnp.sum(dy, axis=0)
        return dparams, product_over_outputs(du, params["left"])


def _check_rows(map: Map, x) -> None:
    if len(x.shape) != 2 or x.shape[1] < 1:
        raise ShapeError(
            f"{type(map).__name__} wants x of shape (n, d), got {tuple(x.shape)}",
            next="flatten each example to a vector",
        )
