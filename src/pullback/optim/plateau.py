"""Lower the learning rate when an evaluation no longer improves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from .. import tree
from . import ranges
from .core import Outermost, require_inner, require_step


def watches(rule: Any) -> bool:
    """Whether a rule wants to be told of evaluations: a `Plateau`, alone or inside an average."""
    return isinstance(rule, Plateau) or isinstance(getattr(rule, "rule", None), Plateau)


class Watch(NamedTuple):
    """What a `Plateau` remembers.

    rule: the state of the rule inside. factor: what the learning rate is multiplied by. best: the
    lowest value yet. waited: the evaluations since the last improvement, or the last cut.
    """

    rule: Any
    factor: Float[Array, ""]
    best: Float[Array, ""]
    waited: Int[Array, ""]


@dataclass(frozen=True)
class Plateau(Outermost):
    """A rule whose learning rate is cut whenever evaluations cease to improve.

    Update:  updates ← factor · rule.update(grads): the learning rate is factor times as large
    State:   that of the rule; factor, from 1; best, from the largest number; waited, from 0
    Source:  PyTorch's ReduceLROnPlateau with threshold_mode="abs", which cuts after more than
             `patience` evaluations without improvement; this cuts after `patience` of them

    Training alone leaves the factor as it is: after each evaluation somebody must put
    `observed(state, value)` in the state's place.

    Args:
        rule: what is slowed down.
        cut: what the learning rate is multiplied by.
        patience: how many evaluations without improvement it takes.
        min_delta: by how much a value must be lower than the best to count as improvement.
        least: the factor does not fall below this.

    Raises:
        ConfigError: cut is not in (0, 1); patience is not a positive whole number; min_delta is
            negative; least is not in [0, 1).

    >>> from pullback.optim import SGD
    >>> rule = Plateau(SGD(0.5), patience=2)
    >>> state = rule.init({"w": jnp.array(1.0)})
    >>> rates = []
    >>> for loss in (3.0, 2.0, 2.0, 2.1, 1.0):
    ...     state = rule.observed(state, loss)
    ...     rates.append(float(rule.rate(state)))
    >>> rates
    [0.5, 0.5, 0.5, 0.25, 0.25]
    """

    cut: float = 0.5
    patience: int = 5
    min_delta: float = 0.0
    least: float = 0.0

    def __post_init__(self):
        require_inner(self, self.rule)
        require_step(self, self.rule)
        ranges.between(self, "cut")
        ranges.whole(self, "patience")
        ranges.not_negative(self, "min_delta")
        ranges.below_one(self, "least")

    def init(self, params):
        one = jnp.ones((), float)
        # What is not finite in a state would be taken for divergence.
        highest = jnp.full((), jnp.finfo(one.dtype).max)
        return Watch(self.rule.init(params), one, highest, jnp.zeros((), jnp.int32))

    def update(self, grads, state, params):
        updates, inner = self.rule.update(grads, state.rule, params)
        return tree.scale(state.factor, updates), state._replace(rule=inner)

    def rate(self, state):
        """The learning rate of the next update."""
        return state.factor * super().rate(state)

    def observed(self, state: Watch, value) -> Watch:
        """The state after an evaluation.

        Args:
            state: as training left it.
            value: what was measured; lower is better, so of an accuracy give its negative. One that
                is not a number is no improvement.
        """
        value = jnp.asarray(value, state.best.dtype)
        better = value < state.best - self.min_delta
        waited = jnp.where(better, 0, state.waited + 1)
        due = waited >= self.patience
        lower = jnp.maximum(state.factor * self.cut, self.least)
        return state._replace(
            factor=jnp.where(due, lower, state.factor),
            best=jnp.where(better, value, state.best),
            waited=jnp.where(due, 0, waited),
        )
