"""What is done to the parameters after each update: proximal steps and projections."""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax.numpy as jnp

from .. import tree
from ..errors import ConfigError
from .core import (
    WEIGHTS,
    Penalty,
    Proximable,
    Sum,
    check_found,
    check_names,
    on_chosen,
    zero,
)


@dataclass(frozen=True)
class Proximal(Penalty):
    """A penalty that acts by its proximal step after each update, not through its derivative.

    So weights become exactly zero under `L1`, and groups of them under `GroupLasso`. With plain
    gradient descent (`SGD`) this is the proximal gradient method. Other rules move further than
    their learning rate times the gradient, by momentum or by dividing by its size, and the penalty
    then counts for less: with a momentum of 0.9 about a tenth, and with `Adam` few zeros are left.

    Forward:  that of the penalty
    Reverse:  0: what the penalty does, it does after the update
    Prox:     after each update, that of the penalty with step = the learning rate of the update
    Source:   Parikh & Boyd 2014, §4.2

    Raises:
        ConfigError: the penalty's proximal step has no closed form.

    >>> from pullback.penalty import L1
    >>> params = {"affine1": {"weight": jnp.array([[2.0, 0.25]])}}
    >>> Proximal(L1(1.0)).after_step(params, 0.5)["affine1"]["weight"].tolist()
    [[1.5, 0.0]]
    """

    penalty: Penalty

    def __post_init__(self):
        if not isinstance(self.penalty, Proximable):
            raise ConfigError(
                f"{type(self.penalty).__name__} has no proximal step in closed form",
                next="let it act through its derivative",
            )

    def value(self, params):
        return self.penalty.value(params)

    def reverse(self, params):
        return tree.zeros_like(params)

    @property
    def differentiated(self):
        return Sum()

    @property
    def wants_rate(self):
        return True

    def after_step(self, params, rate):
        assert isinstance(self.penalty, Proximable)
        return self.penalty.prox(params, rate)

    def check(self, params):
        self.penalty.check(params)


@dataclass(frozen=True)
class MaxNorm(Penalty):
    """A bound on the length of each unit's incoming weights: longer ones are cut to it.

    Forward:  0
    Reverse:  0
    Prox:     after each update, w_j · min(1, limit/‖w_j‖) for each column w_j: the projection
    Shapes:   the last axis counts the units; a bias is one number for each
    Source:   Srebro et al. 2005; Srivastava et al. 2014, §5.1

    Args:
        limit: the greatest length.
        on: the names of parameters that are bounded.

    Raises:
        ConfigError: limit is not a positive finite number.

    >>> params = {"affine1": {"weight": jnp.array([[0.0, 0.5], [4.0, 0.0]])}}
    >>> MaxNorm(1.0).after_step(params, None)["affine1"]["weight"].tolist()
    [[0.0, 0.5], [1.0, 0.0]]
    """

    limit: float
    on: tuple[str, ...] = WEIGHTS

    def __post_init__(self):
        if not (math.isfinite(self.limit) and self.limit > 0):
            raise ConfigError(f"MaxNorm's limit must be a positive number, got {self.limit}")
        check_names(self, self.on)

    def value(self, params):
        return zero(params)

    def reverse(self, params):
        return tree.zeros_like(params)

    def after_step(self, params, rate):
        def held(w):
            lengths = jnp.sqrt(jnp.sum(w * w, axis=tuple(range(w.ndim - 1)), keepdims=True))
            # For a column within the limit the factor is exactly 1.
            return w * (self.limit / jnp.maximum(lengths, self.limit))

        return on_chosen(held, params, self.on)

    def check(self, params):
        check_found(self, params, self.on)
