"""L1 and L2 on a quadratic, as the slides have them: where they end, and what they set to 0."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ...closed_form import ridge
from ...curvature import Objective
from ...loss import SquaredError
from ...maps import Affine
from ...penalty import L1, L2, Proximable, Sum
from ..chart import Chart, Curve, Panel, Plane
from ..chart import chart as chart_of
from .core import Given, Shown

Rows = tuple[float, ...]


def l1_share(curvature: np.ndarray, minimum: np.ndarray, strength: Any) -> np.ndarray:
    """The minimum of ½ h (w − w*)² + α |w|: sign(w*) max(|w*| − α/h, 0).

    Source: Training Deep Nets, L1 regularization, which prints |w| for |w*|

    >>> l1_share(np.array([2.0, 2.0]), np.array([-1.0, 0.25]), 1.0).tolist()
    [-0.5, 0.0]
    """
    return np.sign(minimum) * np.maximum(np.abs(minimum) - np.asarray(strength) / curvature, 0)


def l2_share(curvature: np.ndarray, minimum: np.ndarray, strength: Any) -> np.ndarray:
    """The minimum of ½ h (w − w*)² + ½ α w²: h w*/(h + α).

    Source: Training Deep Nets, L2 regularization

    >>> l2_share(np.array([2.0]), np.array([1.5]), 1.0).tolist()
    [1.0]
    """
    return curvature * minimum / (curvature + np.asarray(strength))


def l1_and_l2(
    given: Given,
    *,
    pair: tuple[Rows, Rows] = ((2.0, 0.4), (1.2, 1.0)),
    strength: float = 0.7,
    curvatures: Rows = (4.0, 2.0, 1.0, 0.5, 0.25),
    minimum: Rows = (0.3, -1.0, 0.8, 1.2, -0.6),
    strengths: int = 41,
    steps: int = 4000,
) -> Shown:
    """Hold the closed forms of the slides against descent with our penalties, in float64.

    The quadratic is a linear regression whose inputs are orthogonal. `pair` is the curvatures and
    the minimum of one with two weights, which is drawn with the balls of both norms; the paths are
    those of another.

    Numbers: "l1-apart" and "l2-apart", the greatest distance of a weight of descent with proximal
    steps from the closed form, over all strengths; "l1-zeros" and "l2-zeros", how many weights are
    exactly 0 at `strength`, by descent, "l1-zeros-by-formula" by the closed form;
    "subgradient-zeros", by descent with the subgradient of L1. "printed-gradient", of the gradient
    of ‖Xw − y‖² + ½ α ‖w‖² at (XᵀX + αI)⁻¹Xᵀy, the largest entry; "mended-gradient", at
    (XᵀX + ½ αI)⁻¹Xᵀy.
    """
    h, top = np.array(curvatures), np.array(minimum)
    alphas = np.concatenate([[0.0], np.geomspace(0.01, 4.0, strengths - 1)])
    penalties = {"l1": L1(1.0), "l2": L2(1.0)}
    forms: dict[str, Callable[..., np.ndarray]] = {"l1": l1_share, "l2": l2_share}
    numbers: dict[str, float] = {}
    exact = {n: np.stack([form(h, top, a) for a in alphas]) for n, form in forms.items()}
    for name, penalty in penalties.items():
        reached = _descend(h, top, penalty, np.append(alphas, strength), steps)
        numbers[f"{name}-apart"] = float(np.abs(reached[:-1] - exact[name]).max())
        numbers[f"{name}-zeros"] = float(np.sum(reached[-1] == 0))
    numbers["l1-zeros-by-formula"] = float(np.sum(l1_share(h, top, strength) == 0))
    numbers["subgradient-zeros"] = float(np.sum(_subgradient(h, top, strength, steps) == 0))
    numbers |= _slips(given.seed, strength)
    return Shown(
        numbers,
        (
            _balls(np.array(pair[0]), np.array(pair[1]), strength),
            _paths(h, alphas, exact),
            _kept(alphas, exact),
        ),
    )


def _regression(h: np.ndarray, top: np.ndarray) -> Objective:
    """A regression whose loss is ½ Σ h (w − w*)²: inputs √(n h) times the unit vectors."""
    x = np.diag(np.sqrt(h * len(h)))
    batch = (jnp.asarray(x), jnp.asarray(x @ top)[:, None], jnp.ones(len(h)))
    return Objective(Affine(1, bias=False), SquaredError(), Sum(), {}, batch)


def _descend(
    h: np.ndarray, top: np.ndarray, penalty: Proximable, strengths: np.ndarray, steps: int
) -> np.ndarray:
    """Where descent with a proximal step ends from 0, for each strength (strengths, weights)."""
    with jax.enable_x64(True):
        objective, rate = _regression(h, top), float(1 / h.max())

        @jax.jit
        @jax.vmap
        def walk(strength):
            def step(_, params):
                moved = params["weight"] - rate * objective.gradient(params)["weight"]
                return penalty.prox({"weight": moved}, rate * strength)

            return jax.lax.fori_loop(0, steps, step, {"weight": jnp.zeros((len(h), 1))})

        return np.asarray(walk(jnp.asarray(strengths))["weight"])[:, :, 0]


def _subgradient(h: np.ndarray, top: np.ndarray, strength: float, steps: int) -> np.ndarray:
    """Where descent by L1's subgradient is after so many steps from a random start."""
    with jax.enable_x64(True):
        objective, rate, penalty = _regression(h, top), float(0.1 / h.max()), L1(strength)

        @jax.jit
        def walk(params):
            def step(_, params):
                slope = objective.gradient(params)["weight"] + penalty.reverse(params)["weight"]
                return {"weight": params["weight"] - rate * slope}

            return jax.lax.fori_loop(0, steps, step, params)

        start = np.random.default_rng(0).standard_normal((len(h), 1))
        return np.asarray(walk({"weight": jnp.asarray(start)})["weight"])


def _slips(seed: int, strength: float) -> dict[str, float]:
    """The gradient of the slides' objective at the solution that they print, and at the right one.

    `ridge` takes the mean of half the squares: its strength is α/n for XᵀX + αI.
    """
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((20, 3)), rng.standard_normal((20, 1))
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    found = {}
    for name, alpha in (("printed", strength), ("mended", strength / 2)):
        w = ridge(x, y, alpha / len(x))["weight"]
        slope = 2 * x.T @ (x @ w - y) + strength * w
        found[f"{name}-gradient"] = float(np.abs(slope).max())
    return found


def _balls(h: np.ndarray, top: np.ndarray, strength: float) -> Chart:
    side = np.linspace(-0.6, 2.2, 57)
    values = 0.5 * h[0] * (side[None, :] - top[0]) ** 2 + 0.5 * h[1] * (side[:, None] - top[1]) ** 2
    turn = np.linspace(0, 2 * np.pi, 121)
    along = np.concatenate([[0.0], np.geomspace(1e-3, 1e3, 200)])
    panels = []
    for name, form in (("L1", l1_share), ("L2", l2_share)):
        end = form(h, top, strength)
        path = np.stack([form(h, top, a) for a in along])
        if name == "L1":
            size = np.abs(end).sum()
            corners = np.array([[1, 0], [0, 1], [-1, 0], [0, -1], [1, 0]]) * size
            ball = np.concatenate([np.linspace(a, b, 25) for a, b in itertools.pairwise(corners)])
        else:
            ball = np.linalg.norm(end) * np.stack([np.cos(turn), np.sin(turn)], axis=1)
        seen = (ball >= side[0]).all(axis=1)
        ball = np.where(seen[:, None], ball, np.nan)
        panels.append(
            Panel(
                title=f"{name}: w = ({end[0]:.2f}, {end[1]:.2f})",
                curves=(
                    Curve(name="ball of the norm", x=ball[:, 0], y=ball[:, 1]),
                    Curve(name="solutions as α grows", x=path[:, 0], y=path[:, 1]),
                    Curve(name="minimum without a penalty", x=top[:1], y=top[1:], dots=True),
                    Curve(name=f"solution at α = {strength:g}", x=end[:1], y=end[1:], dots=True),
                ),
                plane=Plane(x=side, y=side, values=tuple(np.round(row, 4) for row in values)),
            )
        )
    return Chart(
        id="balls",
        title="A quadratic under two penalties",
        caption=f"Lines of equal loss, with curvatures {h[0]:g} and {h[1]:g}. Each solution lies "
        "where a line of equal loss touches the ball of its norm: for L1 at a corner, where one "
        "weight is 0.",
        x="w1",
        y="w2",
        panels=tuple(panels),
        equal=True,
    )


def _paths(h: np.ndarray, alphas: np.ndarray, exact: dict[str, np.ndarray]) -> Chart:
    return Chart(
        id="paths",
        title="Weights against the strength of a penalty",
        caption="The closed forms. L1 takes α/h from each weight until it is 0; L2 shrinks it by "
        "h/(h + α), and to 0 never.",
        x="strength α",
        y="weight",
        panels=tuple(
            Panel(
                title=name.upper(),
                curves=tuple(
                    Curve(name=f"curvature h = {each:g}", x=alphas[1:], y=weights[1:, i])
                    for i, each in enumerate(h)
                ),
            )
            for name, weights in exact.items()
        ),
        log="x",
    )


def _kept(alphas: np.ndarray, exact: dict[str, np.ndarray]) -> Chart:
    return chart_of(
        "kept",
        "Weights that are not 0",
        "Of the same quadratic.",
        "strength α",
        "weights that are not 0",
        [
            Curve(name=name.upper(), x=alphas[1:], y=(weights[1:] != 0).sum(axis=1))
            for name, weights in exact.items()
        ],
        log="x",
    )
