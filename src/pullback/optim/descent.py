"""Descent along the gradient, and along a memory of it: SGD, momentum, Nesterov, Lion."""

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


class Steps(NamedTuple):
    """steps: those taken."""

    steps: Int[Array, ""]


class Velocity(NamedTuple):
    """steps: those taken. velocity: what is left of all gradients so far."""

    steps: Int[Array, ""]
    velocity: Tree


@dataclass(frozen=True)
class SGD(Rated):
    """Stochastic gradient descent.

    Update:  params ← params − learning_rate · grads
    State:   steps
    Source:  CA6 (6a); Robbins & Monro 1951. The sheets write it with a plus, which would climb.

    Args:
        learning_rate: a positive number, or a schedule.

    Raises:
        ConfigError: learning_rate is not a positive finite number.

    >>> import jax.numpy as jnp
    >>> rule, params = SGD(0.5), {"w": jnp.array(1.0)}
    >>> updates, _ = rule.update({"w": jnp.array(4.0)}, rule.init(params), params)
    >>> float(updates["w"])
    -2.0
    """

    def init(self, params):
        return Steps(no_steps())

    def update(self, grads, state, params):
        return tree.scale(-self.rate(state), grads), Steps(state.steps + 1)


@dataclass(frozen=True)
class Momentum(Rated):
    """Gradient descent with momentum.

    Update:  velocity ← momentum · velocity + share · grads
             params ← params − learning_rate · velocity
             with nesterov, momentum · velocity + share · grads takes the velocity's place there
    State:   steps; velocity, from 0, which is not corrected for
    Source:  Polyak 1964 ("heavy-ball", share = 1: the sheets, PyTorch, Optax); the notes §7.2
             ("average", share = 1 − momentum: a moving average of the gradients, so that steps are
             1 − momentum times as long); Nesterov 1983; Sutskever et al. 2013, eq. 3–4

    Nesterov's gradient is taken not at θ but ahead of it, at φ = θ + μv (μ: momentum, ε: learning
    rate):

        v' = μv − ε ∇L(θ + μv),  θ' = θ + v'                               (the sheets; Sutskever)

    Both forms of it are here. That one is the plain rule, told the gradients at `ahead(state,
    params)`. The other keeps φ itself as the parameters, so that the gradients at the parameters
    will do, as in any training step: put θ = φ − μv and θ' = φ' − μv' in, and

        φ' = φ + μv' − ε ∇L(φ)                                  (nesterov=True; PyTorch; Optax)

    A test shows that the second walks through the first's points ahead. The sheets' third way to
    write it, θ + v' + μ(v' − v), is this one.

    The velocity here is −v/ε, as in PyTorch and Optax: it holds no learning rate, and a new rate
    acts on all of it at once. With the rate inside, as the sheets write it, a schedule would act on
    each gradient as it comes in; with a constant rate the two are the same.

    Args:
        learning_rate: a positive number, or a schedule.
        momentum: how much of the velocity is left after a step.
        convention: "heavy-ball" or "average".
        nesterov: whether the parameters are the points ahead.

    Raises:
        ConfigError: learning_rate is not positive; momentum is not in [0, 1); the convention is
            unknown.

    >>> import jax.numpy as jnp
    >>> rule, params = Momentum(0.5, momentum=0.5), {"w": jnp.array(1.0)}
    >>> _, state = rule.update({"w": jnp.array(4.0)}, rule.init(params), params)
    >>> updates, _ = rule.update({"w": jnp.array(1.0)}, state, params)
    >>> float(updates["w"])
    -1.5
    """

    momentum: float = 0.9
    convention: Literal["heavy-ball", "average"] = "heavy-ball"
    nesterov: bool = False

    def __post_init__(self):
        super().__post_init__()
        ranges.below_one(self, "momentum")
        ranges.one_of(self, "convention", ("heavy-ball", "average"))

    def init(self, params):
        return Velocity(no_steps(), tree.zeros_like(params))

    def update(self, grads, state, params):
        velocity = self._after(state.velocity, grads)
        direction = self._after(velocity, grads) if self.nesterov else velocity
        return tree.scale(-self.rate(state), direction), Velocity(state.steps + 1, velocity)

    def ahead(self, state: Velocity, params: Tree) -> Tree:
        """Where the momentum alone would bring the parameters: θ + μv."""
        return tree.add(params, tree.scale(-self.rate(state) * self.momentum, state.velocity))

    def _after(self, velocity, grads):
        share = 1.0 if self.convention == "heavy-ball" else 1 - self.momentum
        return jax.tree.map(lambda v, g: self.momentum * v + share * g, velocity, grads)


@dataclass(frozen=True)
class Lion(Rated):
    """Steps of one length in every coordinate: the sign of a moving average.

    Update:  params ← params − learning_rate · sign(b1 · velocity + (1 − b1) · grads)
             velocity ← b2 · velocity + (1 − b2) · grads
    State:   steps; velocity, from 0
    Source:  Chen et al. 2023, arXiv:2302.06675, algorithm 2, without its decay: that is
             `WeightDecay(Lion(...), strength)`

    sign(0) = 0: what has never had a gradient stays where it is.

    Args:
        learning_rate: a positive number, or a schedule; about a tenth of Adam's.
        b1: how much of the past is in the step.
        b2: how much of the past is kept.

    Raises:
        ConfigError: learning_rate is not positive; b1 or b2 is not in [0, 1).

    >>> import jax.numpy as jnp
    >>> rule, params = Lion(0.5), {"w": jnp.array([1.0, 1.0])}
    >>> updates, _ = rule.update({"w": jnp.array([-9.0, 0.1])}, rule.init(params), params)
    >>> updates["w"].tolist()
    [0.5, -0.5]
    """

    b1: float = 0.9
    b2: float = 0.99

    def __post_init__(self):
        super().__post_init__()
        ranges.below_one(self, "b1", "b2")

    def init(self, params):
        return Velocity(no_steps(), tree.zeros_like(params))

    def update(self, grads, state, params):
        def mixed(share):
            return jax.tree.map(lambda v, g: share * v + (1 - share) * g, state.velocity, grads)

        direction = jax.tree.map(jnp.sign, mixed(self.b1))
        return tree.scale(-self.rate(state), direction), Velocity(state.steps + 1, mixed(self.b2))
