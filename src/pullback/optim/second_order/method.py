"""What a second-order method is, and how it sees the function that it minimises.

A rule is told gradients; a method asks. It is given the function itself, and takes from it values
and gradients wherever it tries a step, and products with the curvature. All its arithmetic is on
vectors: the parameters are one vector `theta` here, a tree outside.

`minimise` follows a method on any function. In training a method stands in the place of the rule:
each step is given the whole training part as one batch, and `Method.descend` makes its update.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int

from ...tree import Tree

Vector = Float[Array, " p"]


class Function(Protocol):
    """What is minimised: `curvature.Objective` is one, and so is a surface of two numbers."""

    def value(self, params: Tree, /) -> Float[Array, ""]:
        """J(θ)."""
        ...

    def gradient(self, params: Tree, /) -> Tree:
        """∇J(θ)."""
        ...

    def hessian_vector_product(self, params: Tree, v: Tree, /) -> Tree:
        """H v."""
        ...

    def hessian(self, params: Tree, limit: int, /) -> Float[Array, "p p"]:
        """H, which takes at most `limit` bytes."""
        ...


class Point(NamedTuple):
    """A place, with the value and the gradient there."""

    theta: Vector
    value: Float[Array, ""]
    gradient: Vector


@dataclass(frozen=True)
class OfVector:
    """A function of a tree of parameters as one of a vector."""

    function: Any
    unravel: Callable[[Vector], Tree]

    def at(self, theta: Vector) -> Point:
        """The function and its gradient: one pass forward and back."""
        params = self.unravel(theta)
        gradient, _ = ravel_pytree(self.function.gradient(params))
        return Point(theta, self.function.value(params), gradient)

    def hessian(self, theta: Vector) -> Float[Array, "p p"]:
        """H; whether it fits was asked before."""
        return self.function.hessian(self.unravel(theta), theta.size**2 * theta.dtype.itemsize)

    def hessian_vector_product(self, theta: Vector, v: Vector) -> Vector:
        """H v."""
        product = self.function.hessian_vector_product(self.unravel(theta), self.unravel(v))
        return ravel_pytree(product)[0]

    def gauss_newton_product(self, theta: Vector, v: Vector) -> Vector:
        """G v."""
        product = self.function.gauss_newton_product(self.unravel(theta), self.unravel(v))
        return ravel_pytree(product)[0]


class Move(NamedTuple):
    """What one step did.

    Attributes:
        point: where it ended.
        state: what the method remembers.
        stuck: whether no further step would get anywhere.
        passes: how many passes forward and back, or products with the curvature, it took.
    """

    point: Point
    state: Any
    stuck: Bool[Array, ""]
    passes: Int[Array, ""]


class Descent(NamedTuple):
    """What training keeps of a method between two steps.

    Attributes:
        memory: what the method remembers.
        stuck: whether no further step would get anywhere.
    """

    memory: Any
    stuck: Bool[Array, ""]


@dataclass(frozen=True)
class Method:
    """How to step. A subclass holds its settings only, as a rule does."""

    def memory(self, size: int, itemsize: int) -> int:
        """How many bytes it holds at once for `size` parameters, those of a pass not counted."""
        raise NotImplementedError

    def begin(self, theta: Vector) -> Any:
        """The state before the first step."""
        raise NotImplementedError

    def step(self, function: OfVector, point: Point, state: Any) -> Move:
        """One step."""
        raise NotImplementedError

    def init(self, params: Tree) -> Descent:
        """What training keeps before the first step."""
        return Descent(self.begin(ravel_pytree(params)[0]), jnp.zeros((), bool))

    def descend(
        self, function: Function, params: Tree, value, grads: Tree, state: Descent
    ) -> tuple[Tree, Descent]:
        """One step of training: what to add to the parameters, and what to keep.

        A method that is stuck stays where it is.

        Args:
            function: what is minimised, loss and penalty over the whole training part.
            params: θ.
            value: J(θ).
            grads: ∇J(θ).
            state: from the step before.
        """
        theta, unravel = ravel_pytree(params)
        point = Point(theta, value, ravel_pytree(grads)[0])
        move = self.step(OfVector(function, unravel), point, state.memory)
        here = Move(point, state.memory, state.stuck, move.passes)
        move = jax.tree.map(lambda new, old: jnp.where(state.stuck, old, new), move, here)
        return unravel(move.point.theta - theta), Descent(move.state, move.stuck)


def stuck(rule: object, state: Any) -> bool:
    """Whether training is over because its method gets no further; a rule never says so."""
    return isinstance(rule, Method) and bool(state.stuck)
