"""Newton's method, with the whole Hessian."""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp

from .. import ranges
from .method import Method, Move, OfVector, Point


@dataclass(frozen=True)
class Newton(Method):
    """Newton's method, damped: to the stationary point of the parabola at hand.

    Update:  params ← params − (H + damping · I)⁻¹ g
    State:   none
    Source:  the sheets, "Newton's method"; Nocedal & Wright 2006, §3.3, with every step whole

    It goes to the nearest stationary point, be that a minimum or not: where H has an eigenvalue
    below −damping it climbs along it, to a saddle or a peak. `NewtonCG` goes down there. Without
    damping it reaches the minimum of a quadratic in one step.

    It holds H, damped, and its factors: 3p² numbers for p parameters. A step takes about p³
    operations.

    Args:
        damping: what is added to every eigenvalue of H; 0 is Newton's own step, which does not
            exist where H is singular.

    Raises:
        ConfigError: damping is negative or not finite.
    """

    damping: float = 1e-3

    def __post_init__(self):
        ranges.not_negative(self, "damping")

    def memory(self, size, itemsize):
        return 3 * size**2 * itemsize

    def begin(self, theta):
        return ()

    def step(self, function: OfVector, point: Point, state):
        p = point.theta.size
        damped = function.hessian(point.theta) + self.damping * jnp.eye(p, dtype=point.theta.dtype)
        after = function.at(point.theta - jnp.linalg.solve(damped, point.gradient))
        return Move(after, state, jnp.array(False), jnp.array(p + 1, jnp.int32))
