"""Clipping: gradients that are too large are cut before a rule sees them.

These are links of a `Chain`, before the rule. An infinite gradient is not made to look like a
finite one, except by `ClipByValue`: training stops there, and says where.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from .. import tree
from ..tree import Tree
from . import ranges
from .core import Link


@dataclass(frozen=True)
class ClipByValue(Link):
    """Cut each entry of the gradients.

    Update:  grads ← min(max(grads, −limit), limit)
    State:   none
    Source:  Mikolov 2012, §3.3; Optax's clip

    An infinite entry becomes the limit; one that is not a number stays so.

    Args:
        limit: the greatest magnitude of an entry.

    Raises:
        ConfigError: limit is not a positive number.

    >>> updates, _ = ClipByValue(1.0).update({"w": jnp.array([-3.0, 0.5])}, (), None)
    >>> updates["w"].tolist()
    [-1.0, 0.5]
    """

    limit: float

    def __post_init__(self):
        ranges.positive(self, "limit")

    def init(self, params):
        return ()

    def update(self, grads, state, params):
        return jax.tree.map(lambda g: jnp.clip(g, -self.limit, self.limit), grads), state


@dataclass(frozen=True)
class ClipByNorm(Link):
    """Shorten the gradient, all parameters together.

    Update:  grads ← grads · min(1, limit/‖grads‖)
    State:   none
    Source:  Pascanu et al. 2013, arXiv:1211.5063, algorithm 1; Optax's clip_by_global_norm

    Args:
        limit: the greatest length of the gradient.

    Raises:
        ConfigError: limit is not a positive number.

    >>> grads = {"w": jnp.array([3.0]), "b": jnp.array([4.0])}
    >>> updates, _ = ClipByNorm(1.0).update(grads, (), None)
    >>> [round(float(updates[name][0]), 4) for name in ("w", "b")]
    [0.6, 0.8]
    """

    limit: float

    def __post_init__(self):
        ranges.positive(self, "limit")

    def init(self, params):
        return ()

    def update(self, grads, state, params):
        return tree.scale(_cut(grads, self.limit), grads), state


@dataclass(frozen=True)
class ClipByLayer(Link):
    """Shorten the gradient of each layer by itself.

    A layer is what has the same name up to the last part: "affine1/weight" and "affine1/bias".

    Update:  grads[layer] ← grads[layer] · min(1, limit/‖grads[layer]‖)
    State:   none
    Source:  `ClipByNorm`, layer by layer, so that one steep layer does not still the others

    Args:
        limit: the greatest length of a layer's gradient.

    Raises:
        ConfigError: limit is not a positive number.

    >>> grads = {"affine1": {"weight": jnp.array([3.0])}, "affine2": {"weight": jnp.array([0.5])}}
    >>> updates, _ = ClipByLayer(1.0).update(grads, (), None)
    >>> [round(float(updates[name]["weight"][0]), 4) for name in updates]
    [1.0, 0.5]
    """

    limit: float

    def __post_init__(self):
        ranges.positive(self, "limit")

    def init(self, params):
        return ()

    def update(self, grads, state, params):
        layers: dict[str, list[Any]] = {}
        for name, leaf in tree.named(grads).items():
            layers.setdefault(_layer(name), []).append(leaf)
        cuts = {layer: _cut(leaves, self.limit) for layer, leaves in layers.items()}
        return jax.tree.map_with_path(
            lambda path, g: cuts[_layer(tree.name_of(path))].astype(g.dtype) * g, grads
        ), state


def _layer(name: str) -> str:
    return name.rpartition("/")[0]


def _cut(grads: Tree, limit: float):
    """min(1, limit/‖grads‖), and 1 for no gradient at all."""
    return limit / jnp.maximum(tree.norm(grads), limit)
