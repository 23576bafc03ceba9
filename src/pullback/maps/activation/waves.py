"""Activations that come and go: waves, and bumps that fall off on both sides."""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax.numpy as jnp

from .base import Elementwise, derivative, parted, polynomial, require_positive

# sin(x)/x as a power series in x², exact in float64 for |x| < 1.
SINC = tuple((-1) ** k / math.factorial(2 * k + 1) for k in range(10))


@dataclass(frozen=True)
class Sinusoid(Elementwise):
    """A sine wave.

    Forward:  y = sin(ω x)
    Reverse:  dx = dy · ω cos(ω x), from x
    Range:    [−1, 1], periodic
    Smooth:   C^∞
    Kink:     none
    Shapes:   x, y of any one shape
    Source:   the sheets, table of activations, and y = sin(ωx) before it

    In float32 ω x is known to one part in 10⁷ only: unless ω is a power of 2, values are good to
    1e-5 as long as |ω x| ≤ 100.

    Args:
        frequency: ω.

    Raises:
        ConfigError: frequency is not positive.

    >>> float(Sinusoid().value(jnp.array(0.0)))
    0.0
    """

    frequency: float = 1.0

    def __post_init__(self):
        require_positive(self, "frequency")

    def value(self, x):
        return jnp.sin(self.frequency * x)

    def kept(self, x, y):
        return x

    def slope(self, kept):
        return self.frequency * jnp.cos(self.frequency * kept)


@dataclass(frozen=True)
class Sinc(Elementwise):
    """The cardinal sine, unnormalised.

    Forward:  y = sin(x)/x, and 1 at 0
    Reverse:  dx = dy · (cos x − sin(x)/x)/x, from x
              where |x| < 1, both by the power series of sin(x)/x
    Range:    [−0.21723…, 1], a bump with ripples
    Smooth:   C^∞
    Kink:     none
    Shapes:   x, y of any one shape
    Source:   the sheets, table of activations

    >>> float(Sinc().value(jnp.array(0.0)))
    1.0
    """

    def value(self, x):
        near, inside, outside = parted(x, 1)
        series = polynomial(SINC, inside * inside)
        return jnp.where(near, series, jnp.sin(outside) / outside)

    def kept(self, x, y):
        return x

    def slope(self, kept):
        near, inside, outside = parted(kept, 1)
        series = 2 * inside * polynomial(derivative(SINC), inside * inside)
        formula = (jnp.cos(outside) - jnp.sin(outside) / outside) / outside
        return jnp.where(near, series, formula)


@dataclass(frozen=True)
class Gaussian(Elementwise):
    """A bell of height 1, whose square exponent has no factor.

    Forward:  y = exp(−x²)
    Reverse:  dx = −dy · 2 x exp(−x²), from x
    Range:    (0, 1], a bump
    Smooth:   C^∞
    Kink:     none
    Shapes:   x, y of any one shape
    Source:   the sheets, table of activations; SquaredExponential has a variance

    >>> float(Gaussian().value(jnp.array(0.0)))
    1.0
    """

    def value(self, x):
        return jnp.exp(-x * x)

    def kept(self, x, y):
        return x

    def slope(self, kept):
        return -2 * kept * jnp.exp(-kept * kept)


@dataclass(frozen=True)
class SquaredExponential(Elementwise):
    """A bell of height 1 with a variance: a radial basis function of one dimension.

    Forward:  y = exp(−x²/(2 σ²))
    Reverse:  dx = −dy · x exp(−x²/(2 σ²))/σ², from x
    Range:    (0, 1], a bump
    Smooth:   C^∞
    Kink:     none
    Shapes:   x, y of any one shape
    Source:   CA6 1.1, the squared exponential or radial basis function; (6c) uses σ² = 0.05

    Args:
        variance: σ².

    Raises:
        ConfigError: variance is not positive.

    >>> float(SquaredExponential().value(jnp.array(0.0)))
    1.0
    """

    variance: float = 1.0

    def __post_init__(self):
        require_positive(self, "variance")

    def value(self, x):
        return jnp.exp(-x * x / (2 * self.variance))

    def kept(self, x, y):
        return x

    def slope(self, kept):
        return -kept / self.variance * self.value(kept)
