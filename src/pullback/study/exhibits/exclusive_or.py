"""Exclusive or: by no linear model, by weights set by hand, and by training."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from ...closed_form import ridge
from ...curvature import Objective
from ...data import Batches
from ...initializer import He
from ...loss import SquaredError
from ...maps import Affine, Net, Relu, Run, chain
from ...optim import SGD
from ...penalty import Sum
from ...train import Task
from ...tune.together import Together, Trial
from ..chart import Chart, Curve, Panel, Plane, chart
from .core import Given, Shown

CORNERS = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
TRUTH = np.array([[0.0], [1.0], [1.0], [0.0]])
# W, c, w and b of the slides: y = wᵀ max(0, Wᵀx + c) + b.
BY_HAND = {
    "affine1": {"weight": np.ones((2, 2)), "bias": np.array([0.0, -1.0])},
    "affine2": {"weight": np.array([[1.0], [-2.0]]), "bias": np.array([0.0])},
}
SOLVED = 0.01


def exclusive_or(
    given: Given,
    *,
    widths: tuple[int, ...] = (2, 3, 4, 8, 16),
    starts: int = 200,
    steps: int = 2000,
    learning_rate: float = 0.1,
) -> Shown:
    """Set the weights of the slides by hand, and train from many starts, a width as one program.

    Source:  Training Deep Nets, "Example: Learning XOR"

    Numbers: "by-hand", the greatest error of the weights of the slides over the four points;
    "by-hand-gradient", the largest entry of the gradient of the squared error there;
    "linear-weight" and "linear-bias" of the best linear model, the largest weight in magnitude and
    the bias, and "linear-loss", its mean squared error; "solved-2" and so on, of each width the
    share of starts from which training comes to a mean squared error below 0.01.
    """
    net = _network(2)
    hand = {name: BY_HAND.get(name, {}) for name in (node.owner for node in net.nodes)}
    with jax.enable_x64(True):
        params, x, t = jax.tree.map(jnp.asarray, (hand, CORNERS, TRUTH))
        state = {name: {} for name in hand}
        wires, _, _ = net.trace(params, state, x, Run())
        said = np.asarray(wires[net.nodes[-1].name])
        hidden = np.asarray(wires["relu1"])
        objective = Objective(net, SquaredError(), Sum(), state, (x, t, jnp.ones(4)))
        slopes = [np.abs(g).max() for g in jax.tree.leaves(objective.gradient(params))]
        side = np.linspace(-0.5, 1.5, 41)
        plane = np.stack([each.ravel() for each in np.meshgrid(side, side)], axis=1)
        field = np.asarray(net.forward(params, state, jnp.asarray(plane), Run())[0])
    line = ridge(CORNERS, TRUTH, 0.0)
    by_line = CORNERS @ line["weight"] + line["bias"]
    shares = [_solved(given.seed, width, starts, steps, learning_rate) for width in widths]
    return Shown(
        {
            "by-hand": float(np.abs(said - TRUTH).max()),
            "by-hand-gradient": float(max(slopes)),
            "linear-weight": float(np.abs(line["weight"]).max()),
            "linear-bias": float(line["bias"][0]),
            "linear-loss": float(np.mean((by_line - TRUTH) ** 2)),
            **{f"solved-{w}": share for w, share in zip(widths, shares, strict=True)},
        },
        (
            Chart(
                id="by-hand",
                title="What the weights of the slides say",
                caption="The output of the network over the plane, cut off at 0 and 1; the line is "
                "at ½.",
                x="x1",
                y="x2",
                panels=(
                    Panel(
                        curves=_points(CORNERS),
                        plane=Plane(
                            x=side,
                            y=side,
                            values=tuple(np.clip(field, 0, 1).round(4).reshape(41, 41)),
                            lines="half",
                        ),
                    ),
                ),
                equal=True,
            ),
            chart(
                "hidden",
                "The same four points as the hidden layer sees them",
                "Both points with output 1 fall on (1, 0), so that a line parts them from the "
                "others: here h1 − 2 h2 = ½.",
                "h1",
                "h2",
                [
                    *_points(hidden),
                    Curve(name="output ½", x=np.linspace(0, 2.5, 13), y=_boundary()),
                ],
            ),
            chart(
                "solved",
                "Starts from which training solves it",
                f"Of {starts} starts of each width: {steps:,} steps of descent over all four "
                f"points with learning rate {learning_rate:g}, to a mean squared error below "
                f"{SOLVED:g}.",
                "hidden units",
                "share of the starts",
                [Curve(name="", x=widths, y=shares)],
                percent=True,
            ),
        ),
    )


def _boundary() -> np.ndarray:
    return (np.linspace(0, 2.5, 13) - 0.5) / 2


def _points(x: np.ndarray) -> tuple[Curve, ...]:
    """The four points, parted by their class."""
    return tuple(
        Curve(name=f"y = {c}", x=x[TRUTH[:, 0] == c, 0], y=x[TRUTH[:, 0] == c, 1], dots=True)
        for c in (0, 1)
    )


def _network(width: int) -> Net:
    return chain(Affine(width, initializer=He()), Relu(), Affine(1))


def _solved(seed: int, width: int, starts: int, steps: int, learning_rate: float) -> float:
    """The share of starts that end below the error that counts as solved."""
    x, t = CORNERS.astype(np.float32), TRUTH.astype(np.float32)
    batches = Batches(x, t, None, len(x), seed, float("inf"))
    task = Task(_network(width), SquaredError(), SGD(learning_rate), classifies=False)
    first = 10_000 * seed
    trials = [
        Trial(task, batches, {"train": batches}, first + i, epochs=steps) for i in range(starts)
    ]
    ends = Together(trials).advance(steps)
    # Ours halves the squares.
    return float(np.mean([2 * each["train"]["loss"] < SOLVED for each in ends]))
