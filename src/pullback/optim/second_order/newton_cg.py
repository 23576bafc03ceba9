"""Newton's method without the Hessian: its products alone, and conjugate gradients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from .. import ranges
from .method import Method, Move, OfVector, Point, Vector
from .wolfe import search


@dataclass(frozen=True)
class NewtonCG(Method):
    """Newton's method by conjugate gradients, and a line search.

    Update:  params ← params + length · d, where H d ≈ −g is solved by conjugate gradients until
             ‖H d + g‖ ≤ min(½, √‖g‖) ‖g‖, and the length meets the strong Wolfe conditions
    State:   none
    Source:  Nocedal & Wright 2006, algorithm 7.1

    Where conjugate gradients meet a direction along which the curvature is not positive, they end:
    what they have is a descent direction, and the first of all is −g. So it leaves a saddle that
    Newton's own step is drawn to. It holds eleven vectors, and takes one product with H, about two
    gradients, for each iteration.

    Args:
        iterations: of conjugate gradients in a step, at most.

    Raises:
        ConfigError: iterations is not a whole number of at least 1.
    """

    iterations: int = 50

    def __post_init__(self):
        ranges.whole(self, "iterations")

    def memory(self, size, itemsize):
        return 11 * size * itemsize

    def begin(self, theta):
        return ()

    def step(self, function: OfVector, point: Point, state):
        def product(v):
            return function.hessian_vector_product(point.theta, v)

        direction, products = _conjugate_gradients(product, point.gradient, self.iterations)
        found = search(function, point, direction)
        return Move(found.point, state, ~found.met, found.passes + products)


class _Solving(NamedTuple):
    solution: Any
    residual: Any
    direction: Any
    bent: Any
    count: Any


def _conjugate_gradients(product: Callable[[Vector], Vector], g: Vector, most: int):
    """A descent direction d with H d ≈ −g, and how many products it took."""
    size = jnp.linalg.norm(g)
    enough = jnp.minimum(0.5, jnp.sqrt(size)) * size

    def unsolved(at: _Solving):
        return (jnp.linalg.norm(at.residual) > enough) & ~at.bent & (at.count < most)

    def advance(at: _Solving) -> _Solving:
        curved = product(at.direction)
        curvature = at.direction @ curved
        bent = ~(curvature > 0)  # nan too
        before = at.residual @ at.residual
        length = before / jnp.where(bent, jnp.ones_like(curvature), curvature)
        solution = at.solution + length * at.direction
        residual = at.residual + length * curved
        steepest = jnp.where(at.count == 0, -g, at.solution)
        return _Solving(
            jnp.where(bent, steepest, solution),
            residual,
            (residual @ residual) / before * at.direction - residual,
            bent,
            at.count + 1,
        )

    no = jnp.zeros((), bool)
    start = _Solving(jnp.zeros_like(g), g, -g, no, jnp.zeros((), jnp.int32))
    end = jax.lax.while_loop(unsolved, advance, start)
    return end.solution, end.count
