"""Averages of the iterates: training goes on as it would, and the average is what one evaluates.

The average is part of the rule's state. `averaged(state, params)` gives it: evaluate, stop by, and
save those weights. Statistics of a network's own state, such as batch normalisation's, belong to
the weights that were trained, and suit the average only after a pass over the data with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from .. import tree
from ..tree import Tree
from . import ranges
from .adaptive import moving
from .core import Outermost, no_steps, require_inner, require_step
from .moments import corrected
from .plateau import Plateau
from .schedule import Unit, steps_in


class Averaged(NamedTuple):
    """What an `ExponentialAverage` remembers.

    rule: the state of the rule inside. steps: those taken. average: of the iterates, and of the 0
    that it began with.
    """

    rule: Any
    steps: Int[Array, ""]
    average: Tree


@dataclass(frozen=True)
class Averaging(Outermost):
    """A rule around another that also averages the parameters as its updates leave them."""

    def __post_init__(self):
        if isinstance(self.rule, Outermost) and not isinstance(self.rule, Plateau):
            require_inner(self, self.rule)
        require_step(self, self.rule)

    def averaged(self, state, params: Tree) -> Tree:
        """The average, or the parameters themselves as long as nothing is in it."""
        raise NotImplementedError

    def observed(self, state, value):
        """The state after an evaluation; a `Plateau` inside learns of it."""
        if not isinstance(self.rule, Plateau):
            return state
        return state._replace(rule=self.rule.observed(state.rule, value))


@dataclass(frozen=True)
class ExponentialAverage(Averaging):
    """A rule, and a moving average of its iterates.

    Update:  that of the rule; average ← decay · average + (1 − decay) · params, the new ones
             averaged = average / (1 − decayᵗ), without the share that its start at 0 still has
    State:   that of the rule; steps; average, from 0
    Source:  Ruppert 1988; Kingma & Ba 2015, §7.2; Optax's ema

    Args:
        rule: what moves the parameters.
        decay: how much of the average is left after a step: it looks back 1/(1 − decay) steps.

    Raises:
        ConfigError: decay is not in [0, 1).

    >>> from pullback.optim import SGD
    >>> rule, params = ExponentialAverage(SGD(1.0), 0.75), {"w": jnp.array(0.0)}
    >>> state = rule.init(params)
    >>> for _ in range(2):  # to 1, and to 2
    ...     updates, state = rule.update({"w": jnp.array(-1.0)}, state, params)
    ...     params = {"w": params["w"] + updates["w"]}
    >>> round(float(rule.averaged(state, params)["w"]), 4)  # (0.75 · 1 + 2) / 1.75
    1.5714
    """

    decay: float = 0.999

    def __post_init__(self):
        super().__post_init__()
        ranges.below_one(self, "decay")

    def init(self, params):
        return Averaged(self.rule.init(params), no_steps(), tree.zeros_like(params))

    def update(self, grads, state, params):
        updates, inner = self.rule.update(grads, state.rule, params)
        average = moving(self.decay, state.average, tree.add(params, updates))
        return updates, Averaged(inner, state.steps + 1, average)

    def averaged(self, state, params):
        # Before the first step the weight is 0; what would be divided by it is not chosen.
        seen = corrected(state.average, self.decay, jnp.maximum(state.steps, 1))
        return _or_itself(state.steps, seen, params)


class Sampled(NamedTuple):
    """What an `IterateAverage` remembers.

    rule: the state of the rule inside. steps: those taken. iterates: how many are in the average.
    average: their mean.
    """

    rule: Any
    steps: Int[Array, ""]
    iterates: Int[Array, ""]
    average: Tree


@dataclass(frozen=True)
class IterateAverage(Averaging):
    """A rule, and the plain mean of its iterates, or of every so-manieth from some time on.

    Update:  that of the rule; then, every `every` units of time after `start`,
             iterates ← iterates + 1,  average ← average + (params − average) / iterates,
             with the new params
    State:   that of the rule; steps; iterates; average, from 0
    Source:  Polyak & Juditsky 1992 (every iterate: every = 1, unit = 1); Izmailov et al. 2018,
             arXiv:1803.05407, stochastic weight averaging (one an epoch: every = 1, unit = "epoch",
             start = three quarters of the epochs, with a learning rate that stays high or cycles)

    Args:
        rule: what moves the parameters.
        start: how many units of time pass before; the first iterate comes `every` units after it.
        every: how many units of time lie between two iterates of the average.
        unit: how many steps are one unit of time: a number, or "epoch".

    Raises:
        ConfigError: start, every or unit is not a whole number; every or unit is not positive.

    >>> from pullback.optim import SGD
    >>> rule, params = IterateAverage(SGD(1.0)), {"w": jnp.array(0.0)}
    >>> state = rule.init(params)
    >>> for _ in range(3):  # to 1, to 2, and to 3
    ...     updates, state = rule.update({"w": jnp.array(-1.0)}, state, params)
    ...     params = {"w": params["w"] + updates["w"]}
    >>> float(rule.averaged(state, params)["w"])
    2.0
    """

    start: int = 0
    every: int = 1
    unit: Unit = 1

    def __post_init__(self):
        super().__post_init__()
        ranges.whole(self, "start", least=0)
        ranges.whole(self, "every")
        ranges.whole(self, "unit", word="epoch")

    def init(self, params):
        return Sampled(self.rule.init(params), no_steps(), no_steps(), tree.zeros_like(params))

    def update(self, grads, state, params):
        updates, inner = self.rule.update(grads, state.rule, params)
        steps = state.steps + 1
        since = steps - self.start * steps_in(self.unit)
        due = (since > 0) & (since % (self.every * steps_in(self.unit)) == 0)
        iterates = state.iterates + due.astype(jnp.int32)

        def towards(average, new):
            share = due.astype(new.dtype) / jnp.maximum(iterates, 1).astype(new.dtype)
            return average + share * (new - average)

        average = jax.tree.map(towards, state.average, tree.add(params, updates))
        return updates, Sampled(inner, steps, iterates, average)

    def averaged(self, state, params):
        return _or_itself(state.iterates, state.average, params)


def _or_itself(iterates, average: Tree, params: Tree) -> Tree:
    return jax.tree.map(lambda a, p: jnp.where(iterates > 0, a, p), average, params)
