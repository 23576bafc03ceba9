"""Activations of a whole row: softmax, its logarithm, and maxout."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from ...errors import ConfigError, ShapeError
from ..core import Map


@dataclass(frozen=True)
class Softmax(Map):
    """Turn each row into probabilities.

    Forward:  y_j = exp(x_j − m) / Σ_k exp(x_k − m),  m = max_k x_k of the row
    Reverse:  dx_j = y_j (dy_j − Σ_k dy_k y_k): the full Jacobian diag(y) − y yᵀ, from y
    Range:    (0, 1), each row sums to 1
    Smooth:   C^∞
    Kink:     none
    Shapes:   x, y (..., k)
    Source:   IFT6390 homework 3, theoretical part, 2.3; CA6 eq. (3)–(6) keeps the diagonal only,
              which is wrong

    For training, `SoftmaxCrossEntropy` takes the logits themselves and is the stable choice; this
    map is for a squared error on probabilities (CA6) and for networks that use probabilities
    inside.

    >>> float(Softmax().forward({}, {}, jnp.zeros((1, 4)), None)[0][0, 0])
    0.25
    """

    def forward(self, params, state, x, run):
        y = jax.nn.softmax(x, axis=-1)
        return y, y, state

    def reverse(self, params, saved, dy):
        return {}, saved * (dy - jnp.sum(dy * saved, axis=-1, keepdims=True))


@dataclass(frozen=True)
class LogSoftmax(Map):
    """Turn each row into logarithms of probabilities.

    Forward:  y_j = x_j − m − ln Σ_k exp(x_k − m),  m = max_k x_k of the row
    Reverse:  dx_j = dy_j − exp(y_j) Σ_k dy_k, from y
    Range:    (−∞, 0), the exponentials of each row sum to 1
    Smooth:   C^∞
    Kink:     none
    Shapes:   x, y (..., k)
    Source:   IFT6390 homework 3, theoretical part, 2.7, eq. (2.22)

    >>> float(LogSoftmax().forward({}, {}, jnp.zeros((1, 1)), None)[0][0, 0])
    0.0
    """

    def forward(self, params, state, x, run):
        y = jax.nn.log_softmax(x, axis=-1)
        return y, y, state

    def reverse(self, params, saved, dy):
        return {}, dy - jnp.exp(saved) * jnp.sum(dy, axis=-1, keepdims=True)


@dataclass(frozen=True)
class Maxout(Map):
    """Take the greatest of each group of `pieces` neighbouring features.

    Forward:  y_j = max_i x_{j·pieces + i},  i < pieces
    Reverse:  dx = dy at the greatest of its group, 0 at the others; its index is saved
    Range:    (−∞, ∞)
    Smooth:   C⁰
    Kink:     at a tie, y is the common value and the first of the group gets dy
    Shapes:   x (..., d·pieces); y (..., d)
    Source:   Goodfellow et al. 2013, arXiv:1302.4389, 3; an affine map before it makes the pieces

    Args:
        pieces: how many features go into one.

    Raises:
        ConfigError: pieces is less than 2.
        ShapeError: the last axis does not part into groups of `pieces`.

    >>> Maxout(2).forward({}, {}, jnp.array([[1.0, 3.0, 2.0, 0.0]]), None)[0].tolist()
    [[3.0, 2.0]]
    """

    pieces: int = 2

    def __post_init__(self):
        if self.pieces < 2:
            raise ConfigError(f"Maxout's pieces must be at least 2, got {self.pieces}")

    def init(self, key, x):
        if not x.shape or x.shape[-1] % self.pieces:
            raise ShapeError(
                f"Maxout wants a last axis that {self.pieces} divides, got shape {tuple(x.shape)}",
                next="make the affine map before it that much wider",
            )
        return {}, {}

    def forward(self, params, state, x, run):
        groups = x.reshape(*x.shape[:-1], -1, self.pieces)
        return jnp.max(groups, axis=-1), jnp.argmax(groups, axis=-1), state

    def reverse(self, params, saved, dy):
        chosen = jax.nn.one_hot(saved, self.pieces, dtype=dy.dtype)
        return {}, (dy[..., None] * chosen).reshape(*dy.shape[:-1], -1)
