"""Activations: maps that act on each entry, or on each row, without parameters.

What an activation saves is its own output wherever the derivative can be had from it, because the
next affine map keeps that array anyway: the pair then costs no memory of its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from ..errors import ConfigError
from .core import Map

# Klambauer et al. 2017, arXiv:1706.02515, eq. 14: the fixed point of mean 0 and variance 1.
SELU_ALPHA = 1.6732632423543772
SELU_SCALE = 1.0507009873554805


@dataclass(frozen=True)
class Elementwise(Map):
    """A function of each entry. A subclass writes `value` and `slope`, and what is `kept`.

    Forward:  y = value(x)
    Reverse:  dx = dy · slope(y)
    Shapes:   x, y of any one shape
    """

    def value(self, x):
        """The function."""
        raise NotImplementedError

    def kept(self, x, y):
        """What `slope` wants of the two; y unless a subclass says otherwise."""
        return y

    def slope(self, kept):
        """The derivative with respect to x, from what was kept."""
        raise NotImplementedError

    def forward(self, params, state, x, run):
        y = self.value(x)
        return y, self.kept(x, y), state

    def reverse(self, params, saved, dy):
        return {}, dy * self.slope(saved)


@dataclass(frozen=True)
class Identity(Elementwise):
    """y = x;  dx = dy.

    >>> float(Identity().value(jnp.array(2.0)))
    2.0
    """

    def value(self, x):
        return x

    def slope(self, kept):
        return jnp.ones_like(kept)


@dataclass(frozen=True)
class Sigmoid(Elementwise):
    """y = 1/(1 + e⁻ˣ);  dx = dy · y (1 − y).

    Source: IFT6390 homework 3, theoretical part, 1.

    >>> float(Sigmoid().value(jnp.array(0.0)))
    0.5
    """

    def value(self, x):
        return jax.nn.sigmoid(x)

    def slope(self, kept):
        return kept * (1 - kept)


@dataclass(frozen=True)
class Tanh(Elementwise):
    """y = tanh x;  dx = dy · (1 − y²).

    Source: IFT6390 homework 3, theoretical part, 1.

    >>> float(Tanh().value(jnp.array(0.0)))
    0.0
    """

    def value(self, x):
        return jnp.tanh(x)

    def slope(self, kept):
        return 1 - kept * kept


@dataclass(frozen=True)
class Relu(Elementwise):
    """y = max(x, 0);  dx = dy where x > 0, else 0. At the kink the derivative is 0.

    Source: Glorot, Bordes & Bengio 2011.

    >>> Relu().value(jnp.array([-1.0, 2.0])).tolist()
    [0.0, 2.0]
    """

    def value(self, x):
        return jnp.maximum(x, 0)

    def slope(self, kept):
        return (kept > 0).astype(kept.dtype)


@dataclass(frozen=True)
class LeakyRelu(Elementwise):
    """y = x where x > 0, else negative_slope · x;  dx = dy · (1 or negative_slope).

    At the kink the derivative is negative_slope.

    Source: Maas, Hannun & Ng 2013.

    Args:
        negative_slope: the slope below zero, positive, so that the sign of x can be read from y.

    Raises:
        ConfigError: negative_slope is not in (0, 1].

    >>> LeakyRelu(0.5).value(jnp.array([-1.0, 2.0])).tolist()
    [-0.5, 2.0]
    """

    negative_slope: float = 0.01

    def __post_init__(self):
        if not 0 < self.negative_slope <= 1:
            raise ConfigError(
                f"LeakyRelu's negative_slope must be in (0, 1], got {self.negative_slope}",
                next="for 0 use Relu",
            )

    def value(self, x):
        return jnp.where(x > 0, x, self.negative_slope * x)

    def slope(self, kept):
        return jnp.where(kept > 0, jnp.ones_like(kept), jnp.full_like(kept, self.negative_slope))


@dataclass(frozen=True)
class Selu(Elementwise):
    """y = s x where x > 0, else s α (eˣ − 1);  dx = dy · (s where y > 0, else y + s α).

    s = 1.0507…, α = 1.6733…: activations of mean 0 and variance 1 keep them. At the kink the
    derivative is s α.

    Source: Klambauer et al. 2017, arXiv:1706.02515, eq. 2 and 14; CA6 (6a).

    >>> Selu().value(jnp.array([0.0, 1.0])).tolist()
    [0.0, 1.0507010221481323]
    """

    def value(self, x):
        # expm1 overflows for large x in the branch not taken; there it is given 0.
        below = SELU_SCALE * SELU_ALPHA * jnp.expm1(jnp.minimum(x, 0))
        return jnp.where(x > 0, SELU_SCALE * x, below)

    def slope(self, kept):
        return jnp.where(kept > 0, jnp.full_like(kept, SELU_SCALE), kept + SELU_SCALE * SELU_ALPHA)


@dataclass(frozen=True)
class SquaredExponential(Elementwise):
    """y = exp(−x²/(2 σ²));  dx = −dy · x y / σ².

    Source: CA6 §1.1, the squared exponential or radial basis function; (6c) uses σ² = 0.05.

    Args:
        variance: σ².

    Raises:
        ConfigError: variance is not positive.

    >>> float(SquaredExponential().value(jnp.array(0.0)))
    1.0
    """

    variance: float = 1.0

    def __post_init__(self):
        if not (math.isfinite(self.variance) and self.variance > 0):
            raise ConfigError(
                f"SquaredExponential's variance must be a positive number, got {self.variance}"
            )

    def value(self, x):
        return jnp.exp(-x * x / (2 * self.variance))

    def kept(self, x, y):
        return x, y

    def slope(self, kept):
        x, y = kept
        return -x * y / self.variance


@dataclass(frozen=True)
class Softmax(Map):
    """Turn each row into probabilities.

    Forward:  y_j = exp(x_j − m) / Σ_k exp(x_k − m),  m = max_k x_k of the row
    Reverse:  dx_j = y_j (dy_j − Σ_k dy_k y_k): the full Jacobian diag(y) − y yᵀ
    Shapes:   x, y (n, k)
    Source:   IFT6390 homework 3, theoretical part; CA6 eq. (3)–(6) keeps the diagonal only, which
              is wrong

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
