"""Rectifiers with a corner at 0: one straight line above it, another below."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp

from ...errors import ConfigError
from ..core import Map
from .base import Elementwise, Learned


@dataclass(frozen=True)
class Relu(Elementwise):
    """The rectified linear unit.

    Forward:  y = max(x, 0)
    Reverse:  dx = dy where y > 0, else 0
    Range:    [0, ∞), not falling
    Smooth:   C⁰
    Kink:     at x = 0, y = 0 and the slope is 0
    Shapes:   x, y of any one shape
    Source:   Glorot, Bordes & Bengio 2011; IFT6390 homework 3, theoretical part, 1.7

    >>> Relu().value(jnp.array([-1.0, 2.0])).tolist()
    [0.0, 2.0]
    """

    def value(self, x):
        return jnp.maximum(x, 0)

    def slope(self, kept):
        return (kept > 0).astype(kept.dtype)


@dataclass(frozen=True)
class LeakyRelu(Elementwise):
    """A rectifier that lets a little through below 0.

    Forward:  y = x where x > 0, else negative_slope · x
    Reverse:  dx = dy where y > 0, else negative_slope · dy
    Range:    (−∞, ∞), increasing
    Smooth:   C⁰
    Kink:     at x = 0, y = 0 and the slope is negative_slope
    Shapes:   x, y of any one shape
    Source:   Maas, Hannun & Ng 2013; the notes "Neural Networks", 2.2.3

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
class Prelu(Learned):
    """A rectifier whose slope a below 0 is learned.

    Forward:  y = x where x > 0, else a x
    Reverse:  da = Σ dy · min(x, 0),  dx = dy where x > 0, else a dy;  from x
    Range:    (−∞, ∞), increasing, while a > 0
    Smooth:   C⁰, while a ≠ 1
    Kink:     at x = 0, y = 0 and the slope is a
    Shapes:   x, y (..., d); a, the parameter "slope", (d,), or () if it is shared
    Source:   He et al. 2015, arXiv:1502.01852, 2.1; a is not penalised, as there

    Args:
        initial: where every slope begins.
        shared: whether one slope serves all features.

    Raises:
        ConfigError: initial is not finite.
        ShapeError: x has no axis of features, and the slope is not shared.

    >>> Prelu().init(None, jnp.ones((2, 3)))[0]["slope"].tolist()
    [0.25, 0.25, 0.25]
    """

    parameter: ClassVar[str] = "slope"
    initial: float = 0.25

    def value(self, p, x):
        return jnp.where(x > 0, x, p * x)

    def slopes(self, p, x):
        return jnp.minimum(x, 0), jnp.where(x > 0, jnp.ones_like(x), p)


@dataclass(frozen=True)
class RandomizedLeakyRelu(Map):
    """A leaky rectifier whose slope a is drawn anew for each entry in training (RReLU).

    Forward:  y = x where x > 0, else a x;  a uniform in [lower, upper] in training, in evaluation
              (lower + upper)/2
    Reverse:  dx = dy where x > 0, else a dy;  the slopes are saved
    Range:    (−∞, ∞), increasing
    Smooth:   C⁰
    Kink:     at x = 0, y = 0 and the slope is a
    Shapes:   x, y of any one shape
    Source:   Xu et al. 2015, arXiv:1505.00853, 2.4. There 1/a is uniform in [3, 8] and 2/11 in
              evaluation; here, as in PyTorch, a is, with the same bounds, so that evaluation is the
              mean of training

    Args:
        lower: the least slope below zero.
        upper: the greatest.

    Raises:
        ConfigError: not 0 ≤ lower ≤ upper ≤ 1; or a training pass without a random key.

    >>> from ..core import Run
    >>> RandomizedLeakyRelu(0.25, 0.75).forward({}, {}, jnp.array([-1.0, 2.0]), Run())[0].tolist()
    [-0.5, 2.0]
    """

    lower: float = 1 / 8
    upper: float = 1 / 3

    def __post_init__(self):
        if not 0 <= self.lower <= self.upper <= 1:
            raise ConfigError(
                "RandomizedLeakyRelu wants 0 ≤ lower ≤ upper ≤ 1, "
                f"got lower {self.lower} and upper {self.upper}"
            )

    def forward(self, params, state, x, run):
        if not run.train:
            below = jnp.full_like(x, (self.lower + self.upper) / 2)
        elif run.key is None:
            raise ConfigError(
                "RandomizedLeakyRelu draws its slopes in training, got no random key",
                next="give Run a key",
            )
        else:
            below = jax.random.uniform(run.key, x.shape, x.dtype, self.lower, self.upper)
        slope = jnp.where(x > 0, jnp.ones_like(x), below)
        return slope * x, slope, state

    def reverse(self, params, saved, dy):
        return {}, dy * saved
