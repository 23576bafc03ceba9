"""Activations that rise from one bound to another, or are cut off at both."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from .base import Elementwise, require_positive


@dataclass(frozen=True)
class Sigmoid(Elementwise):
    """The logistic function.

    Forward:  y = 1/(1 + e⁻ˣ)
    Reverse:  dx = dy · y (1 − y), from y
    Range:    (0, 1), increasing
    Smooth:   C^∞
    Kink:     none
    Shapes:   x, y of any one shape
    Source:   IFT6390 homework 3, theoretical part, 1.1 and 1.3

    >>> float(Sigmoid().value(jnp.array(0.0)))
    0.5
    """

    def value(self, x):
        return jax.nn.sigmoid(x)

    def slope(self, kept):
        return kept * (1 - kept)


@dataclass(frozen=True)
class Tanh(Elementwise):
    """The hyperbolic tangent.

    Forward:  y = tanh x
    Reverse:  dx = dy · (1 − y²), from y
    Range:    (−1, 1), increasing
    Smooth:   C^∞
    Kink:     none
    Shapes:   x, y of any one shape
    Source:   IFT6390 homework 3, theoretical part, 1.4

    >>> float(Tanh().value(jnp.array(0.0)))
    0.0
    """

    def value(self, x):
        return jnp.tanh(x)

    def slope(self, kept):
        return 1 - kept * kept


@dataclass(frozen=True)
class Arctan(Elementwise):
    """The arctangent.

    Forward:  y = arctan x
    Reverse:  dx = dy · cos² y = dy/(1 + x²), from y
    Range:    (−π/2, π/2), increasing
    Smooth:   C^∞
    Kink:     none
    Shapes:   x, y of any one shape
    Source:   the sheets, table of activations

    >>> float(Arctan().value(jnp.array(0.0)))
    0.0
    """

    def value(self, x):
        return jnp.arctan(x)

    def slope(self, kept):
        cosine = jnp.cos(kept)
        return cosine * cosine


@dataclass(frozen=True)
class Softsign(Elementwise):
    """Elliott's sigmoid, whose tails fall as 1/|x|.

    Forward:  y = x/(1 + |x|)
    Reverse:  dx = dy · (1 − |y|)² = dy/(1 + |x|)², from y
    Range:    (−1, 1), increasing
    Smooth:   C¹: the second derivative jumps at 0
    Kink:     none
    Shapes:   x, y of any one shape
    Source:   Elliott 1993; the sheets, table of activations, where the bars of |x| are lost

    >>> Softsign().value(jnp.array([-1.0, 3.0])).tolist()
    [-0.5, 0.75]
    """

    def value(self, x):
        return x / (1 + jnp.abs(x))

    def slope(self, kept):
        below = 1 - jnp.abs(kept)
        return below * below


@dataclass(frozen=True)
class InverseSquareRootUnit(Elementwise):
    """A sigmoid without exponentials (ISRU).

    Forward:  y = x/√(1 + α x²)
    Reverse:  dx = dy · (1 − α y²)^(3/2) = dy · (1/√(1 + α x²))³, from y
    Range:    (−1/√α, 1/√α), increasing
    Smooth:   C^∞
    Kink:     none
    Shapes:   x, y of any one shape
    Source:   Carlile et al. 2017, arXiv:1710.09967; the sheets, table of activations

    Args:
        alpha: α; the larger, the lower the bounds.

    Raises:
        ConfigError: alpha is not positive.

    >>> float(InverseSquareRootUnit(3.0).value(jnp.array(1.0)))
    0.5
    """

    alpha: float = 1.0

    def __post_init__(self):
        require_positive(self, "alpha")

    def value(self, x):
        return x / jnp.sqrt(1 + self.alpha * x * x)

    def slope(self, kept):
        # Rounding can put y a little beyond its bound, where the power would be nan.
        rest = jnp.maximum(1 - self.alpha * kept * kept, 0)
        return rest**1.5


@dataclass(frozen=True)
class SquareNonlinearity(Elementwise):
    """A sigmoid of two parabolas (SQNL).

    Forward:  y = u (1 − |u|/4),  u = x cut off at ±2
    Reverse:  dx = dy · max(1 − |x|/2, 0), from x: near its bounds y does not tell x
    Range:    [−1, 1], rising within |x| ≤ 2
    Smooth:   C¹: the second derivative jumps at −2, 0 and 2
    Kink:     none
    Shapes:   x, y of any one shape
    Source:   Wuraola & Patel 2018; the sheets, table of activations

    >>> SquareNonlinearity().value(jnp.array([-5.0, 1.0])).tolist()
    [-1.0, 0.75]
    """

    def value(self, x):
        u = jnp.clip(x, -2, 2)
        return u * (1 - jnp.abs(u) / 4)

    def kept(self, x, y):
        return x

    def slope(self, kept):
        return jnp.maximum(1 - jnp.abs(kept) / 2, 0)


@dataclass(frozen=True)
class HardTanh(Elementwise):
    """Cut x off at −1 and 1.

    Forward:  y = min(max(x, −1), 1)
    Reverse:  dx = dy where |y| < 1, else 0
    Range:    [−1, 1], rising within |x| ≤ 1
    Smooth:   C⁰
    Kink:     at x = −1, y = −1 and the slope is 0; at x = 1, y = 1 and the slope is 0
    Shapes:   x, y of any one shape
    Source:   Collobert 2004

    >>> HardTanh().value(jnp.array([-3.0, 0.5])).tolist()
    [-1.0, 0.5]
    """

    def value(self, x):
        return jnp.clip(x, -1, 1)

    def slope(self, kept):
        return (jnp.abs(kept) < 1).astype(kept.dtype)


@dataclass(frozen=True)
class SoftClipping(Elementwise):
    """Cut x off at 0 and 1, softly.

    Forward:  y = (1/α) ln((1 + e^(αx))/(1 + e^(α(x−1))))
    Reverse:  dx = dy · (σ(αx) − σ(α(x−1))), from x;  σ is the logistic function
    Range:    (0, 1), increasing
    Smooth:   C^∞
    Kink:     none
    Shapes:   x, y of any one shape
    Source:   Klimek & Perelstein 2020, arXiv:1810.11509; the sheets, table of activations,
              whose sinh(p/2) sech(px/2) sech(p(1−x)/2)/2 is the same derivative, but overflows

    Args:
        alpha: α; the larger, the sharper the corners.

    Raises:
        ConfigError: alpha is not positive.

    >>> float(SoftClipping(5.0).value(jnp.array(0.5)))
    0.5
    """

    alpha: float = 1.0

    def __post_init__(self):
        require_positive(self, "alpha")

    def value(self, x):
        # ln(1 + eᶻ) = max(z, 0) + ln(1 + e^−|z|): the parts that grow are subtracted exactly.
        near = jnp.log1p(jnp.exp(-self.alpha * jnp.abs(x)))
        far = jnp.log1p(jnp.exp(-self.alpha * jnp.abs(x - 1)))
        return jnp.clip(x, 0, 1) + (near - far) / self.alpha

    def kept(self, x, y):
        return x

    def slope(self, kept):
        return jax.nn.sigmoid(self.alpha * kept) - jax.nn.sigmoid(self.alpha * (kept - 1))
