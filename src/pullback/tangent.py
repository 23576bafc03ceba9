"""Derivatives by central differences: of a function of a number, and along a network.

A difference has two errors: cutting off the series, which falls with the step h, and rounding,
which grows as h falls; and it is meaningless where it crosses a kink. So each is taken at several h
with the five-point rule, which is exact up to h⁴,

    D(h) = (8 (f(h) − f(−h)) − (f(2h) − f(−2h))) / 12h,

and the h whose own two estimates (five points, and three) agree best is believed.

A network has many kinks: among the 200,000 rectified entries of a convolution some always lie
within 1e-5 of theirs, so that no difference of the whole loss is free of them. But each entry has
its own kink, and may have its own h. So a direction is pushed through the network node by node: a
node's inputs move along what was found for the nodes before it, and each entry of its output
chooses.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from .maps import Map, Net, Recompute

STEPS = (1e-3, 1e-4, 1e-5)

# For entries beside a kink, where rounding does no harm: only few of many are taken there.
SMALL_STEPS = (*STEPS, 1e-7, 1e-9)


class Pushed(NamedTuple):
    """An array, and its derivative along a direction."""

    value: Any
    tangent: Any


def difference(f: Callable, steps: tuple[float, ...] = STEPS):
    """The derivative of f at 0, entry by entry of what it returns.

    Each entry is taken at the step where five points and three agree best, counting what rounding
    leaves open.
    """

    def better(best, h):
        found, doubt = best
        near_up, near_down, far_up, far_down = jax.lax.map(f, h * jnp.array([1.0, -1.0, 2.0, -2.0]))
        three = (near_up - near_down) / (2 * h)
        five = (8 * (near_up - near_down) - (far_up - far_down)) / (12 * h)
        noise = jnp.finfo(h.dtype).eps * (jnp.abs(near_up) + jnp.abs(near_down)) / h
        here = jnp.abs(five - three) + noise
        worse = here >= doubt  # which nan is not: it must not be passed over
        return (jnp.where(worse, found, five), jnp.where(worse, doubt, here)), None

    h = jnp.asarray(steps)
    like = jax.eval_shape(f, h[0])
    start = jnp.zeros(like.shape, like.dtype), jnp.full(like.shape, jnp.inf, like.dtype)
    (found, _), _ = jax.lax.scan(better, start, h)
    return found


def push(f: Callable, at) -> Pushed:
    """Apply f to a tree of `Pushed`, moving all of it at once along its tangents."""
    sizes = [jnp.max(jnp.abs(tangent)) for tangent in jax.tree.leaves(_each(_tangent, at))]
    size = jnp.max(jnp.stack(sizes))
    unit = jnp.where(size > 0, size, jnp.ones_like(size))

    def moved(h):
        return f(_each(lambda p: p.value + (h / unit) * p.tangent, at))

    return Pushed(moved(0), unit * difference(moved, SMALL_STEPS))


def pushing(map: Map) -> Map:
    """The map whose forward takes parameters and inputs that are `Pushed`, and gives such a value.

    Networks are taken apart into their nodes.
    """
    if isinstance(map, Net):
        return Net(tuple(node._replace(map=pushing(node.map)) for node in map.nodes))
    return pushing(map.map) if isinstance(map, Recompute) else _Pushing(map)


@dataclass(frozen=True)
class _Pushing(Map):
    map: Map

    def forward(self, params, state, x, run):
        def value(at):
            return self.map.forward(at[0], state, at[1], run)[0]

        here, still = _each(_value, params), _each(_value, x)
        _, _, after = self.map.forward(here, state, still, run)
        return push(value, (params, x)), None, after


def _each(f: Callable, at):
    return jax.tree.map(
        lambda p: f(p) if isinstance(p, Pushed) else p, at, is_leaf=lambda p: isinstance(p, Pushed)
    )


def _value(p: Pushed):
    return p.value


def _tangent(p: Pushed):
    return p.tangent
