"""Cross-entropies, from logits: their predictions are probabilities."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from ..errors import ConfigError
from .core import Loss, unfit


@dataclass(frozen=True)
class SoftmaxCrossEntropy(Loss):
    """Cross-entropy of softmax probabilities, from logits: for one class out of k.

    Forward:  term_j = −t_j log p_j,  log p = z − log Σ_k e^{z_k}
    Reverse:  slope = p Σ_k t_k − t; for targets that sum to one, p − t
    Link:     p = softmax(z)
    Stable:   for |z| ≤ 1e4 in float32; a target of 0 costs exactly 0
    Source:   IFT6390 homework 3, practical part, eq. (4); smoothing: Szegedy et al. 2016, §7

    Args:
        smoothing: s; the targets become (1 − s) t + s/k, so that no logit is driven to infinity. A
            loss reported with it is the smoothed one.

    Raises:
        ConfigError: smoothing is not in [0, 1).

    >>> z, t = jnp.array([[1e4, 0.0, 0.0]]), jnp.array([[0.0, 1.0, 0.0]])
    >>> float(SoftmaxCrossEntropy().forward(z, t, jnp.ones(1))[0])
    10000.0
    """

    smoothing: float = 0.0

    def __post_init__(self):
        _check_smoothing(self)

    @property
    def probabilities(self):
        return True

    def check(self, t):
        if t is not None and not (_are_shares(t) and np.allclose(t.sum(axis=1), 1)):
            raise unfit(self, "classes or probabilities", t)

    def terms(self, z, t):
        return -self._smooth(t) * jax.nn.log_softmax(z, axis=-1)

    def slopes(self, z, t):
        t = self._smooth(t)
        return jax.nn.softmax(z, axis=-1) * jnp.sum(t, axis=-1, keepdims=True) - t

    def link(self, z):
        return jax.nn.softmax(z, axis=-1)

    def _smooth(self, t):
        return (1 - self.smoothing) * t + self.smoothing / t.shape[-1]


@dataclass(frozen=True)
class SigmoidCrossEntropy(Loss):
    """Cross-entropy of independent sigmoids, from logits.

    For two classes with one output, or for labels that do not exclude each other.

    Forward:  term = max(z, 0) − z t + log(1 + e^{−|z|})  =  −t log σ(z) − (1 − t) log(1 − σ(z))
    Reverse:  slope = σ(z) − t
    Link:     σ(z) = 1/(1 + e^{−z})
    Stable:   for |z| ≤ 1e4 in float32
    Source:   Training Deep Nets, logistic regression; smoothing: Szegedy et al. 2016, §7

    Args:
        smoothing: s; the targets become (1 − s) t + s/2.

    Raises:
        ConfigError: smoothing is not in [0, 1).

    >>> z, t = jnp.array([[-1e4]]), jnp.array([[1.0]])
    >>> float(SigmoidCrossEntropy().forward(z, t, jnp.ones(1))[0])
    10000.0
    """

    smoothing: float = 0.0

    def __post_init__(self):
        _check_smoothing(self)

    @property
    def probabilities(self):
        return True

    def check(self, t):
        if t is not None and not _are_shares(t):
            raise unfit(self, "classes or probabilities", t)

    def columns(self, classes):
        return 1 if classes == 2 else classes

    def terms(self, z, t):
        return jnp.maximum(z, 0) - z * self._smooth(t) + jnp.log1p(jnp.exp(-jnp.abs(z)))

    def slopes(self, z, t):
        return jax.nn.sigmoid(z) - self._smooth(t)

    def link(self, z):
        return jax.nn.sigmoid(z)

    def _smooth(self, t):
        return (1 - self.smoothing) * t + self.smoothing / 2


def _check_smoothing(loss: SoftmaxCrossEntropy | SigmoidCrossEntropy) -> None:
    if not 0 <= loss.smoothing < 1:
        raise ConfigError(
            f"{type(loss).__name__}'s smoothing must be in [0, 1), got {loss.smoothing}"
        )


def _are_shares(t: np.ndarray) -> bool:
    return bool(t.min() >= 0 and t.max() <= 1)
