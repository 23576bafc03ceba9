"""What the tests of all formats share: maps that are trained a little, and what they compute."""

from __future__ import annotations

import jax
import numpy as np

from pullback import maps
from pullback.maps import Run


def several(x):
    return x if isinstance(x, tuple) else (x,)


def moved(tree, rng):
    """Parameters and running statistics as after some training: no zeros, no ones."""
    return jax.tree.map(
        lambda a: np.asarray(a) + np.asarray(rng.uniform(0.1, 0.5, a.shape), a.dtype), tree
    )


def held(case, dtype):
    """Inputs, parameters and state of a case."""
    x, rng = case.input(0, dtype), np.random.default_rng(1)
    params, state = case.map.init(jax.random.key(0), x)
    return several(x), moved(params, rng), moved(state, rng)


def far_out(case):
    """Inputs of an activation at its kinks and far from 0, with its parameters and state."""
    (x,), params, state = held(case, np.float32)
    far = x * np.float32(min(1e4, case.reach))
    kinks = [np.full_like(x, kink) for kink in (-2, -1, 0, 1, 2)]
    return np.concatenate([*kinks, 10 * x, far]), params, state


def expected(map, params, state, x):
    x = jax.tree.map(jax.numpy.asarray, x if len(x) > 1 else x[0])
    return np.asarray(map.forward(params, state, x, Run())[0])


def inside(map):
    """The classes of the maps that a map is made of."""
    if isinstance(map, maps.Net):
        return {kind for node in map.nodes for kind in inside(node.map)}
    return inside(map.map) if isinstance(map, maps.Recompute) else {type(map)}


def under_onnxruntime(running, inputs):
    """The output of a session of ONNX Runtime, an array."""
    (y,) = running.run(None, inputs)
    assert isinstance(y, np.ndarray)
    return y
