"""Arithmetic on pytrees of arrays, and their leaves by name.

A tree here is what JAX calls a pytree: nested dicts, tuples and named tuples whose leaves are
arrays. Parameters, states of maps and states of rules are all trees; the name of a leaf is its
path, as in ``"affine1/weight"``.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from .errors import CheckpointError

Tree = Any


def add(a: Tree, b: Tree) -> Tree:
    """Add two trees of one structure, leaf by leaf.

    >>> int(add({"w": jnp.array(1)}, {"w": jnp.array(2)})["w"])
    3
    """
    return jax.tree.map(lambda x, y: x + y, a, b)


def scale(factor, a: Tree) -> Tree:
    """Multiply every leaf by one number, in the leaf's dtype."""
    return jax.tree.map(lambda x: jnp.asarray(factor, x.dtype) * x, a)


def zeros_like(a: Tree) -> Tree:
    """A tree of zeros with the shapes and dtypes of `a`."""
    return jax.tree.map(jnp.zeros_like, a)


def norm(a: Tree) -> Float[Array, ""]:
    """The Euclidean norm of all entries together: √Σ a². A tree without leaves has norm 0.

    The largest magnitude is taken out of the root first, so that entries of 1e30 do not overflow
    float32.
    """
    leaves = [x for x in jax.tree.leaves(a) if x.size]
    if not leaves:
        return jnp.zeros(())
    top = jnp.max(jnp.stack([jnp.max(jnp.abs(x)) for x in leaves]))
    unit = jnp.where((top > 0) & jnp.isfinite(top), top, jnp.ones_like(top))
    return unit * jnp.sqrt(sum(jnp.sum((x / unit) ** 2) for x in leaves))


def all_finite(a: Tree) -> Bool[Array, ""]:
    """Whether no floating-point entry of the tree is nan or infinite."""
    flags = [
        jnp.all(jnp.isfinite(x)) for x in jax.tree.leaves(a) if jnp.issubdtype(x.dtype, jnp.inexact)
    ]
    return jnp.all(jnp.stack(flags)) if flags else jnp.array(True)


def cast(a: Tree, dtype) -> Tree:
    """Convert the floating-point leaves to one dtype; integers and keys stay as they are."""

    def one(x):
        return x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x

    return jax.tree.map(one, a)


def form(a: Tree) -> Any:
    """The structure of a tree, and the shape and the dtype of each leaf: what programs differ by.

    >>> two, three = {"w": jnp.zeros(2)}, {"w": jnp.zeros(3)}
    >>> form(two) == form(zeros_like(two)), form(two) == form(three)
    (True, False)
    """
    leaves, structure = jax.tree.flatten(a)
    return structure, tuple((leaf.shape, leaf.dtype) for leaf in leaves)


def count(a: Tree) -> int:
    """How many numbers the tree holds."""
    return sum(int(np.prod(x.shape)) for x in jax.tree.leaves(a))


def nbytes(a: Tree) -> int:
    """How many bytes the leaves take (arrays or their shapes and dtypes)."""
    return sum(int(np.prod(x.shape)) * x.dtype.itemsize for x in jax.tree.leaves(a))


def name_of(path) -> str:
    """Write the key path of a leaf as names joined by slashes."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def named(a: Tree) -> dict[str, Any]:
    """The leaves by the name of their path, in the tree's order.

    >>> named({"affine1": {"weight": 1, "bias": 2}})
    {'affine1/bias': 2, 'affine1/weight': 1}
    """
    return {name_of(path): leaf for path, leaf in jax.tree.flatten_with_path(a)[0]}


def shortest(x) -> Any:
    """An array as Python numbers, each with the shortest text that gives the same value again.

    >>> float(np.float32(0.1)), shortest(np.float32(0.1))
    (0.10000000149011612, 0.1)
    """
    return np.asarray(x).astype(str).astype(np.float64).tolist()


def _few(names: list[str]) -> str:
    """The first of many names, which may be any text."""
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"{[name[:100] for name in names[:5]]}{more}"


def restore(template: Tree, leaves: dict[str, np.ndarray]) -> Tree:
    """Build the tree of `template`'s structure from leaves by name: the inverse of `named`.

    Raises:
        CheckpointError: a leaf is missing, left over, or has another shape or dtype than the
            template's.
    """
    paths, structure = jax.tree.flatten_with_path(template)
    wanted = {name_of(path): leaf for path, leaf in paths}
    if wanted.keys() != leaves.keys():
        missing, extra = (
            sorted(wanted.keys() - leaves.keys()),
            sorted(leaves.keys() - wanted.keys()),
        )
        raise CheckpointError(
            f"the arrays are not those of this network: missing {_few(missing)}, "
            f"left over {_few(extra)}",
            next="use the configuration that it was saved with",
        )
    for name, leaf in wanted.items():
        got = leaves[name]
        if got.shape != leaf.shape or got.dtype != leaf.dtype:
            raise CheckpointError(
                f"array '{name}' is {got.dtype}{list(got.shape)}, "
                f"wanted {leaf.dtype}{list(leaf.shape)}",
                next="use the configuration that it was saved with",
            )
    return jax.tree.unflatten(structure, [jnp.asarray(leaves[name]) for name in wanted])
