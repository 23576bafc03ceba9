"""float32 against float64: values and gradients, across the whole range that is claimed.

Each pass has entries of one magnitude, from 0 up to the reach of the case, all positive, all
negative, or mixed; so one scale, the largest entry of the result or 1, serves a whole array. The
two precisions start from the same numbers, which float32 holds exactly.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

MAGNITUDES = (0.0, 1e-3, 0.1, 1.0, 3.0, 10.0, 30.0, 100.0, 1e3, 1e4)


def compare(function: Callable, fixed: Any, like: Any, reach: float, seed: int = 0) -> float | None:
    """Return how far float32 is from float64, at worst over all passes; inf where it is no number.

    A function that draws has other draws in each precision, which cannot be compared: None, if all
    its results are finite.

    Args:
        function: of `fixed` and of a tree like `like`; returns a tree of arrays.
        fixed: what stays the same in every pass.
        like: a tree of arrays of the shapes to be filled.
        reach: the largest magnitude.
        seed: of the entries.
    """
    inputs = jax.tree.map(
        lambda leaf, n: _inputs(leaf.shape, reach, seed + n), like, _numbered(like)
    )
    inputs, fixed = _cast((inputs, fixed), np.float32)  # rounded once, for both
    narrow = _results(function, fixed, inputs, np.float32)
    wide = _results(function, fixed, inputs, np.float64)
    if not all(np.isfinite(each).all() for each in (*narrow, *wide)):
        return math.inf
    if _draws(function, fixed, inputs):
        return None
    return max(map(_apart, narrow, wide), default=0.0)


def _draws(function, fixed, inputs) -> bool:
    first = jax.tree.map(lambda leaf: leaf[0], inputs)
    return "random_bits" in str(jax.make_jaxpr(function)(fixed, first))


def _numbered(like) -> Any:
    leaves, structure = jax.tree.flatten(like)
    return jax.tree.unflatten(structure, range(len(leaves)))


def _inputs(shape: tuple[int, ...], reach: float, seed: int) -> np.ndarray:
    """Arrays of one shape on a first axis: a pass for each magnitude and choice of signs."""
    rng = np.random.default_rng(seed)
    sizes = sorted({*(m for m in MAGNITUDES if m < reach), reach})
    signs = (np.ones(shape), -np.ones(shape), rng.choice((-1.0, 1.0), shape))
    return np.stack([m * s * rng.uniform(0.9, 1, shape) for m in sizes for s in signs])


def _cast(a: Any, dtype) -> Any:
    """Arrays of numbers in this precision; keys and masks as they are."""
    return jax.tree.map(
        lambda leaf: np.asarray(leaf, dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf,
        a,
    )


def _results(function, fixed, inputs, dtype) -> list[np.ndarray]:
    with jax.enable_x64(dtype == np.float64):
        fixed, inputs = _cast((fixed, inputs), dtype)
        found = jax.jit(jax.vmap(function, in_axes=(None, 0)))(fixed, inputs)
        return [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(jax.device_get(found))]


def _apart(narrow: np.ndarray, wide: np.ndarray) -> float:
    over = tuple(range(1, wide.ndim))
    scale = np.maximum(1, np.max(np.abs(wide), axis=over, initial=0))
    return float(np.max(np.max(np.abs(narrow - wide), axis=over, initial=0) / scale, initial=0))
