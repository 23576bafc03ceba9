"""Losses, each of which owns its link from logits to predictions.

A loss is a sum over outputs of terms, averaged over the batch with the examples' weights:

    value = Σ_i share_i Σ_j term(z_ij, t_ij),   share = weight / Σ weight

so that it does not change when an example of weight 2 is given twice instead, and padding of weight
0 is not seen. A subclass writes `terms`, their `slopes`, and the `link`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .errors import ShapeError

Matrix = Float[Array, "n k"]


@dataclass(frozen=True)
class Loss:
    """How wrong predictions are, and the cotangent with which the reverse pass begins."""

    def terms(self, z: Matrix, t: Matrix) -> Matrix:
        """What each output of each example costs."""
        raise NotImplementedError

    def slopes(self, z: Matrix, t: Matrix) -> Matrix:
        """The derivative of each example's cost, all its terms together, with respect to z."""
        raise NotImplementedError

    def link(self, z: Matrix) -> Matrix:
        """The predictions that logits stand for."""
        raise NotImplementedError

    def outputs(self, z: Matrix, t: Matrix, weight: Float[Array, " n"]) -> Float[Array, " k"]:
        """The loss parted by output: Σ_i share_i term_ij. Its sum is the value."""
        return _share(weight) @ self.terms(z, t)

    def forward(
        self, z: Float[Array, " ..."], t: Float[Array, " ..."], weight: Float[Array, " ..."]
    ) -> tuple[Float[Array, ""], Any]:
        """Return the value, and what the reverse needs. Here the shapes are checked.

        Raises:
            ShapeError: z and t differ in shape, or the weights are not one per example.
        """
        if z.shape != t.shape or z.ndim != 2:
            raise ShapeError(
                f"{self} wants logits and targets of one shape (n, k), got {z.shape} and {t.shape}",
                next="give the last map as many outputs as the targets have",
            )
        if weight.shape != z.shape[:1]:
            raise ShapeError(f"{self} wants weights of shape {z.shape[:1]}, got {weight.shape}")
        return jnp.sum(self.outputs(z, t, weight)), (z, t, _share(weight))

    def reverse(self, saved) -> Matrix:
        """The cotangent of z: dz_ij = share_i · slope_ij."""
        z, t, share = saved
        return share[:, None] * self.slopes(z, t)


def _share(weight):
    """Weights that sum to one; a batch in which every weight is 0 has no say, instead of 0/0."""
    total = jnp.sum(weight)
    return weight / jnp.where(total > 0, total, jnp.ones_like(total))


@dataclass(frozen=True)
class SquaredError(Loss):
    """Half the squared distance, for regression, or for probabilities out of a `Softmax` (CA6).

    Forward:  term = ½ (z − t)²
    Reverse:  slope = z − t
    Link:     z itself
    Source:   CA6 eq. (2) and (25), with the half

    >>> z, t = jnp.array([[3.0, 1.0]]), jnp.array([[1.0, 1.0]])
    >>> float(SquaredError().forward(z, t, jnp.ones(1))[0])
    2.0
    """

    def terms(self, z, t):
        return 0.5 * (z - t) ** 2

    def slopes(self, z, t):
        return z - t

    def link(self, z):
        return z


@dataclass(frozen=True)
class SoftmaxCrossEntropy(Loss):
    """Cross-entropy of softmax probabilities, from logits: for one class out of k.

    Forward:  term_j = −t_j log p_j,  log p = z − log Σ_k e^{z_k}
    Reverse:  slope = p Σ_k t_k − t; for targets that sum to one, p − t
    Link:     p = softmax(z)
    Stable:   for |z| ≤ 1e4 in float32; a target of 0 costs exactly 0
    Source:   IFT6390 homework 3, practical part, eq. (4)

    >>> z, t = jnp.array([[1e4, 0.0, 0.0]]), jnp.array([[0.0, 1.0, 0.0]])
    >>> float(SoftmaxCrossEntropy().forward(z, t, jnp.ones(1))[0])
    10000.0
    """

    def terms(self, z, t):
        return -t * jax.nn.log_softmax(z, axis=-1)

    def slopes(self, z, t):
        return jax.nn.softmax(z, axis=-1) * jnp.sum(t, axis=-1, keepdims=True) - t

    def link(self, z):
        return jax.nn.softmax(z, axis=-1)


@dataclass(frozen=True)
class SigmoidCrossEntropy(Loss):
    """Cross-entropy of independent sigmoids, from logits.

    For two classes with one output, or for labels that do not exclude each other.

    Forward:  term = max(z, 0) − z t + log(1 + e^{−|z|})  =  −t log σ(z) − (1 − t) log(1 − σ(z))
    Reverse:  slope = σ(z) − t
    Link:     σ(z) = 1/(1 + e^{−z})
    Stable:   for |z| ≤ 1e4 in float32
    Source:   Training Deep Nets, logistic regression

    >>> z, t = jnp.array([[-1e4]]), jnp.array([[1.0]])
    >>> float(SigmoidCrossEntropy().forward(z, t, jnp.ones(1))[0])
    10000.0
    """

    def terms(self, z, t):
        return jnp.maximum(z, 0) - z * t + jnp.log1p(jnp.exp(-jnp.abs(z)))

    def slopes(self, z, t):
        return jax.nn.sigmoid(z) - t

    def link(self, z):
        return jax.nn.sigmoid(z)
