"""L-BFGS: curvature from the gradients of the last steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .. import ranges
from .method import Method, Move, OfVector, Point, Vector
from .wolfe import search


class History(NamedTuple):
    """The last steps, the newest last; where there was none, all is 0.

    Attributes:
        steps: s = θ' − θ.
        changes: y = g' − g.
        inverse: 1/(s·y).
    """

    steps: Float[Array, "m p"]
    changes: Float[Array, "m p"]
    inverse: Float[Array, " m"]


@dataclass(frozen=True)
class LBFGS(Method):
    """L-BFGS with a line search for the strong Wolfe conditions.

    Update:  params ← params − length · B g, where B ≈ H⁻¹ comes from the last `history` steps s and
             changes y of the gradient by the two-loop recursion, from B₀ = s·y/y·y of the newest
    State:   the last steps, the changes, and 1/(s·y)
    Source:  Nocedal 1980; Nocedal & Wright 2006, algorithms 7.4 and 7.5

    The flatness that the line search asks for makes s·y > 0, so that B is positive and its
    direction goes down. The first step is along −g, and no longer than 1. Where the line search
    finds nothing, the history is forgotten, and the next step is along −g again; where it finds
    nothing even then, the method is stuck.

    Args:
        history: how many steps are remembered.

    Raises:
        ConfigError: history is not a whole number of at least 1.
    """

    history: int = 10

    def __post_init__(self):
        ranges.whole(self, "history")

    def memory(self, size, itemsize):
        return (2 * self.history + 6) * size * itemsize

    def begin(self, theta):
        shape = self.history, theta.size
        return History(
            jnp.zeros(shape, theta.dtype),
            jnp.zeros(shape, theta.dtype),
            jnp.zeros(self.history, theta.dtype),
        )

    def step(self, function: OfVector, point: Point, state: History):
        found = search(function, point, -_inverse_hessian_times(point.gradient, state))
        s, y = found.point.theta - point.theta, found.point.gradient - point.gradient
        remembered = _remember(state, s, y)
        forgotten = jax.tree.map(jnp.zeros_like, state)
        after = jax.tree.map(lambda a, b: jnp.where(found.met, a, b), remembered, forgotten)
        knew = state.inverse[-1] > 0
        return Move(found.point, after, ~found.met & ~knew, found.passes)


def _remember(history: History, s: Vector, y: Vector) -> History:
    """Drop the oldest step for the newest, unless rounding hid the curvature along it."""
    curvature = s @ y
    seen = curvature > jnp.finfo(s.dtype).eps * (y @ y)
    inverse = 1 / jnp.where(seen, curvature, jnp.ones_like(curvature))

    def pushed(old, new):
        return jnp.where(seen, jnp.concatenate([old[1:], new[None]]), old)

    return History(
        pushed(history.steps, s), pushed(history.changes, y), pushed(history.inverse, inverse)
    )


def _inverse_hessian_times(g: Vector, history: History) -> Vector:
    """B g by the two loops. A step that there was not has inverse 0, and changes nothing."""

    def back(q, one: History):
        share = one.inverse * (one.steps @ q)
        return q - share * one.changes, share

    def forth(r, one: tuple[History, Float[Array, ""]]):
        pair, share = one
        return r + (share - pair.inverse * (pair.changes @ r)) * pair.steps, None

    q, shares = jax.lax.scan(back, g, history, reverse=True)
    y, inverse = history.changes[-1], history.inverse[-1]
    cautious = 1 / jnp.maximum(jnp.linalg.norm(g), 1)
    scale = jnp.where(inverse > 0, 1 / (inverse * (y @ y)), cautious)
    r, _ = jax.lax.scan(forth, scale * q, (history, shares))
    return r
