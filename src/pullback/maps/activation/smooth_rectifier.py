"""Rectifiers that bend below 0, or all along, instead of having two straight lines."""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from .base import Elementwise, require_positive

# Klambauer et al. 2017, arXiv:1706.02515, eq. 14: the fixed point of mean 0 and variance 1.
SELU_ALPHA = 1.6732632423543772
SELU_SCALE = 1.0507009873554805


def _below(x):
    """Return eˣ − 1 where x ≤ 0, else 0.

    It is 2 t / (1 − t) with t = tanh(x/2), as exact near 0 as XLA's expm1, which takes half as long
    again on a processor.
    """
    t = jnp.tanh(jnp.minimum(x, 0) / 2)
    return 2 * t / (1 - t)


@dataclass(frozen=True)
class Elu(Elementwise):
    """The exponential linear unit.

    Forward:  y = x where x > 0, else α (eˣ − 1)
    Reverse:  dx = dy where y > 0, else dy · (y + α)
    Range:    (−α, ∞), increasing
    Smooth:   C¹ for α = 1, else C⁰
    Kink:     at x = 0, y = 0 and the slope is α; for α = 1 that is no kink
    Shapes:   x, y of any one shape
    Source:   Clevert et al. 2016, arXiv:1511.07289, 3

    Args:
        alpha: α.

    Raises:
        ConfigError: alpha is not positive.

    >>> Elu().value(jnp.array([0.0, 1.0])).tolist()
    [0.0, 1.0]
    """

    alpha: float = 1.0

    def __post_init__(self):
        require_positive(self, "alpha")

    def value(self, x):
        return jnp.where(x > 0, x, self.alpha * _below(x))

    def slope(self, kept):
        return jnp.where(kept > 0, jnp.ones_like(kept), kept + self.alpha)


@dataclass(frozen=True)
class Selu(Elementwise):
    """The scaled exponential linear unit: it keeps activations of mean 0 and variance 1 so.

    Forward:  y = s x where x > 0, else s α (eˣ − 1);  s = 1.0507…, α = 1.6733…
    Reverse:  dx = dy · (s where y > 0, else y + s α)
    Range:    (−s α, ∞), increasing
    Smooth:   C⁰
    Kink:     at x = 0, y = 0 and the slope is s α
    Shapes:   x, y of any one shape
    Source:   Klambauer et al. 2017, arXiv:1706.02515, eq. 2 and 14; CA6 (6a)

    >>> Selu().value(jnp.array([0.0, 1.0])).tolist()
    [0.0, 1.0507010221481323]
    """

    def value(self, x):
        return jnp.where(x > 0, SELU_SCALE * x, SELU_SCALE * SELU_ALPHA * _below(x))

    def slope(self, kept):
        return jnp.where(kept > 0, jnp.full_like(kept, SELU_SCALE), kept + SELU_SCALE * SELU_ALPHA)


@dataclass(frozen=True)
class InverseSquareRootLinearUnit(Elementwise):
    """A smooth rectifier without exponentials (ISRLU).

    Forward:  y = x where x ≥ 0, else x/√(1 + α x²)
    Reverse:  dx = dy where y ≥ 0, else dy · (1 − α y²)^(3/2)
    Range:    (−1/√α, ∞), increasing
    Smooth:   C²: the third derivative jumps at 0
    Kink:     none
    Shapes:   x, y of any one shape
    Source:   Carlile et al. 2017, arXiv:1710.09967; the sheets, table of activations

    Args:
        alpha: α; the larger, the higher the lower bound.

    Raises:
        ConfigError: alpha is not positive.

    >>> InverseSquareRootLinearUnit(3.0).value(jnp.array([-1.0, 2.0])).tolist()
    [-0.5, 2.0]
    """

    alpha: float = 1.0

    def __post_init__(self):
        require_positive(self, "alpha")

    def value(self, x):
        below = jnp.minimum(x, 0)
        return jnp.maximum(x, 0) + below / jnp.sqrt(1 + self.alpha * below * below)

    def slope(self, kept):
        below = jnp.minimum(kept, 0)
        # Rounding can put y a little beyond its bound, where the power would be nan.
        rest = jnp.maximum(1 - self.alpha * below * below, 0)
        return rest**1.5


@dataclass(frozen=True)
class Gelu(Elementwise):
    """The Gaussian error linear unit: x times the probability that a normal variate is below x.

    Forward:  y = x Φ(x);  Φ is the normal distribution function. Approximately
              y = x (1 + t)/2,  t = tanh u,  u = √(2/π) (x + 0.044715 x³)
    Reverse:  dx = dy · (Φ(x) + x φ(x)), from x;  φ is the normal density. Approximately
              dx = dy · ((1 + t)/2 + x (1 − t²) u'/2),  u' = √(2/π) (1 + 3 · 0.044715 x²)
    Range:    [−0.16997…, ∞), falling below x = −0.7518, rising above
    Smooth:   C^∞
    Kink:     none
    Shapes:   x, y of any one shape
    Source:   Hendrycks & Gimpel 2016, arXiv:1606.08415, 2; the sheets give 0.045 for 0.044715

    Args:
        approximate: whether to use tanh, within 5e-4 of the exact values and cheaper.

    >>> float(Gelu().value(jnp.array(0.0)))
    0.0
    """

    approximate: bool = False

    def value(self, x):
        return x * (self._tanh(x)[0] + 1) / 2 if self.approximate else x * _normal_cdf(x)

    def kept(self, x, y):
        return x

    def slope(self, kept):
        if not self.approximate:
            density = jnp.exp(-kept * kept / 2) / math.sqrt(2 * math.pi)
            return _normal_cdf(kept) + kept * density
        t, du = self._tanh(kept)
        return (1 + t) / 2 + kept * (1 - t * t) * du / 2

    def _tanh(self, x):
        """The t of the approximation, and the derivative of its argument."""
        scale, cubic = math.sqrt(2 / math.pi), 0.044715
        squared = x * x
        return jnp.tanh(scale * x * (1 + cubic * squared)), scale * (1 + 3 * cubic * squared)


def _normal_cdf(x):
    return jax.lax.erfc(-x / math.sqrt(2)) / 2


@dataclass(frozen=True)
class Silu(Elementwise):
    """The sigmoid linear unit, or swish.

    Forward:  y = x σ(x);  σ is the logistic function
    Reverse:  dx = dy · σ(x) (1 + x (1 − σ(x))), from x
    Range:    [−0.27846…, ∞), falling below x = −1.2785, rising above
    Smooth:   C^∞
    Kink:     none
    Shapes:   x, y of any one shape
    Source:   Elfwing et al. 2018, arXiv:1702.03118

    >>> float(Silu().value(jnp.array(0.0)))
    0.0
    """

    def value(self, x):
        return x * jax.nn.sigmoid(x)

    def kept(self, x, y):
        return x

    def slope(self, kept):
        share = jax.nn.sigmoid(kept)
        return share * (1 + kept * (1 - share))


@dataclass(frozen=True)
class Softplus(Elementwise):
    """The smooth rectifier whose slope is the logistic function.

    Forward:  y = ln(1 + eˣ)
    Reverse:  dx = dy · (1 − e⁻ʸ) = dy/(1 + e⁻ˣ), from y
    Range:    (0, ∞), increasing
    Smooth:   C^∞
    Kink:     none
    Shapes:   x, y of any one shape
    Source:   Dugas et al. 2001; the sheets, table of activations and the two-tower network

    >>> float(Softplus().value(jnp.array(0.0)))
    0.6931471824645996
    """

    def value(self, x):
        return jax.nn.softplus(x)

    def slope(self, kept):
        return -jnp.expm1(-kept)
