"""Penalties on structure: whole groups that vanish, layers that are alike, columns at angles."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import jax.numpy as jnp

from .. import tree
from ..errors import ConfigError, nearest
from .core import Arraywise, Proximable, check_found, check_number, on_chosen, zero


@dataclass(frozen=True)
class GroupLasso(Arraywise, Proximable):
    """The lengths of groups of weights, which vanish together: a unit or an input goes as a whole.

    Forward:  strength · Σ_g √p ‖w_g‖,  p the number of weights in a group
    Reverse:  strength · √p w_g/‖w_g‖
    Kink:     0 for a group of zeros
    Prox:     w_g · max(1 − step · strength · √p/‖w_g‖, 0)
    Source:   Yuan & Lin 2006, eq. 2.1; √p makes groups of different sizes pay alike

    Args:
        strength: λ, not negative.
        on: the names of parameters that are penalised, of at least two axes.
        by: "inputs" groups the weights that leave one input (a row), "outputs" those that enter
            one output (a column); of a convolution's weight, those of one channel.

    Raises:
        ConfigError: strength is negative or not finite; a parameter that is meant has one axis.

    >>> params = {"affine1": {"weight": jnp.array([[2.0, 0.0, 0.0, 0.0], [0.5, 0.5, 0.5, 0.5]])}}
    >>> GroupLasso(0.5).prox(params, 1.0)["affine1"]["weight"].tolist()
    [[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]
    """

    by: Literal["inputs", "outputs"] = "inputs"

    def cost(self, w):
        return self._root(w) * jnp.sum(self._lengths(w))

    def slope(self, w):
        lengths = self._lengths(w)
        return jnp.where(lengths > 0, self._root(w) * w / jnp.where(lengths > 0, lengths, 1), 0)

    def prox(self, params, step):
        def shrunk(w):
            lengths, limit = self._lengths(w), step * self.strength * self._root(w)
            kept = jnp.maximum(lengths - limit, 0) / jnp.where(lengths > 0, lengths, 1)
            return w * kept

        return on_chosen(shrunk, params, self.on)

    def check(self, params):
        check_found(self, params, self.on, axes=2)

    def _axis(self, w):
        return w.ndim - (2 if self.by == "inputs" else 1)

    def _root(self, w):
        return math.sqrt(w.size // w.shape[self._axis(w)])

    def _lengths(self, w):
        others = tuple(axis for axis in range(w.ndim) if axis != self._axis(w))
        return jnp.sqrt(jnp.sum(w * w, axis=others, keepdims=True))


@dataclass(frozen=True)
class Orthogonality(Arraywise):
    """How far the weights of each layer are from preserving lengths.

    Forward:  strength/4 · Σ_arrays ‖G − I‖²,  G = WᵀW, or W Wᵀ if W has more columns than rows
    Reverse:  strength · W (WᵀW − I), or strength · (W Wᵀ − I) W
    Shapes:   W (d_in, d_out); of more axes, all but the last are taken together
    Source:   Brock et al. 2017, arXiv:1609.07093, eq. 3; the smaller of the two products is taken,
              because only that can be the identity

    Args:
        strength: λ, not negative.
        on: the names of parameters that are penalised, of at least two axes.

    Raises:
        ConfigError: strength is negative or not finite; a parameter that is meant has one axis.

    >>> float(Orthogonality(4.0).value({"affine1": {"weight": jnp.array([[2.0], [0.0]])}}))
    9.0
    """

    def cost(self, w):
        return 0.25 * jnp.sum(_excess(_upright(w)) ** 2)

    def slope(self, w):
        tall = _upright(w)
        slope = tall @ _excess(tall)
        return (slope if _is_tall(w) else slope.T).reshape(w.shape)

    def check(self, params):
        check_found(self, params, self.on, axes=2)


def _is_tall(w) -> bool:
    return w.size // w.shape[-1] >= w.shape[-1]


def _upright(w):
    """The matrix with at least as many rows as columns."""
    matrix = w.reshape(-1, w.shape[-1])
    return matrix if _is_tall(w) else matrix.T


def _excess(tall):
    return tall.T @ tall - jnp.eye(tall.shape[1], dtype=tall.dtype)


@dataclass(frozen=True)
class Tie(Proximable):
    """Half the squared distance of two parameters, which are to be alike.

    Where they are to be the same, let two nodes have one owner instead.

    Forward:  strength/2 · ‖a − b‖²
    Reverse:  strength · (a − b) for a, strength · (b − a) for b
    Prox:     both move to their mean m: a ← m + (a − m)/(1 + 2 · step · strength), b likewise
    Source:   Training Deep Nets, Parameter Tying and Parameter Sharing, without the half

    Args:
        a, b: the paths of the two parameters, such as "affine1/weight".
        strength: λ, not negative.
        transposed: whether b is to be aᵀ, as in an autoencoder.

    Raises:
        ConfigError: strength is negative or not finite; a and b are one, are not there, or differ
            in shape.

    >>> params = {"affine1": {"weight": jnp.ones((2, 3))}, "affine2": {"weight": jnp.ones((3, 2))}}
    >>> tie = Tie("affine1/weight", "affine2/weight", 1.0, transposed=True)
    >>> tie.check(params); float(tie.value(params))
    0.0
    """

    a: str
    b: str
    strength: float
    transposed: bool = False

    def __post_init__(self):
        check_number(self, "strength", self.strength)
        if self.a == self.b:
            raise ConfigError(
                f"Tie wants two parameters, got '{self.a}' twice", next="name another one"
            )

    def value(self, params):
        return zero(params) + 0.5 * self.strength * jnp.sum(self._gap(params) ** 2)

    def reverse(self, params):
        pull = self.strength * self._gap(params)
        return self._added(tree.zeros_like(params), pull)

    def prox(self, params, step):
        # The mean stays, and the gap shrinks by 1 + 2 · step · strength: each takes half of that.
        factor = step * self.strength
        return self._added(params, -factor / (1 + 2 * factor) * self._gap(params))

    def check(self, params):
        there = tree.named(params)
        for name in (self.a, self.b):
            if name not in there:
                raise ConfigError(
                    f"Tie names '{name}', which is no parameter",
                    where="the network",
                    next=nearest(name, there),
                )
        a, b = tuple(there[self.a].shape), tuple(there[self.b].shape)
        if (a[::-1] if self.transposed else a) != b:
            raise ConfigError(
                f"Tie wants {'transposed' if self.transposed else 'equal'} shapes, "
                f"got {a} of '{self.a}' and {b} of '{self.b}'",
                where="the network",
                next="make the layers fit each other",
            )

    def _gap(self, params):
        there = tree.named(params)
        return there[self.a] - self._turned(there[self.b])

    def _added(self, params, gap):
        """Add the gap to a, and take it from b."""
        found = on_chosen(lambda w: w + gap, params, (self.a,))
        return on_chosen(lambda w: w - self._turned(gap), found, (self.b,))

    def _turned(self, w):
        return w.T if self.transposed else w
