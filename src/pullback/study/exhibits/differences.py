"""Numerical gradient checking: how the error of differences falls with the step, and then grows."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from ... import tree
from ...arithmetic import full_precision
from ...check import check_gradients
from ...curvature import Objective
from ...maps import Affine, Net, Run, Tanh, chain
from ...model import precision
from ...prepared import prepare
from ...train import begin
from ..chart import Curve, chart
from .core import Given, Shown


class HalfBias(Affine):
    """An affine map whose derivative by the bias is half of what it should be."""

    def reverse(self, params, saved, dy):
        """Reverse as an affine map does, but for the bias."""
        grads, dx = super().reverse(params, saved, dy)
        return grads | {"bias": 0.5 * grads["bias"]}, dx


def difference_steps(given: Given, *, examples: int = 8, directions: int = 5) -> Shown:
    """Hold forward and central differences of a loss against backpropagation, step by step.

    Along random directions v of length 1, with h from 10⁻¹ to 10⁻¹⁴, in float64 and float32:

        forward   (J(θ + hv) − J(θ))/h           off by h/2 · vᵀHv, of the order h
        central   (J(θ + hv) − J(θ − hv))/2h     off by the order h²
        both      and by rounding, of the order u/h, u the precision's unit

    The relative error is |d − vᵀ∇J| / (|d| + |vᵀ∇J|), the largest over the directions. The network
    is that of the arm; it should be smooth, for at a kink there is no derivative.

    Source:  Neural Networks, §6.1; Nocedal & Wright 2006, §8.1

    Numbers: "forward-order" and "central-order", the slopes of the errors in log h where truncation
    rules; "best-central", "best-step", the least error of central differences and its h;
    "single-best", the least in float32; "broken", the error that `check_gradients` finds in a
    network with a wrong derivative, and "sound", in the same with a right one.
    """
    (experiment,) = given.experiments.values()
    with precision(experiment):
        prepared = prepare(experiment, given.data_dir)
        learner = begin(prepared.task, given.seed, prepared.like)
    steps = np.logspace(-1, -14, 53)
    train = prepared.loaded.train
    batch = (
        np.asarray(train.x[:examples], np.float64),
        train.targets(np.dtype(np.float64), prepared.columns)[:examples],
        np.ones(examples),
    )
    curves, errors = [], {}
    for dtype, of in ((np.float64, "float64"), (np.float32, "float32")):
        with jax.enable_x64(True):
            here = jax.tree.map(jnp.asarray, tree.cast((learner.params, batch), dtype))
            found = _errors(prepared.task, learner.state, here, steps, directions, given.seed)
        for name, row in found.items():
            errors[f"{name} {of}"] = row
            curves.append(Curve(name=f"{name}, {of}", x=steps, y=np.maximum(row, 1e-17)))
    exact = errors["central float64"]
    return Shown(
        {
            "forward-order": _slope(steps, errors["forward float64"], 1e-5, 1e-2),
            "central-order": _slope(steps, exact, 1e-3, 1e-1),
            "best-central": float(exact.min()),
            "best-step": float(steps[exact.argmin()]),
            "single-best": float(errors["central float32"].min()),
            "broken": _worst(prepared, HalfBias(6), batch, given.seed),
            "sound": _worst(prepared, Affine(6), batch, given.seed),
        },
        (
            chart(
                "steps",
                "Error of differences by their step",
                "The largest relative error against backpropagation along random directions. From "
                "the right: truncation falls with h, or h²; then rounding grows as 1/h.",
                "step h",
                "relative error",
                curves,
                log="xy",
            ),
        ),
    )


def _errors(task, state, here, steps, directions: int, seed: int) -> dict[str, np.ndarray]:
    """The largest relative errors of both differences over directions, for each step."""
    params, batch = here
    run = Run(jax.random.key(seed), True)
    objective = Objective(task.net, task.loss, task.penalty, state, batch, run)
    flat, unravel = ravel_pytree(params)
    lines = np.random.default_rng(seed).standard_normal((directions, flat.size))
    lines = jnp.asarray(lines / np.linalg.norm(lines, axis=1, keepdims=True), flat.dtype)

    @jax.jit
    @full_precision()
    def compute(flat, lines, steps):
        slopes = lines @ ravel_pytree(objective.gradient(unravel(flat)))[0]

        def value(theta):
            return objective.value(unravel(theta))

        def along(h):
            up = jax.vmap(lambda v: value(flat + h * v))(lines)
            down = jax.vmap(lambda v: value(flat - h * v))(lines)
            return (up - value(flat)) / h, (up - down) / (2 * h)

        return slopes, *jax.lax.map(along, steps)

    slopes, *both = map(np.asarray, compute(flat, lines, jnp.asarray(steps, flat.dtype)))
    return {
        name: (np.abs(d - slopes[None]) / (np.abs(d) + np.abs(slopes)[None])).max(axis=1)
        for name, d in zip(("forward", "central"), both, strict=True)
    }


def _slope(steps: np.ndarray, errors: np.ndarray, low: float, high: float) -> float:
    """The slope of log error in log h between two steps."""
    there = (steps >= low) & (steps <= high)
    return float(np.polyfit(np.log(steps[there]), np.log(errors[there]), 1)[0])


def _worst(prepared, layer: Affine, batch, seed: int) -> float:
    net: Net = chain(layer, Tanh(), Affine(prepared.outputs))
    task = dataclasses.replace(prepared.task, net=net)
    with precision(prepared.experiment):
        learner = begin(task, seed, prepared.like)
    report = check_gradients(net, task.loss, task.penalty, learner.params, learner.state, batch)
    return report.worst
