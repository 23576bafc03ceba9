"""A line search for the strong Wolfe conditions: low enough, and flat enough."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from .method import OfVector, Point, Vector

DECREASE, FLATNESS = 1e-4, 0.9


class Found(NamedTuple):
    """What a search found: a point where the conditions are met, or where it began."""

    point: Point
    met: Bool[Array, ""]
    length: Float[Array, ""]
    passes: Int[Array, ""]


class _End(NamedTuple):
    """An end of the bracket: a length, with the value and the slope there."""

    length: Any
    value: Any
    slope: Any


class _Search(NamedTuple):
    low: Any
    high: Any
    trial: Any
    point: Any
    met: Any
    passes: Any


def search(function: OfVector, start: Point, direction: Vector, most: int = 30) -> Found:
    """Find a length t > 0 at which J(θ + t d) meets the strong Wolfe conditions.

    Decrease:  J(θ + t d) ≤ J(θ) + DECREASE · t · g·d
    Flatness:  |∇J(θ + t d)·d| ≤ FLATNESS · |g·d|
    Source:    Nocedal & Wright 2006, algorithms 3.5 and 3.6 with cubic interpolation (3.59), here
               as one loop: until a bracket is found its upper end is infinite

    It begins with t = 1, doubles until the bracket is closed, and shrinks it then. `low` is the
    length with the lowest value that meets the first condition, and J falls from there into the
    bracket. A value that is not finite counts as too high.

    Args:
        function: J.
        start: θ.
        direction: d; if J does not fall along it nothing is met.
        most: passes, at most.
    """
    slope = start.gradient @ direction
    zero, one = jnp.zeros_like(start.value), jnp.ones_like(start.value)
    infinite = jnp.full_like(zero, jnp.inf)

    def unfinished(at: _Search):
        return ~at.met & (at.passes < most)

    def advance(at: _Search) -> _Search:
        point = function.at(start.theta + at.trial * direction)
        here = _End(at.trial, point.value, point.gradient @ direction)
        low_enough = here.value <= start.value + DECREASE * here.length * slope
        better = low_enough & (here.value < at.low.value)
        met = low_enough & (jnp.abs(here.slope) <= -FLATNESS * slope)
        # If J rises here towards the upper end, the minimum lies on the other side, below `low`.
        turned = here.slope * jnp.sign(at.high.length - at.low.length) >= 0
        high = _where(better, _where(turned, at.low, at.high), here)
        low = _where(better, here, at.low)
        return _Search(low, high, _next(low, high), point, met, at.passes + 1)

    begin = _Search(
        _End(zero, start.value, slope),
        _End(infinite, infinite, infinite),
        one,
        start,
        jnp.zeros((), bool),
        jnp.zeros((), jnp.int32),
    )
    end = jax.lax.while_loop(unfinished, advance, begin)
    met = end.met & (slope < 0)
    return Found(_where(met, end.point, start), met, _where(met, end.trial, zero), end.passes)


def _next(low: _End, high: _End):
    """The next length to try: twice the last while the bracket is open, else inside it."""
    width = high.length - low.length
    d1 = low.slope + high.slope - 3 * (low.value - high.value) / (low.length - high.length)
    d2 = jnp.sign(width) * jnp.sqrt(d1**2 - low.slope * high.slope)
    cubic = high.length - width * (high.slope + d2 - d1) / (high.slope - low.slope + 2 * d2)
    share = (cubic - low.length) / width
    inside = low.length + width * jnp.where(
        jnp.isfinite(share), jnp.clip(share, 0.1, 0.9), 0.5 * jnp.ones_like(share)
    )
    return jnp.where(jnp.isfinite(width), inside, 2 * low.length)


def _where(condition, yes, no):
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), yes, no)
