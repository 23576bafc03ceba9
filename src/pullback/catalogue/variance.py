"""What a first draw does to a deep network: the variance of values and cotangents by layer.

A signal goes through the network of CA6, 784-500×4-10 without biases, before any training: up go
inputs of variance 1, down cotangents of variance 1. Where the variance grows or falls from layer to
layer, values or gradients explode or vanish in a deeper network.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

from ..initializer import Initializer
from ..maps import Affine, Map, Relu, Run, Selu, Tanh, chain
from .cases import INITIALIZERS

CA6_WIDTHS = (784, 500, 500, 500, 500, 10)
ACTIVATIONS = (Selu(), Tanh(), Relu())


class Level(NamedTuple):
    """A wire between two layers: its name, the variance of its values, and of its cotangents."""

    wire: str
    value: float
    cotangent: float


@dataclass(frozen=True)
class Signal:
    """What one initialiser does under one activation: a level for each wire, the input first."""

    initializer: Initializer
    activation: Map
    levels: tuple[Level, ...]


def variance_by_layer(
    initializer: Initializer,
    activation: Map,
    widths: tuple[int, ...] = CA6_WIDTHS,
    *,
    examples: int = 128,
    seed: int = 0,
) -> Signal:
    """Send a normal signal up and a normal cotangent down, and measure both at every layer.

    The variance is that over all examples and units together.

    Args:
        initializer: draws all weights; there are no biases.
        activation: after each layer but the last.
        widths: of the input, the hidden layers and the output.
        examples: how many rows the signal has.
        seed: of the weights and of both signals.

    >>> from pullback.initializer import Zeros
    >>> levels = variance_by_layer(Zeros(), Tanh(), (4, 3, 2)).levels
    >>> [(level.wire, level.value) for level in levels[1:]], levels[0].cotangent
    ([('tanh1', 0.0), ('affine2', 0.0)], 0.0)
    """
    first, *hidden, last = widths
    layers = [each for width in hidden for each in (Affine(width, False, initializer), activation)]
    net = chain(*layers, Affine(last, False, initializer))
    weights, up, down = jax.random.split(jax.random.key(seed), 3)
    x = jax.random.normal(up, (examples, first))
    params, state = net.init(weights, x)
    values, saved, _ = net.trace(params, state, x, Run())
    _, cotangents = net.sweep(params, saved, jax.random.normal(down, (examples, last)))
    wires = ["x", *(node.name for node in net.nodes[1::2]), net.nodes[-1].name]
    levels = (
        Level(wire, float(jnp.var(values[wire])), float(jnp.var(cotangents[wire])))
        for wire in wires
    )
    return Signal(initializer, activation, tuple(levels))


def signals() -> list[Signal]:
    """The signal for every initialiser of the catalogue under each of three activations."""
    return [
        variance_by_layer(initializer, activation)
        for activation in ACTIVATIONS
        for initializer in INITIALIZERS
    ]
