"""The soft exponential: logarithm, identity and exponential in one, with a learned α."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import jax.numpy as jnp

from ...errors import ConfigError
from .base import Learned, derivative, parted, polynomial

# φ(t) = (eᵗ − 1)/t and ψ(t) = ln(1 + t)/t as power series, exact in float64 for |t| < NEAR. There
# the closed forms of their derivatives cancel.
NEAR = 0.1
GROWTH = tuple(1 / math.factorial(k + 1) for k in range(12))
DECAY = tuple((-1) ** k / (k + 1) for k in range(17))


@dataclass(frozen=True)
class SoftExponential(Learned):
    """Go from logarithm over identity to exponential as the learned α goes from −1 over 0 to 1.

    Forward:  y = −ln(1 − α(x + α))/α for α < 0;  x for α = 0;  (e^(αx) − 1)/α + α for α > 0
    Reverse:  ∂y/∂x = 1/(1 − α(x + α)) for α < 0;  e^(αx) for α ≥ 0;
              ∂y/∂α = ∂y/∂x − (x + α)² ψ'(−α(x + α)),  ψ(t) = ln(1 + t)/t, for α < 0;
              1 + x² φ'(αx),  φ(t) = (eᵗ − 1)/t, for α ≥ 0;  from x
    Range:    (−∞, ∞) for α ≤ 0, (α − 1/α, ∞) for α > 0, increasing
    Smooth:   C¹ in x, by the rule below; C¹ in α at 0, where ∂y/∂α = 1 + x²/2 from both sides
    Kink:     none
    Shapes:   x, y (..., d); α, the parameter "alpha", (d,), or () if it is shared
    Source:   Godfrey & Gashler 2015, arXiv:1602.01321; the sheets, table of activations, where
              the exponential lacks its "+ α", so that ∂y/∂α jumps at α = 0

    For α < 0 the logarithm has values only where x > −α + 1/α, and nothing keeps the input of a
    layer, or α, from moving past that; for α > 0 the exponential overflows. So the slope is
    bounded: where it would exceed max_slope, that is for 1 − α(x + α) < 1/max_slope or
    e^(αx) > max_slope, the function goes on along its tangent. It is then increasing and C¹ for
    every x and α, and ∂y/∂α goes on with the value that it has where the tangent begins.

    Args:
        initial: where every α begins.
        shared: whether one α serves all features.
        max_slope: the bound of the slope. The relative error in float32 near the bound is about
            1e-7 times it.

    Raises:
        ConfigError: initial is not finite, or max_slope is not finite and above 1.
        ShapeError: x has no axis of features, and α is not shared.

    >>> SoftExponential().value(jnp.array(0.0), jnp.array([-3.0, 2.0])).tolist()
    [-3.0, 2.0]
    """

    parameter: ClassVar[str] = "alpha"
    max_slope: float = 64.0

    def __post_init__(self):
        super().__post_init__()
        if not (math.isfinite(self.max_slope) and self.max_slope > 1):
            raise ConfigError(
                f"SoftExponential's max_slope must be finite and above 1, got {self.max_slope}"
            )

    def value(self, p, x):
        up, down, s, beyond = self._bounded(p, x)
        curve = s * _growth(up) * _decay(down) + jnp.maximum(p, 0)
        return curve + self.max_slope * beyond

    def slopes(self, p, x):
        up, down, s, _ = self._bounded(p, x)
        dx = jnp.exp(up) / (1 + down)
        growing = 1 + s * s * _growth_slope(up)
        return jnp.where(p > 0, growing, dx - s * s * _decay_slope(down)), dx

    def _bounded(self, p, x):
        """Where the curve is to be taken, and how far x is beyond that.

        Both branches are one curve, s φ(up) ψ(down) + max(α, 0) with s = x + min(α, 0): up is αs
        for α > 0 and down is −αs for α < 0, and otherwise they are 0, where φ and ψ are 1.
        """
        s = x + jnp.minimum(p, 0)
        up = jnp.minimum(jnp.maximum(p, 0) * s, math.log(self.max_slope))
        down = jnp.maximum(jnp.maximum(-p, 0) * s, 1 / self.max_slope - 1)
        size = jnp.abs(p)
        inside = up + down == size * s
        begin = jnp.where(inside, s, (up + down) / jnp.where(p == 0, jnp.ones_like(p), size))
        return up, down, begin, s - begin


def _growth(t):
    """φ(t) = (eᵗ − 1)/t."""
    near, inside, outside = parted(t, NEAR)
    return jnp.where(near, polynomial(GROWTH, inside), jnp.expm1(outside) / outside)


def _growth_slope(t):
    """φ'(t)."""
    near, inside, outside = parted(t, NEAR)
    closed = (outside * jnp.exp(outside) - jnp.expm1(outside)) / (outside * outside)
    return jnp.where(near, polynomial(derivative(GROWTH), inside), closed)


def _decay(t):
    """ψ(t) = ln(1 + t)/t."""
    near, inside, outside = parted(t, NEAR)
    return jnp.where(near, polynomial(DECAY, inside), jnp.log1p(outside) / outside)


def _decay_slope(t):
    """ψ'(t)."""
    near, inside, outside = parted(t, NEAR)
    closed = (outside / (1 + outside) - jnp.log1p(outside)) / (outside * outside)
    return jnp.where(near, polynomial(derivative(DECAY), inside), closed)
