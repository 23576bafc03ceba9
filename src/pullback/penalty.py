"""Penalties: what the weights cost by themselves, whatever the data and the size of the batch."""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from . import tree
from .errors import ConfigError
from .tree import Tree


@dataclass(frozen=True)
class Penalty:
    """A function of the parameters alone, added to the loss."""

    def value(self, params: Tree) -> Float[Array, ""]:
        """What the parameters cost."""
        raise NotImplementedError

    def reverse(self, params: Tree) -> Tree:
        """The derivative of the value: a tree like the parameters."""
        raise NotImplementedError


@dataclass(frozen=True)
class Sum(Penalty):
    """The sum of penalties. ``Sum()`` is no penalty at all.

    >>> float(Sum().value({"weight": jnp.ones(3)}))
    0.0
    """

    terms: tuple[Penalty, ...] = ()

    def value(self, params):
        return sum((term.value(params) for term in self.terms), start=_zero(params))

    def reverse(self, params):
        total = tree.zeros_like(params)
        for term in self.terms:
            total = tree.add(total, term.reverse(params))
        return total


@dataclass(frozen=True)
class L2(Penalty):
    """Half the squared norm of the chosen parameters.

    Forward:  strength/2 · Σ w²
    Reverse:  strength · w
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

    strength: float
    on: tuple[str, ...] = ("weight",)

    def __post_init__(self):
        if not (math.isfinite(self.strength) and self.strength >= 0):
            raise ConfigError(f"L2's strength must be a number of at least 0, got {self.strength}")
        if not self.on:
            raise ConfigError("L2's `on` names no parameter", next="name some, such as 'weight'")

    def value(self, params):
        chosen = [w for name, w in tree.named(params).items() if self._covers(name)]
        return 0.5 * self.strength * sum((jnp.sum(w * w) for w in chosen), start=_zero(params))

    def reverse(self, params):
        return jax.tree.map_with_path(
            lambda path, w: (
                self.strength * w if self._covers(tree.name_of(path)) else jnp.zeros_like(w)
            ),
            params,
        )

    def _covers(self, name: str) -> bool:
        return name.rsplit("/", 1)[-1] in self.on


def _zero(params: Tree):
    leaves = jax.tree.leaves(params)
    return jnp.zeros((), leaves[0].dtype if leaves else None)
