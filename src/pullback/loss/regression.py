"""Losses of numbers: how far predictions are from their targets."""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp

from ..errors import ConfigError
from .core import Loss, unfit


@dataclass(frozen=True)
class Residual(Loss):
    """A function of each residual r = z − t. A subclass writes its `cost` and `slope`.

    Forward:  term = cost(z − t)
    Reverse:  slope of the cost at z − t
    Link:     z itself
    """

    def cost(self, r):
        """What a residual costs."""
        raise NotImplementedError

    def slope(self, r):
        """The derivative of the cost."""
        raise NotImplementedError

    def terms(self, z, t):
        return self.cost(z - t)

    def slopes(self, z, t):
        return self.slope(z - t)

    def link(self, z):
        return z


@dataclass(frozen=True)
class SquaredError(Residual):
    """Half the squared distance, for regression, or for probabilities out of a `Softmax` (CA6).

    Forward:  term = ½ (z − t)²
    Reverse:  slope = z − t
    Link:     z itself; at the minimum the mean of t, for classes their probability
    Source:   CA6 eq. (2) and (25), with the half

    >>> z, t = jnp.array([[3.0, 1.0]]), jnp.array([[1.0, 1.0]])
    >>> float(SquaredError().forward(z, t, jnp.ones(1))[0])
    2.0
    """

    @property
    def probabilities(self):
        return True

    def cost(self, r):
        return 0.5 * r**2

    def slope(self, r):
        return r


@dataclass(frozen=True)
class AbsoluteError(Residual):
    """The distance itself, which outliers move less than its square; it finds the median.

    Forward:  term = |z − t|
    Reverse:  slope = sign(z − t)
    Kink:     at z = t the slope is 0
    Link:     z itself; at the minimum the median of t

    >>> z, t = jnp.array([[3.0, 1.0]]), jnp.array([[1.0, 1.0]])
    >>> float(AbsoluteError().forward(z, t, jnp.ones(1))[0])
    2.0
    """

    def cost(self, r):
        return jnp.abs(r)

    def slope(self, r):
        return jnp.sign(r)


@dataclass(frozen=True)
class Huber(Residual):
    """Squared error near the target, absolute error beyond `delta`: smooth, and robust.

    Forward:  term = ½ r² where |r| ≤ δ, else δ (|r| − ½ δ),  r = z − t
    Reverse:  slope = r, held within ±δ
    Link:     z itself
    Source:   Huber 1964, §3

    Args:
        delta: δ, from which residual on the cost grows linearly.

    Raises:
        ConfigError: delta is not a positive finite number.

    >>> z, t = jnp.array([[0.5, 3.0]]), jnp.array([[0.0, 0.0]])
    >>> Huber().terms(z, t).tolist()
    [[0.125, 2.5]]
    """

    delta: float = 1.0

    def __post_init__(self):
        if not 0 < self.delta < float("inf"):
            raise ConfigError(f"Huber's delta must be a positive number, got {self.delta}")

    def cost(self, r):
        # The square of the part within δ, and δ for each unit beyond it: no large square is taken.
        near = jnp.minimum(jnp.abs(r), self.delta)
        return near * (jnp.abs(r) - 0.5 * near)

    def slope(self, r):
        return jnp.clip(r, -self.delta, self.delta)


@dataclass(frozen=True)
class Quantile(Residual):
    """The pinball loss: its minimum is a quantile of the target, not its mean.

    Forward:  term = level · (t − z) where z ≤ t, else (1 − level) · (z − t)
    Reverse:  slope = −level where z < t, 1 − level where z > t
    Kink:     at z = t the slope is 0
    Link:     z itself; at the minimum the level-quantile of t
    Source:   Koenker & Bassett 1978, eq. 2.3

    Args:
        level: which quantile; 0.5 is the median, at half the cost of `AbsoluteError`.

    Raises:
        ConfigError: level is not in (0, 1).

    >>> z, t = jnp.array([[0.0, 2.0]]), jnp.array([[1.0, 1.0]])
    >>> Quantile(0.75).terms(z, t).tolist()
    [[0.75, 0.25]]
    """

    level: float = 0.5

    def __post_init__(self):
        if not 0 < self.level < 1:
            raise ConfigError(f"Quantile's level must be in (0, 1), got {self.level}")

    def check(self, t):
        if t is None:
            raise unfit(self, "numbers", t)

    def cost(self, r):
        return jnp.maximum((1 - self.level) * r, -self.level * r)

    def slope(self, r):
        below, above = jnp.full_like(r, -self.level), jnp.full_like(r, 1 - self.level)
        return jnp.where(r > 0, above, jnp.where(r < 0, below, jnp.zeros_like(r)))


@dataclass(frozen=True)
class CosineDistance(Loss):
    """One minus the cosine of the angle between prediction and target; their lengths do not count.

    Forward:  term_j = 1/k − u_j v_j,  u = z/‖z‖,  v = t/‖t‖;  their sum is 1 − cos
    Reverse:  slope = (u (u·v) − v)/‖z‖
    Kink:     a vector of zeros has no direction: its u (or v) is 0, the cost 1, and the slope 0
    Link:     u, the direction

    >>> z, t = jnp.array([[3.0, 0.0]]), jnp.array([[0.0, 0.5]])
    >>> float(CosineDistance().forward(z, t, jnp.ones(1))[0])
    1.0
    """

    def check(self, t):
        if t is not None and t.shape[1] < 2:
            raise unfit(self, "rows of at least two numbers", t)

    def terms(self, z, t):
        return 1 / t.shape[1] - _direction(z)[0] * _direction(t)[0]

    def slopes(self, z, t):
        (u, inverse), (v, _) = _direction(z), _direction(t)
        return inverse * (u * jnp.sum(u * v, axis=-1, keepdims=True) - v)

    def link(self, z):
        return _direction(z)[0]


def _direction(z):
    """The unit vector along each row, and the inverse of its length; zeros for a row of zeros."""
    top = jnp.max(jnp.abs(z), axis=-1, keepdims=True)  # taken out, so that no square underflows
    some = top > 0
    scaled = z / jnp.where(some, top, 1)
    length = jnp.sqrt(jnp.sum(scaled**2, axis=-1, keepdims=True))
    inverse = jnp.where(some, 1 / jnp.where(some, length, 1), 0)
    return scaled * inverse, inverse / jnp.where(some, top, 1)
