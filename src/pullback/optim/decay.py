"""Decoupled weight decay: parameters shrink by themselves, whatever the rule makes of gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import jax

from .. import tree
from ..penalty.core import covers
from ..tree import Tree
from . import ranges
from .core import Rule, rate_of, require_found, require_inner, require_rate


@dataclass(frozen=True)
class WeightDecay:
    """A rule, and decoupled weight decay beside it.

    Update:  that of the rule, and params ← params − learning_rate · strength · params, both from
             the parameters before the step; learning_rate is the rule's
    State:   the rule's
    Source:  Loshchilov & Hutter 2019, arXiv:1711.05101, algorithms 1 and 2; the decay follows the
             learning rate, as in PyTorch and Optax

    An L2 penalty goes through the gradients instead, where momentum delays it and Adam divides it
    by the size of the gradients. With `SGD` the two are the same.

    Args:
        rule: one with a learning rate.
        strength: the share of the parameters that is taken off, per learning rate.
        on: which parameters decay; see `pullback.penalty.core.covers`.

    Raises:
        ConfigError: strength is negative; the rule has no learning rate; `on` names no parameter.

    >>> import jax.numpy as jnp
    >>> from pullback.optim import SGD
    >>> rule, params = WeightDecay(SGD(0.5), 0.1), {"weight": jnp.array(4.0)}
    >>> updates, _ = rule.update({"weight": jnp.array(1.0)}, rule.init(params), params)
    >>> round(float(updates["weight"]), 4)
    -0.7
    """

    rule: Rule
    strength: float
    on: tuple[str, ...] = ("weight",)
    rated: ClassVar[bool] = True

    def __post_init__(self):
        require_inner(self, self.rule)
        require_rate(self, self.rule)
        ranges.not_negative(self, "strength")

    def init(self, params):
        require_found(self, self.on, params)
        return self.rule.init(params)

    def update(self, grads, state, params):
        updates, after = self.rule.update(grads, state, params)
        return decayed(updates, params, self.rate(state) * self.strength, self.on), after

    def rate(self, state) -> Any:
        """The learning rate of the next update: the rule's."""
        return rate_of(self.rule, state)


def decayed(updates: Tree, params: Tree, share, on: tuple[str, ...]) -> Tree:
    """Updates that also take a share off the parameters which `on` names."""
    shrink = tree.scale(-share, params)
    return jax.tree.map_with_path(
        lambda path, u, s: u + s if covers(on, tree.name_of(path)) else u, updates, shrink
    )
