"""Units that begin equal and cannot part: what zeros or a constant do to a hidden layer.

Two units of one layer with equal incoming weights give equal outputs; if their outgoing weights are
equal too, so are their cotangents and their gradients, and no rule that treats entries alike will
ever part them: together they do no more than one. With zeros everywhere there is often nothing to
part, since the gradient of the hidden weights is itself 0 (Neural Networks, §2.3.1; the sheets,
"Initializations").

Equal units are not always stuck: those of a last layer are parted by their targets, those below
random weights by these, and those below a last layer of zeros once it has moved. So it is tried.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from . import tree
from .curvature import Objective
from .tree import Tree

# How far a trial step moves the entry with the largest gradient.
STRIDE = 0.01

# What two sums of the same terms in another order may differ by, relative to the largest.
ROUNDING = 1e-12


def stuck_layers(at: Objective, params: Tree) -> tuple[str, ...]:
    """Say which layers have units that begin equal and stay equal, one sentence for each.

    From the first weights a few plain steps of descent are tried, one more than there are layers:
    so many it takes until a difference at one end has come to the other.

    Args:
        at: what is trained, with the mode of a training pass.
        params: the first weights, of any precision; the trial is in float64.
    """
    with jax.enable_x64(True):
        at, params = tree.cast((at, params), np.float64)
        first = _layers(params)
        equal = {name for name, layer in first.items() if _is_equal(layer)}
        if not equal:
            return ()
        steps = len(first) + 1
        last = _layers(_descend(at, params, steps))
    found = []
    for name in first:
        if name in equal and _is_equal(last[name]):
            width = first[name]["weight"].shape[-1]
            rests = np.array_equal(first[name]["weight"], last[name]["weight"])
            what = (
                "the gradient of their weights was exactly 0: the layer does not learn"
                if rests
                else "they got the same gradient: the layer can do no more than one unit"
            )
            found.append(
                f"the {width} units of '{name}' begin equal, and in {steps} trial steps of descent "
                f"{what}; draw its weights at random, as with 'he'"
            )
    return tuple(found)


def _descend(at: Objective, params: Tree, steps: int) -> Tree:
    gradient = jax.jit(Objective.gradient)
    for _ in range(steps):
        grads = gradient(at, params)
        largest = max(float(jnp.max(jnp.abs(grad))) for grad in jax.tree.leaves(grads))
        if largest == 0:
            return params
        params = tree.add(params, tree.scale(-STRIDE / largest, grads))
    return params


def _layers(params: Tree) -> dict[str, dict[str, Any]]:
    """The weight of each layer by the name of its owner, and the bias where there is one."""
    layers: dict[str, dict[str, Any]] = {}
    for name, leaf in tree.named(params).items():
        owner, _, kind = name.rpartition("/")
        if kind in ("weight", "bias"):
            layers.setdefault(owner, {})[kind] = np.asarray(leaf)
    return {owner: layer for owner, layer in layers.items() if "weight" in layer}


def _is_equal(layer: dict[str, np.ndarray]) -> bool:
    """Whether the layer has several units, and all have the same incoming weights and bias."""
    return layer["weight"].shape[-1] > 1 and all(
        np.ptp(leaf, axis=-1).max() <= ROUNDING * np.abs(leaf).max() for leaf in layer.values()
    )
