"""Levenberg–Marquardt: Gauss–Newton steps, damped as far as they are not to be trusted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.linalg import cho_factor, cho_solve
from jaxtyping import Array, Bool, Float

from .. import ranges
from .method import Method, Move, OfVector, Point, Vector


class Damping(NamedTuple):
    """What is known before a step.

    Attributes:
        matrix: the Gauss–Newton matrix.
        known: whether it is that of the point at hand, as after a step that failed.
        damping: what is added to its diagonal; negative before the first step.
        growth: by how much the damping grows if the step fails.
    """

    matrix: Float[Array, "p p"]
    known: Bool[Array, ""]
    damping: Float[Array, ""]
    growth: Float[Array, ""]


@dataclass(frozen=True)
class LevenbergMarquardt(Method):
    """Gauss–Newton with a damping that follows from how well the last step was foretold.

    Update:  params ← params + d, (G + damping · I) d = −g, if the value falls, else params
             gain = (J(θ) − J(θ + d)) / (½ d·(damping · d − g)), what it fell by over what was
             foretold
             if gain > 0: damping ← damping · max(⅓, 1 − (2 gain − 1)³), growth ← 2
             else:        damping ← damping · growth, growth ← 2 growth
    State:   G; damping, from `damping` times the largest entry of G's diagonal; growth, from 2
    Source:  Levenberg 1944; Marquardt 1963; the damping of Nielsen 1999, as in Madsen, Nielsen &
             Tingleff 2004, algorithm 3.16

    G is that of `Objective.gauss_newton_product`, so that any loss will do, not squares alone. It
    has no negative eigenvalue where loss and penalty are convex; where it has, the step fails and
    the damping grows. It holds G, damped, and its factor: 3p² numbers for p parameters.

    Args:
        damping: the first, relative to G; small where the start is thought to be good.

    Raises:
        ConfigError: damping is not positive and finite.
    """

    damping: float = 1e-3

    def __post_init__(self):
        ranges.positive(self, "damping")

    def memory(self, size, itemsize):
        return 3 * size**2 * itemsize

    def begin(self, theta):
        nothing = jnp.zeros((theta.size, theta.size), theta.dtype)
        two = jnp.full((), 2, theta.dtype)
        return Damping(nothing, jnp.zeros((), bool), -jnp.ones_like(two), two)

    def step(self, function: OfVector, point: Point, state: Damping):
        theta, _, g = point
        matrix = jax.lax.cond(
            state.known, lambda: state.matrix, lambda: _gauss_newton(function, theta)
        )
        damping = jnp.where(state.damping < 0, self._first(matrix), state.damping)
        damped = matrix + damping * jnp.eye(theta.size, dtype=theta.dtype)
        d = -cho_solve(cho_factor(damped, lower=True), g)
        tried = function.at(theta + d)
        foretold = 0.5 * d @ (damping * d - g)
        gain = (point.value - tried.value) / foretold
        better = (gain > 0) & jnp.isfinite(tried.value)  # a d that is not finite fails both
        after = jax.tree.map(lambda new, old: jnp.where(better, new, old), tried, point)
        trusted = damping * jnp.maximum(1 / 3, 1 - (2 * gain - 1) ** 3)
        growth = jnp.where(better, jnp.full_like(state.growth, 2), 2 * state.growth)
        damping = jnp.where(better, trusted, damping * state.growth)
        rounding = jnp.finfo(theta.dtype).eps * jnp.linalg.norm(theta)
        stuck = ~better & (jnp.linalg.norm(d) <= rounding)
        passes = jnp.where(state.known, 1, theta.size + 1).astype(jnp.int32)
        return Move(after, Damping(matrix, ~better, damping, growth), stuck, passes)

    def _first(self, matrix: Float[Array, "p p"]) -> Float[Array, ""]:
        """The damping of the first step."""
        largest = jnp.max(jnp.abs(jnp.diagonal(matrix)), initial=0)
        return self.damping * jnp.where(largest > 0, largest, jnp.ones_like(largest))


def _gauss_newton(function: OfVector, theta: Vector) -> Float[Array, "p p"]:
    """G, column by column."""

    def column(i):
        return function.gauss_newton_product(theta, jnp.zeros_like(theta).at[i].set(1))

    return jax.lax.map(column, jnp.arange(theta.size), batch_size=64).T
