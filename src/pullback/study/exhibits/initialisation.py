"""First weights: what they do to signals and gradients in depth, and which never part."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from ... import tree
from ...catalogue.variance import variance_by_layer
from ...curvature import Objective
from ...initializer import (
    Constant,
    FanInUniform,
    Glorot,
    He,
    Initializer,
    LeCun,
    Normal,
    Orthogonal,
    Zeros,
)
from ...loss import SoftmaxCrossEntropy
from ...maps import Affine, Map, Relu, Run, Sigmoid, Tanh, chain
from ...penalty import Sum
from ...symmetry import stuck_layers
from ..chart import Chart, Curve, Panel
from .core import Given, Shown

DRAWS: dict[str, Initializer] = {
    "normal, 0.01": Normal(0.01),
    "normal, 1": Normal(1.0),
    "fan-in uniform": FanInUniform(),
    "Glorot": Glorot(),
    "He": He(),
    "LeCun": LeCun(),
    "orthogonal": Orthogonal(),
}
ACTIVATIONS: dict[str, Map] = {"sigmoid": Sigmoid(), "tanh": Tanh(), "ReLU": Relu()}


def initial_signals(
    given: Given,
    *,
    draws: tuple[str, ...] = tuple(DRAWS),
    width: int = 200,
    depth: int = 8,
    examples: int = 64,
    steps: int = 200,
) -> Shown:
    """Send a signal up and a cotangent down a deep network before training, and look for symmetry.

    Numbers: the variance of the values of the highest hidden layer over that of the lowest,
    "values-ReLU-He" and so on for each activation and initialiser, with '-' for every gap; that of
    the cotangents of the lowest over the highest, "cotangents-ReLU-He" and so on.
    "saturated-large", the share of the tanh units that are above 0.99 or below −0.99 under normal
    weights of deviation 1. "stuck-zeros", "stuck-constant" and "stuck-he": in how many of the two
    layers of a small network units begin equal and stay so. "units-apart" and "inputs-apart": how
    far the weights of a layer that began at a constant are from each other after some steps of
    descent, between units of one input, and between inputs of one unit.
    """
    widths = (width,) * (depth + 1) + (10,)
    values, cotangents, numbers = {}, {}, {}
    for name, map in ACTIVATIONS.items():
        for drawn in draws:
            levels = variance_by_layer(
                DRAWS[drawn], map, widths, examples=examples, seed=given.seed
            ).levels
            hidden = levels[1:-1]
            values[name, drawn] = np.array([level.value for level in hidden])
            cotangents[name, drawn] = np.array([level.cotangent for level in hidden])
            key = "-".join((name, *drawn.replace(",", "").split()))
            up, down = values[name, drawn], cotangents[name, drawn]
            numbers[f"values-{key}"] = _over(up[-1], up[0])
            numbers[f"cotangents-{key}"] = _over(down[0], down[-1])
    numbers["saturated-large"] = _saturated(given.seed, width, examples)
    numbers |= _symmetry(given.seed, steps)
    return Shown(
        numbers,
        (
            _chart(
                "values",
                "Values on their way up",
                "The variance of the values of each hidden layer, for inputs of variance 1.",
                values,
            ),
            _chart(
                "cotangents",
                "Gradients on their way down",
                "The variance of the cotangent of each hidden layer, for cotangents of the output "
                "of variance 1. They come from the right.",
                cotangents,
            ),
        ),
    )


def _over(a: float, b: float) -> float:
    return float(a / b) if b else 0.0


def _chart(id: str, title: str, caption: str, found: dict[tuple[str, str], np.ndarray]) -> Chart:
    return Chart(
        id=id,
        title=title,
        caption=caption,
        x="hidden layer",
        y="variance",
        panels=tuple(
            Panel(
                title=name,
                curves=tuple(
                    Curve(
                        name=drawn, x=np.arange(1, len(row) + 1), y=np.where(row > 0, row, np.nan)
                    )
                    for (of, drawn), row in found.items()
                    if of == name
                ),
            )
            for name in ACTIVATIONS
        ),
        log="y",
    )


def _saturated(seed: int, width: int, examples: int) -> float:
    weights, signal = jax.random.split(jax.random.key(seed))
    net = chain(Affine(width, initializer=Normal(1.0)), Tanh())
    x = jax.random.normal(signal, (examples, width))
    params, state = net.init(weights, x)
    y, _, _ = net.forward(params, state, x, Run())
    return float(jnp.mean(jnp.abs(y) > 0.99))


def _symmetry(seed: int, steps: int) -> dict[str, float]:
    """Which layers of 6-5-3 stay equal, and what a constant becomes."""
    rng = np.random.default_rng(seed)
    batch = rng.standard_normal((30, 6)), np.eye(3)[rng.integers(3, size=30)], np.ones(30)
    numbers = {}
    with jax.enable_x64(True):
        batch = jax.tree.map(jnp.asarray, batch)
        for name, draw in (("zeros", Zeros()), ("constant", Constant(0.1)), ("he", He())):
            net = chain(Affine(5, initializer=draw), Relu(), Affine(3, initializer=draw))
            params, state = net.init(jax.random.key(seed), batch[0])
            at = Objective(net, SoftmaxCrossEntropy(), Sum(), state, batch)
            numbers[f"stuck-{name}"] = float(len(stuck_layers(at, params)))
            if name == "constant":
                weight = np.asarray(_descend(at, params, steps)["affine1"]["weight"])
                numbers["units-apart"] = float(np.ptp(weight, axis=1).max())
                numbers["inputs-apart"] = float(np.ptp(weight, axis=0).max())
    return numbers


@partial(jax.jit, static_argnums=2)
def _descend(at: Objective, params, steps: int):
    def step(_, params):
        return tree.add(params, tree.scale(-0.1, at.gradient(params)))

    return jax.lax.fori_loop(0, steps, step, params)
