"""Follow a method from a start until the gradient vanishes: one compiled loop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from ... import tree
from ...arithmetic import full_precision
from ...errors import ConfigError
from ...tree import Tree
from .method import Function, Method, OfVector, Point

Ended = Literal["tolerance", "stuck", "diverged", "steps"]


@dataclass(frozen=True)
class Trace:
    """What happened on the way to a minimum.

    Attributes:
        params: where it ended.
        ended: "tolerance": the gradient has vanished; "stuck": no step found a lower value, as at
            the rounding of the value; "diverged": a step met a value that is not finite, and was
            not taken; "steps": there were no more.
        values: J before the first step and after each.
        gradients: the largest magnitude of an entry of ∇J, likewise.
        updates: ‖θ' − θ‖ of each step; 0 where it was rejected.
        passes: how many passes forward and back, or products with the curvature, each step took.
        watched: what `watch` made of the parameters, before the first step and after each.
    """

    params: Tree
    ended: Ended
    values: np.ndarray
    gradients: np.ndarray
    updates: np.ndarray
    passes: np.ndarray
    watched: Any

    @property
    def steps(self) -> int:
        """How many were taken or tried."""
        return len(self.updates)


def unwatched(params: Tree) -> tuple[()]:
    """Keep nothing of the parameters on the way."""
    return ()


def minimise(
    method: Method,
    function: Function,
    params: Tree,
    steps: int = 100,
    tolerance: float = 1e-6,
    *,
    limit: int = 2**30,
    watch: Callable[[Tree], Any] = unwatched,
) -> Trace:
    """Minimise a function of the whole data, such as `curvature.Objective`.

    Stops:   where no entry of the gradient is larger than the tolerance; or see `Trace.ended`
    Source:  the sheets, second-order methods; Nocedal & Wright 2006, Numerical Optimization

    Args:
        method: how to step.
        function: what is minimised; a pytree, so that it can enter a compiled function.
        params: where to start; trees of one dtype.
        steps: at most so many.
        tolerance: of the gradient's largest entry.
        limit: how many bytes the method may hold.
        watch: what to keep of the parameters of each step; as little as is needed.

    Raises:
        ConfigError: the method would hold more bytes than that; steps or tolerance is not positive.

    >>> from pullback.optim import LBFGS
    >>> from pullback.surfaces import Rosenbrock
    >>> trace = minimise(LBFGS(), Rosenbrock(), jnp.array([-1.2, 1.0]), tolerance=1e-4)
    >>> trace.ended, trace.params.round(2).tolist()
    ('tolerance', [1.0, 1.0])
    """
    if steps < 1 or not tolerance > 0:
        raise ConfigError(
            f"steps must be at least 1 and tolerance positive, got {steps} and {tolerance}"
        )
    theta, _ = ravel_pytree(params)
    need = method.memory(theta.size, theta.dtype.itemsize)
    if need > limit:
        raise ConfigError(
            f"{type(method).__name__} would hold {need:,} bytes for {theta.size:,} parameters, "
            f"wanted at most {limit:,}",
            next="take NewtonCG or LBFGS, which hold a few vectors, or raise the limit",
        )
    walk, end = _walk(method, steps, watch, function, params, tolerance)
    count = int(walk.count)
    values, gradients, watched = jax.tree.map(
        lambda column: np.asarray(column)[: count + 1], tuple(walk.places)
    )
    return Trace(
        end,
        _ended(walk, tolerance),
        values,
        gradients,
        np.asarray(walk.updates)[:count],
        np.asarray(walk.passes)[:count],
        watched,
    )


class _Place(NamedTuple):
    """What is kept of a point."""

    value: Any
    gradient: Any
    watched: Any


class _Walk(NamedTuple):
    """The loop's state: how far it got, and a line of each column for every step."""

    count: Any
    point: Any
    state: Any
    stuck: Any
    diverged: Any
    places: _Place
    updates: Any
    passes: Any


@partial(jax.jit, static_argnums=(0, 1, 2))
@full_precision()
def _walk(method: Method, steps: int, watch: Callable, function: Any, params: Tree, tolerance):
    """Walk, and return the walk with the parameters at its end."""
    theta, unravel = ravel_pytree(params)
    flat = OfVector(function, unravel)

    def place(point: Point) -> _Place:
        largest = jnp.max(jnp.abs(point.gradient), initial=0)
        return _Place(point.value, largest, watch(unravel(point.theta)))

    def unfinished(walk: _Walk):
        steep = walk.places.gradient[walk.count] > tolerance
        return steep & (walk.count < steps) & ~walk.stuck & ~walk.diverged

    def advance(walk: _Walk) -> _Walk:
        at = walk.count
        move = method.step(flat, walk.point, walk.state)
        sound = jnp.isfinite(move.point.value) & tree.all_finite(move.point.gradient)
        point = jax.tree.map(lambda new, old: jnp.where(sound, new, old), move.point, walk.point)
        return _Walk(
            at + 1,
            point,
            move.state,
            move.stuck,
            ~sound,
            jax.tree.map(lambda all, one: all.at[at + 1].set(one), walk.places, place(point)),
            walk.updates.at[at].set(jnp.linalg.norm(point.theta - walk.point.theta)),
            walk.passes.at[at].set(move.passes),
        )

    first, no = flat.at(theta), jnp.zeros((), bool)
    walk = jax.lax.while_loop(
        unfinished,
        advance,
        _Walk(
            jnp.zeros((), jnp.int32),
            first,
            method.begin(theta),
            no,
            no,
            jax.tree.map(
                lambda x: jnp.zeros((steps + 1, *x.shape), x.dtype).at[0].set(x), place(first)
            ),
            jnp.zeros(steps, theta.dtype),
            jnp.zeros(steps, jnp.int32),
        ),
    )
    return walk, unravel(walk.point.theta)


def _ended(walk: _Walk, tolerance: float) -> Ended:
    if walk.diverged:
        return "diverged"
    if walk.places.gradient[walk.count] <= tolerance:
        return "tolerance"
    return "stuck" if walk.stuck else "steps"
