"""The identity, and a bend of it."""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp

from .base import Elementwise


@dataclass(frozen=True)
class Identity(Elementwise):
    """Return x.

    Forward:  y = x
    Reverse:  dx = dy; nothing is saved
    Range:    (−∞, ∞), increasing
    Smooth:   C^∞
    Kink:     none
    Shapes:   x, y of any one shape
    Source:   the sheets, table of activations

    >>> float(Identity().value(jnp.array(2.0)))
    2.0
    """

    def value(self, x):
        return x

    def kept(self, x, y):
        return None

    def slope(self, kept):
        return 1


@dataclass(frozen=True)
class BentIdentity(Elementwise):
    """Bend the identity: slope ½ far below 0, 3/2 far above.

    Forward:  y = (√(x² + 1) − 1)/2 + x
    Reverse:  dx = dy · (x/(2 √(x² + 1)) + 1), from x
    Range:    (−∞, ∞), increasing
    Smooth:   C^∞
    Kink:     none
    Shapes:   x, y of any one shape
    Source:   the sheets, table of activations; its value lacks the division by 2 that its
              derivative has

    >>> float(BentIdentity().value(jnp.array(0.0)))
    0.0
    """

    def value(self, x):
        # √(x² + 1) − 1 without the cancellation near 0.
        return x * x / (2 * (jnp.sqrt(x * x + 1) + 1)) + x

    def kept(self, x, y):
        return x

    def slope(self, kept):
        return kept / (2 * jnp.sqrt(kept * kept + 1)) + 1
