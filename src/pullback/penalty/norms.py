"""Penalties by size: norms of the weights."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from .core import (
    WEIGHTS,
    Arraywise,
    Proximable,
    Sum,
    check_found,
    check_names,
    check_number,
    on_chosen,
)


@dataclass(frozen=True)
class L2(Arraywise, Proximable):
    """Half the squared norm of the chosen parameters.

    Forward:  strength/2 · Σ w²
    Reverse:  strength · w
    Prox:     w/(1 + step · strength)
    Source:   CA6 eq. (23), where all weights and biases are meant; IFT6390 and the notes write λ Σ
              w² and λ/(2m) Σ w²

    Args:
        strength: λ, not negative.
        on: the names of parameters that are penalised; biases are left out unless they are named.

    Raises:
        ConfigError: strength is negative or not finite.

    >>> float(L2(0.5).value({"affine1": {"weight": jnp.array([[2.0]]), "bias": jnp.array([9.0])}}))
    1.0
    """

    def cost(self, w):
        return 0.5 * jnp.sum(w * w)

    def slope(self, w):
        return w

    def prox(self, params, step):
        return on_chosen(lambda w: w / (1 + step * self.strength), params, self.on)


@dataclass(frozen=True)
class L1(Arraywise, Proximable):
    """The sum of magnitudes, under which small weights die out.

    By its subgradient weights only hover about zero; its proximal step makes them exactly zero.

    Forward:  strength · Σ |w|
    Reverse:  strength · sign(w)
    Kink:     sign(0) = 0
    Prox:     w − (w held within ±step · strength)
    Source:   Training Deep Nets, L¹ regularization; the sheets; Tibshirani 1996

    Args:
        strength: λ, not negative.
        on: the names of parameters that are penalised.

    Raises:
        ConfigError: strength is negative or not finite.

    >>> params = {"affine1": {"weight": jnp.array([[2.0, -0.25]])}}
    >>> L1(0.5).prox(params, 1.0)["affine1"]["weight"].tolist()
    [[1.5, 0.0]]
    """

    def cost(self, w):
        return jnp.sum(jnp.abs(w))

    def slope(self, w):
        return jnp.sign(w)

    def prox(self, params, step):
        limit = step * self.strength
        return on_chosen(lambda w: w - jnp.clip(w, -limit, limit), params, self.on)


@dataclass(frozen=True)
class ElasticNet(Proximable):
    """`L1` and `L2` together: sparse, and steady where inputs go together.

    The elastic net of IFT6390 with λ₁₁, λ₁₂, λ₂₁, λ₂₂ is two of these, one on each layer's weight,
    with l1 = λ₁₁, l2 = 2 λ₁₂ and so on, since it does not halve the square.

    Forward:  l1 · Σ |w| + l2/2 · Σ w²
    Reverse:  l1 · sign(w) + l2 · w
    Kink:     sign(0) = 0
    Prox:     that of `L1`, then that of `L2`
    Source:   IFT6390 homework 3, theoretical part, eq. (2.69); Zou & Hastie 2005

    Args:
        l1: the strength of the magnitudes, not negative.
        l2: the strength of the squares, not negative.
        on: the names of parameters that are penalised.

    Raises:
        ConfigError: a strength is negative or not finite.

    >>> float(ElasticNet(0.5, 1.0).value({"affine1": {"weight": jnp.array([[-2.0]])}}))
    3.0
    """

    l1: float
    l2: float
    on: tuple[str, ...] = WEIGHTS

    def __post_init__(self):
        check_number(self, "l1", self.l1)
        check_number(self, "l2", self.l2)
        check_names(self, self.on)

    def value(self, params):
        return self._sum().value(params)

    def reverse(self, params):
        return self._sum().reverse(params)

    def prox(self, params, step):
        return L2(self.l2, self.on).prox(L1(self.l1, self.on).prox(params, step), step)

    def check(self, params):
        check_found(self, params, self.on)

    def _sum(self):
        return Sum((L1(self.l1, self.on), L2(self.l2, self.on)))


@dataclass(frozen=True)
class Linf(Arraywise, Proximable):
    """The largest magnitude of each array: no weight stands out.

    Forward:  strength · Σ_arrays max |w|
    Reverse:  strength · sign(w) at the entry of largest magnitude, 0 elsewhere
    Kink:     a tie goes to the first entry, row by row; sign(0) = 0
    Prox:     w held within ±θ, where Σ max(|w| − θ, 0) = step · strength; 0 if Σ |w| is no more
    Source:   the sheets, two-tower network, ‖W₁‖∞; prox: Parikh & Boyd 2014, §6.5.2, with the
              projection onto the ℓ1 ball of Duchi et al. 2008, fig. 1

    Args:
        strength: λ, not negative.
        on: the names of parameters that are penalised.

    Raises:
        ConfigError: strength is negative or not finite.

    >>> params = {"affine1": {"weight": jnp.array([[3.0, -5.0]])}}
    >>> Linf(2.0).reverse(params)["affine1"]["weight"].tolist()
    [[0.0, -2.0]]
    >>> Linf(4.0).prox(params, 1.0)["affine1"]["weight"].tolist()
    [[2.0, -2.0]]
    """

    def cost(self, w):
        return jnp.max(jnp.abs(w))

    def slope(self, w):
        flat = w.ravel()
        top = jnp.argmax(jnp.abs(flat))
        return jnp.zeros_like(flat).at[top].set(jnp.sign(flat[top])).reshape(w.shape)

    def prox(self, params, step):
        return on_chosen(lambda w: _level(w, step * self.strength), params, self.on)


def _level(w, mass):
    """Cut off the peaks of |w| at the height above which their mass is the one given."""
    peaks = jnp.sort(jnp.abs(w).ravel())[::-1]
    # The height if the first so many peaks were the only ones cut: the right number gives the most.
    heights = (jnp.cumsum(peaks) - mass) / jnp.arange(1, w.size + 1, dtype=w.dtype)
    height = jnp.maximum(jnp.max(heights), 0)
    return jnp.clip(w, -height, height)


@dataclass(frozen=True)
class LogSumExp(Arraywise):
    """A smooth maximum of each array: the largest entries pay for all.

    Forward:  strength · Σ_arrays log Σ e^w
    Reverse:  strength · softmax(w), over all entries of the array
    Stable:   for |w| ≤ 1e4 in float32
    Source:   the sheets, two-tower network, ln Σ e^{W₂}

    Args:
        strength: λ, not negative.
        on: the names of parameters that are penalised.

    Raises:
        ConfigError: strength is negative or not finite.

    >>> params = {"affine1": {"weight": jnp.zeros((2, 2))}}
    >>> LogSumExp(1.0).reverse(params)["affine1"]["weight"].tolist()
    [[0.25, 0.25], [0.25, 0.25]]
    """

    def cost(self, w):
        return jax.nn.logsumexp(w)

    def slope(self, w):
        return jax.nn.softmax(w, axis=None)
