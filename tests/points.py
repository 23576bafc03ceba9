"""Activations at many points at once, by their forward and reverse."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from pullback.maps import Map, Run
from pullback.maps.activation.base import Learned

# From the smallest numbers to the ends of the stated range, and closely around 0.
SIZES = np.logspace(-30, 4, 341)
GRID = np.sort(np.concatenate([-SIZES, np.linspace(-30, 30, 1201), SIZES]))
SIZE = 3 * 4801  # the most points that any test asks for


def parameters(map: Map, x):
    return map.init(jax.random.key(0), x)[0]


@partial(jax.jit, static_argnums=0)
def evaluate(map: Map, x):
    """Value and, by our reverse, slope at each of a vector of points, taken as one feature."""
    x = x[:, None]
    params = parameters(map, x)
    y, saved, _ = map.forward(params, {}, x, Run())
    return y[:, 0], map.reverse(params, saved, jnp.ones_like(y))[1][:, 0]


@partial(jax.jit, static_argnums=0)
def along_alpha(map: Learned, alpha, x):
    """Value and slope in α at each of a vector of points."""
    p = jnp.full((1, 1), alpha, x.dtype)
    return map.value(p, x[:, None])[:, 0], map.slopes(p, x[:, None])[0][:, 0]


def both(function, *arguments):
    """What a function gives at the points, its last argument, in the precision of these."""
    *first, x = arguments
    x = np.asarray(x)
    padded = np.zeros(SIZE, x.dtype)  # one shape for all: each map is compiled once
    padded[: len(x)] = x
    with jax.enable_x64(x.dtype == np.float64):
        return tuple(np.asarray(each)[: len(x)] for each in function(*first, jnp.asarray(padded)))


def value(map: Map, x):
    """The value at each of a vector of points."""
    return both(evaluate, map, x)[0]


def slope(map: Map, x):
    """What our reverse says of the slope there."""
    return both(evaluate, map, x)[1]
