"""The contract of a penalty: what the weights cost by themselves, whatever the data and the batch.

A penalty acts through its derivative, which joins the gradient, or by what it does to the
parameters after each update: a proximal step, a projection. Parameters are chosen by name.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .. import tree
from ..errors import ConfigError
from ..tree import Tree

WEIGHTS = ("weight",)


@dataclass(frozen=True)
class Penalty:
    """A function of the parameters alone, added to the loss."""

    def value(self, params: Tree) -> Float[Array, ""]:
        """What the parameters cost."""
        raise NotImplementedError

    def reverse(self, params: Tree) -> Tree:
        """The derivative of the value: a tree like the parameters."""
        raise NotImplementedError

    @property
    def differentiated(self) -> Penalty:
        """The part of it that acts through its derivative, which a gradient check may check."""
        return self

    @property
    def wants_rate(self) -> bool:
        """Whether `after_step` must know the learning rate."""
        return False

    @property
    def acts_after(self) -> bool:
        """Whether it changes the parameters after each update."""
        return type(self).after_step is not Penalty.after_step

    def after_step(self, params: Tree, rate: Any) -> Tree:
        """The parameters as they are after each update: the same, unless said otherwise.

        Args:
            params: as the update left them.
            rate: the learning rate of that update, or None if nobody knows it.
        """
        return params

    def check(self, params: Tree) -> None:
        """Refuse a network that does not have the parameters that are meant.

        Args:
            params: of the network, or their shapes.

        Raises:
            ConfigError: a name is of no parameter, or of one that does not suit.
        """


@dataclass(frozen=True)
class Proximable(Penalty):
    """A penalty whose proximal step has a closed form."""

    def prox(self, params: Tree, step: Any) -> Tree:
        """The proximal step: argmin_p ½ ‖p − params‖² + step · value(p)."""
        raise NotImplementedError


@dataclass(frozen=True)
class Sum(Penalty):
    """The sum of penalties; after an update each acts in its turn. ``Sum()`` is none at all.

    >>> float(Sum().value({"weight": jnp.ones(3)}))
    0.0
    """

    terms: tuple[Penalty, ...] = ()

    def value(self, params):
        return sum((term.value(params) for term in self.terms), start=zero(params))

    def reverse(self, params):
        total = tree.zeros_like(params)
        for term in self.terms:
            total = tree.add(total, term.reverse(params))
        return total

    @property
    def differentiated(self):
        return Sum(tuple(term.differentiated for term in self.terms))

    @property
    def wants_rate(self):
        return any(term.wants_rate for term in self.terms)

    @property
    def acts_after(self):
        return any(term.acts_after for term in self.terms)

    def after_step(self, params, rate):
        for term in self.terms:
            params = term.after_step(params, rate)
        return params

    def check(self, params):
        for term in self.terms:
            term.check(params)


@dataclass(frozen=True)
class Arraywise(Penalty):
    """A sum over the chosen arrays, each by itself. A subclass writes its `cost` and `slope`.

    Forward:  strength · Σ cost(w)
    Reverse:  strength · slope(w)

    Args:
        strength: λ, not negative.
        on: which parameters; see `covers`. Biases are left out unless they are named.

    Raises:
        ConfigError: strength is negative or not finite; `on` is empty.
    """

    strength: float
    on: tuple[str, ...] = WEIGHTS

    def __post_init__(self):
        check_number(self, "strength", self.strength)
        check_names(self, self.on)

    def cost(self, w):
        """What one array costs, without the strength."""
        raise NotImplementedError

    def slope(self, w):
        """The derivative of the cost."""
        raise NotImplementedError

    def value(self, params):
        return self.strength * sum(map(self.cost, chosen(params, self.on)), start=zero(params))

    def reverse(self, params):
        return on_chosen(
            lambda w: self.strength * self.slope(w), params, self.on, others=jnp.zeros_like
        )

    def check(self, params):
        check_found(self, params, self.on)


def covers(on: tuple[str, ...], name: str) -> bool:
    """Whether one of the entries means the parameter of this name.

    An entry is the parameter's own name (``"weight"``), or the beginning of its path, in whole
    parts: a layer or a block (``"affine2"``), or the parameter itself (``"affine2/weight"``).

    >>> covers(("affine2",), "affine2/bias"), covers(("weight",), "skip1/affine2/weight")
    (True, True)
    >>> covers(("affine2",), "affine21/bias"), covers(("affine2",), "skip1/affine2/bias")
    (False, False)
    """
    own = name.rsplit("/", 1)[-1]
    return any(entry in (name, own) or name.startswith(f"{entry}/") for entry in on)


def chosen(params: Tree, on: tuple[str, ...]) -> list[Any]:
    """The parameters that the entries mean."""
    return [w for name, w in tree.named(params).items() if covers(on, name)]


def on_chosen(
    change: Callable, params: Tree, on: tuple[str, ...], others: Callable = lambda w: w
) -> Tree:
    """Apply a function to the parameters that the entries mean, and another to the others."""
    return jax.tree.map_with_path(
        lambda path, w: change(w) if covers(on, tree.name_of(path)) else others(w), params
    )


def zero(params: Tree) -> Float[Array, ""]:
    """No cost, in the precision of the parameters."""
    leaves = jax.tree.leaves(params)
    return jnp.zeros((), leaves[0].dtype if leaves else None)


def check_number(penalty: Penalty, name: str, value: float) -> None:
    """Refuse a strength that is negative or not finite."""
    if not (math.isfinite(value) and value >= 0):
        raise ConfigError(
            f"{type(penalty).__name__}'s {name} must be a number of at least 0, got {value}"
        )


def check_names(penalty: Penalty, on: tuple[str, ...]) -> None:
    """Refuse a choice of nothing."""
    if not on:
        raise ConfigError(
            f"{type(penalty).__name__}'s `on` names no parameter",
            next="name some, such as 'weight'",
        )


def check_found(penalty: Penalty, params: Tree, on: tuple[str, ...], axes: int = 0) -> None:
    """Refuse an entry that means no parameter, or one of fewer axes than are wanted."""
    there = tree.named(params)
    for entry in on:
        found = [name for name in there if covers((entry,), name)]
        if not found:
            raise ConfigError(
                f"{type(penalty).__name__}'s `on` names '{entry}', which is no parameter",
                where="the network",
                next=f"there are {', '.join(there) or 'none'}",
            )
        flat = [name for name in found if there[name].ndim < axes]
        if flat:
            raise ConfigError(
                f"{type(penalty).__name__} wants arrays of at least {axes} axes, "
                f"got '{flat[0]}' of shape {tuple(there[flat[0]].shape)}",
                where="the network",
                next="name weights only",
            )
