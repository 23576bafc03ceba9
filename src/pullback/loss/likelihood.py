"""Losses that are minus the logarithm of a likelihood, without what no output can change."""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from ..errors import ConfigError
from .core import Loss, unfit


@dataclass(frozen=True)
class GaussianLikelihood(Loss):
    """A normal distribution for each target, whose variance is learned beside its mean.

    The network gives two outputs for each target: all means first, then all raw log-variances s.

    Forward:  term = ½ (log v + (t − m)²/v),  v = e^s + ε
    Reverse:  slope_m = (m − t)/v,  slope_s = ½ (1 − (t − m)²/v) · e^s/v
    Link:     m; `deviation` gives √v
    Shapes:   z (n, 2k); t (n, k)
    Stable:   for |z| ≤ 1e4 in float32, because e^s itself is never taken
    Source:   Nix & Weigend 1994, eq. 4, without ½ log 2π. ε belongs to the variance, in value and
              derivative alike; where it is a bound on the value only, the derivative is of another
              function

    Args:
        eps: ε, the smallest variance, without which a target that is met exactly costs −∞.

    Raises:
        ConfigError: eps is not a positive finite number.

    >>> z, t = jnp.array([[1.0, 0.0]]), jnp.array([[3.0]])
    >>> round(float(GaussianLikelihood().forward(z, t, jnp.ones(1))[0]), 4)
    2.0
    """

    eps: float = 1e-6

    def __post_init__(self):
        if not 0 < self.eps < math.inf:
            raise ConfigError(f"GaussianLikelihood's eps must be a positive number, got {self.eps}")

    def check(self, t):
        if t is None:
            raise unfit(self, "numbers", t)

    def width(self, columns):
        return 2 * columns

    def terms(self, z, t):
        mean, _, log_variance = self._parted(z)
        return 0.5 * (log_variance + (t - mean) ** 2 * jnp.exp(-log_variance))

    def slopes(self, z, t):
        mean, raw, log_variance = self._parted(z)
        by_mean = (mean - t) * jnp.exp(-log_variance)
        share = jax.nn.sigmoid(raw - math.log(self.eps))  # e^s/v
        by_raw = 0.5 * (1 + by_mean * (t - mean)) * share
        return jnp.concatenate([by_mean, by_raw], axis=-1)

    def link(self, z):
        return self._parted(z)[0]

    def deviation(self, z):
        """The standard deviation of each target, as the network sees it."""
        return jnp.exp(0.5 * self._parted(z)[2])

    def _parted(self, z):
        """The mean, the raw log-variance s, and log v = log(e^s + ε)."""
        mean, raw = jnp.split(z, 2, axis=-1)
        return mean, raw, jnp.logaddexp(raw, math.log(self.eps))


@dataclass(frozen=True)
class PoissonLikelihood(Loss):
    """A Poisson distribution for each count, from the logarithm of its rate.

    Forward:  term = e^z − t z
    Reverse:  slope = e^z − t
    Link:     e^z, the expected count
    Stable:   for |z| ≤ 80 in float32: the rate itself is infinite beyond 88
    Source:   Nelder & Wedderburn 1972, without log t!

    >>> z, t = jnp.array([[0.0]]), jnp.array([[3.0]])
    >>> PoissonLikelihood().terms(z, t).tolist(), PoissonLikelihood().slopes(z, t).tolist()
    ([[1.0]], [[-2.0]])
    """

    def check(self, t):
        if t is None or t.min() < 0:
            raise unfit(self, "counts, numbers of at least 0", t)

    def terms(self, z, t):
        return jnp.exp(z) - t * z

    def slopes(self, z, t):
        return jnp.exp(z) - t

    def link(self, z):
        return jnp.exp(z)
