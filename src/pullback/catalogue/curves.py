"""Functions of one number and their derivatives, by our own forward and reverse, to be drawn."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from ..errors import ShapeError
from ..loss import CosineDistance
from ..maps import Map, Run
from .cases import LossCase

POINTS = 481


@dataclass(frozen=True)
class Curve:
    """One function: where it was taken, its values, and its derivatives."""

    name: str
    x: np.ndarray
    value: np.ndarray
    slope: np.ndarray


@dataclass(frozen=True)
class Plot:
    """Curves over one axis, and what that axis is."""

    about: str
    axis: str
    curves: tuple[Curve, ...]


def of_map(map: Map, reach: float = 5.0) -> Plot | None:
    """The curve of a map that acts on each entry by itself; None for every other map."""
    rows = np.random.default_rng(0).standard_normal((5, 4))
    with jax.enable_x64(True):
        try:
            alone = np.concatenate([_evaluate(map, rows[:, i : i + 1])[0] for i in range(4)], 1)
        except ShapeError:
            return None
        together, _ = _evaluate(map, rows)
        if together.shape != rows.shape or not np.allclose(together, alone):
            return None
        x = np.linspace(-reach, reach, POINTS)
        value, slope = _evaluate(map, x[:, None])
        return Plot(str(map), "x", (Curve("y", x, value[:, 0], slope[:, 0]),))


def _evaluate(map: Map, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """y, and the cotangent of x for a cotangent of ones."""
    at = jnp.asarray(x)
    params, state = map.init(jax.random.key(0), at)
    y, saved, _ = map.forward(params, state, at, Run())
    _, dx = map.reverse(params, saved, jnp.ones_like(y))
    return np.asarray(y), np.asarray(dx)


def of_loss(case: LossCase) -> Plot:
    """The loss of one example against its first output."""
    k = case.columns
    targets: dict[str, np.ndarray]
    if isinstance(case.loss, CosineDistance):
        axis, others, targets = "v, for the outputs (v, 1)", 1.0, {"t = (1, 0)": np.eye(2)[0]}
    elif case.targets == "classes":
        axis, others = "z of the first class, 0 for the others", 0.0
        targets = {"first class": np.eye(k)[0], "second class": np.eye(k)[1]}
    elif case.targets == "labels":
        axis, others, targets = "z", 0.0, {"t = 1": np.ones(1), "t = 0": np.zeros(1)}
    elif case.targets == "counts":
        axis, others, targets = "z", 0.0, {"t = 3": np.array([3.0])}
    else:
        axis, others, targets = "z − t", 0.0, {"t = 0": np.zeros(1)}
    curves = tuple(_loss_curve(case, name, t, others) for name, t in targets.items())
    return Plot(str(case.loss), axis, curves)


def _loss_curve(case: LossCase, name: str, t: np.ndarray, others: float) -> Curve:
    loss, v = case.loss, np.linspace(-4, 4, POINTS)
    width = loss.width(len(t))

    def value(v) -> tuple:
        z = jnp.full((1, width), others).at[0, 0].set(v)
        value, saved = loss.forward(z, jnp.asarray(t)[None], jnp.ones(1))
        return value, loss.reverse(saved)[0, 0]

    with jax.enable_x64(True):
        values, slopes = jax.jit(jax.vmap(value))(jnp.asarray(v))
    return Curve(name, v, np.asarray(values), np.asarray(slopes))
