"""A step-size for each parameter, from the squares of its gradients: AdaGrad, RMSProp, Adadelta."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from .. import tree
from ..tree import Tree
from . import ranges
from .core import Rated, no_steps
from .schedule import Schedule


class Squares(NamedTuple):
    """What AdaGrad and RMSProp remember.

    steps: those taken. square: the sum, or the average, of the squared gradients. velocity:
    what is left of all directions so far; nothing without momentum.
    """

    steps: Int[Array, ""]
    square: Tree
    velocity: Tree


@dataclass(frozen=True)
class AdaGrad(Rated):
    """Divide each gradient by the root of all its squares so far.

    Update:  square ← square + grads²
             direction = grads / (√square + eps)              accumulate = "sum"
             direction = grads / (√(square/t) + eps)          accumulate = "mean"; t counts steps
             params ← params − learning_rate · direction; with momentum, direction is first put
             into a velocity ← momentum · velocity + direction, which takes its place
    State:   steps; square, from 0; velocity, from 0, if momentum > 0
    Source:  "sum": Duchi et al. 2011; the sheets. "mean": CA6 algorithm 1, with α 0.0009 and
             ξ 1e-12; its step-size does not fall: it is that of the sum with a rate of α√t

    eps is outside the root and square begins at 0, as in PyTorch. Optax has eps inside the root,
    and begins at 0.1.

    Args:
        learning_rate: a positive number, or a schedule.
        accumulate: "sum" or "mean".
        eps: keeps the quotient finite.
        momentum: how much of the velocity is left after a step.

    Raises:
        ConfigError: learning_rate or eps is not positive; momentum is not in [0, 1); an unknown
            word for accumulate.

    >>> rule, params = AdaGrad(0.5), {"w": jnp.array(1.0)}
    >>> _, state = rule.update({"w": jnp.array(3.0)}, rule.init(params), params)
    >>> updates, _ = rule.update({"w": jnp.array(4.0)}, state, params)
    >>> round(float(updates["w"]), 4)
    -0.4
    """

    accumulate: Literal["sum", "mean"] = "sum"
    eps: float = 1e-10
    momentum: float = 0.0

    def __post_init__(self):
        super().__post_init__()
        ranges.one_of(self, "accumulate", ("sum", "mean"))
        ranges.positive(self, "eps")
        ranges.below_one(self, "momentum")

    def init(self, params):
        return _no_squares(params, self.momentum)

    def update(self, grads, state, params):
        steps = state.steps + 1
        square = jax.tree.map(lambda s, g: s + g * g, state.square, grads)
        scale = square
        if self.accumulate == "mean":
            scale = jax.tree.map(lambda s: s / steps.astype(s.dtype), square)
        direction = _divided(grads, scale, self.eps)
        velocity = _moved(state.velocity, direction, self.momentum)
        updates = tree.scale(-self.rate(state), velocity if self.momentum else direction)
        return updates, Squares(steps, square, velocity)


@dataclass(frozen=True)
class RMSProp(Rated):
    """Divide each gradient by the root of a moving average of its squares.

    Update:  square ← decay · square + (1 − decay) · grads²
             direction = grads / (√square + eps)
             params ← params − learning_rate · direction; with momentum, direction is first put
             into a velocity ← momentum · velocity + direction, which takes its place
    State:   steps; square, from 0, which is not corrected for; velocity, from 0, if momentum > 0
    Source:  Tieleman & Hinton 2012; CA6 algorithm 2, with α 0.0009, β 0.9 and ξ 1e-12; the sheets;
             the notes §7.3, which put eps inside the root in the text and outside in the code

    eps is outside the root, as in CA6, the sheets and PyTorch; Optax has it inside unless it is
    told eps_in_sqrt=False. As for `Momentum`, the velocity holds no learning rate.

    Args:
        learning_rate: a positive number, or a schedule.
        decay: how much of the average is left after a step.
        eps: keeps the quotient finite.
        momentum: how much of the velocity is left after a step.

    Raises:
        ConfigError: learning_rate or eps is not positive; decay or momentum is not in [0, 1).

    >>> rule, params = RMSProp(0.1, decay=0.75), {"w": jnp.array(1.0)}
    >>> updates, _ = rule.update({"w": jnp.array(4.0)}, rule.init(params), params)
    >>> round(float(updates["w"]), 4)
    -0.2
    """

    decay: float = 0.9
    eps: float = 1e-8
    momentum: float = 0.0

    def __post_init__(self):
        super().__post_init__()
        ranges.positive(self, "eps")
        ranges.below_one(self, "decay", "momentum")

    def init(self, params):
        return _no_squares(params, self.momentum)

    def update(self, grads, state, params):
        square = moving(self.decay, state.square, squared(grads))
        direction = _divided(grads, square, self.eps)
        velocity = _moved(state.velocity, direction, self.momentum)
        updates = tree.scale(-self.rate(state), velocity if self.momentum else direction)
        return updates, Squares(state.steps + 1, square, velocity)


class Deltas(NamedTuple):
    """What Adadelta remembers.

    steps: those taken. square: the average of the squared gradients. moved: that of the squared
    directions.
    """

    steps: Int[Array, ""]
    square: Tree
    moved: Tree


@dataclass(frozen=True)
class Adadelta(Rated):
    """Scale each gradient to the size of the steps so far.

    Update:  square ← decay · square + (1 − decay) · grads²
             direction = √(moved + eps) / √(square + eps) · grads
             moved ← decay · moved + (1 − decay) · direction²
             params ← params − learning_rate · direction
    State:   steps; square and moved, from 0
    Source:  Zeiler 2012, arXiv:1212.5701, algorithm 1, which has no learning rate: it is 1 there.
             eps is inside the roots, as there and in PyTorch and Optax: it sets the first steps
             going

    Args:
        learning_rate: a positive number, or a schedule.
        decay: how much of the averages is left after a step.
        eps: the square of the first directions, about.

    Raises:
        ConfigError: learning_rate or eps is not positive; decay is not in [0, 1).

    >>> rule, params = Adadelta(decay=0.75), {"w": jnp.array(1.0)}
    >>> updates, _ = rule.update({"w": jnp.array(4.0)}, rule.init(params), params)
    >>> round(float(updates["w"]), 6)
    -0.002
    """

    # The paper's rule is the one without a learning rate.
    learning_rate: float | Schedule = 1.0
    decay: float = 0.9
    eps: float = 1e-6

    def __post_init__(self):
        super().__post_init__()
        ranges.positive(self, "eps")
        ranges.below_one(self, "decay")

    def init(self, params):
        return Deltas(no_steps(), tree.zeros_like(params), tree.zeros_like(params))

    def update(self, grads, state, params):
        square = moving(self.decay, state.square, squared(grads))
        direction = jax.tree.map(
            lambda g, s, m: jnp.sqrt(m + self.eps) / jnp.sqrt(s + self.eps) * g,
            grads,
            square,
            state.moved,
        )
        moved = moving(self.decay, state.moved, squared(direction))
        return tree.scale(-self.rate(state), direction), Deltas(state.steps + 1, square, moved)


def moving(share: float, old: Tree, new: Tree) -> Tree:
    """A moving average after one more value: share · old + (1 − share) · new."""
    return jax.tree.map(lambda a, b: share * a + (1 - share) * b, old, new)


def squared(a: Tree) -> Tree:
    """The square of each entry."""
    return jax.tree.map(lambda x: x * x, a)


def _no_squares(params: Tree, momentum: float) -> Squares:
    return Squares(no_steps(), tree.zeros_like(params), tree.zeros_like(params) if momentum else ())


def _divided(grads: Tree, square: Tree, eps: float) -> Tree:
    return jax.tree.map(lambda g, s: g / (jnp.sqrt(s) + eps), grads, square)


def _moved(velocity: Tree, direction: Tree, momentum: float) -> Tree:
    if not momentum:
        return ()
    return jax.tree.map(lambda v, d: momentum * v + d, velocity, direction)
