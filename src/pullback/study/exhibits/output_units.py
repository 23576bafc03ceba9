"""Output units and the likelihoods that belong to them, as the slides pair them."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ...curvature import Objective
from ...initializer import Zeros
from ...loss import (
    GaussianLikelihood,
    Loss,
    SigmoidCrossEntropy,
    SoftmaxCrossEntropy,
    SquaredError,
)
from ...maps import Affine, Map, Run, Sigmoid, Softmax, Tanh, chain
from ...maps.activation import Identity
from ...optim import LBFGS, minimise
from ...penalty import Sum
from ..chart import Chart, Curve, Panel, chart
from .core import Given, Shown

MOST = 10_000


def output_units(
    given: Given,
    *,
    reach: float = 10.0,
    start: float = -8.0,
    learning_rate: float = 1.0,
    points: int = 400,
    hidden: int = 16,
    steps: int = 300,
) -> Shown:
    """Show what the loss of each output unit gives, and how its gradient behaves, in float64.

    Source:  Training Deep Nets, "Output Units"

    Numbers: the size of the derivative by the logit of a right class at −`reach`, where the unit is
    surely wrong: "wrong-cross-entropy" and "wrong-squared-error" behind a sigmoid,
    "wrong-softmax-cross-entropy" and "wrong-softmax-squared-error" behind a softmax of three;
    "right-cross-entropy", at +`reach`. "steps-cross-entropy" and "steps-squared-error": how many
    steps descent on that one logit takes from `start` until the probability is above ½, at most
    10,000. "mean-apart" and "variance-apart": how far a normal distribution fitted by
    `GaussianLikelihood` alone is from the mean and the variance of a sample, relative to them.
    "deviation-apart": how far the deviation that a network of inputs gives is from that of which
    its targets were drawn, the mean of the relative differences. "frequencies-apart": how far a
    softmax fitted on three inputs is from the frequencies of the classes under each.
    """
    with jax.enable_x64(True):
        z = np.linspace(-reach, reach, 201)
        slopes = {
            ("sigmoid", "cross-entropy"): _slopes(z, Identity(), SigmoidCrossEntropy(), 1),
            ("sigmoid", "squared error"): _slopes(z, Sigmoid(), SquaredError(), 1),
            ("softmax of three", "cross-entropy"): _slopes(z, Identity(), SoftmaxCrossEntropy(), 3),
            ("softmax of three", "squared error"): _slopes(z, Softmax(), SquaredError(), 3),
        }
        ways = {
            "cross-entropy": _descend(start, learning_rate, Identity(), SigmoidCrossEntropy()),
            "squared error": _descend(start, learning_rate, Sigmoid(), SquaredError()),
        }
        rng = np.random.default_rng(given.seed)
        mean, variance = _normal(rng.normal(2.0, 1.5, (points, 1)))
        spread, drawn = _spread(rng, points, hidden, steps)
        frequencies = _frequencies(rng)
    numbers = {
        "wrong-cross-entropy": abs(slopes["sigmoid", "cross-entropy"][0]),
        "wrong-squared-error": abs(slopes["sigmoid", "squared error"][0]),
        "right-cross-entropy": abs(slopes["sigmoid", "cross-entropy"][-1]),
        "wrong-softmax-cross-entropy": abs(slopes["softmax of three", "cross-entropy"][0]),
        "wrong-softmax-squared-error": abs(slopes["softmax of three", "squared error"][0]),
        **{f"steps-{name.replace(' ', '-')}": _until(z) for name, z in ways.items()},
        "mean-apart": mean,
        "variance-apart": variance,
        "deviation-apart": spread,
        "frequencies-apart": frequencies,
    }
    return Shown(
        {name: float(value) for name, value in numbers.items()},
        (
            Chart(
                id="slopes",
                title="The gradient by the logit of the right class",
                caption="Where the logit is far below 0 the unit is surely wrong. The gradient of "
                "the cross-entropy is then −1; that of the squared error vanishes. The other "
                "logits of the softmax are 0.",
                x="logit z",
                y="derivative of the loss",
                panels=tuple(
                    Panel(
                        title=unit,
                        curves=tuple(
                            Curve(name=loss, x=z, y=slopes[unit, loss])
                            for loss in ("cross-entropy", "squared error")
                        ),
                    )
                    for unit in ("sigmoid", "softmax of three")
                ),
            ),
            chart(
                "unlearning",
                "Descent from a wrong answer",
                "The probability of the right class: descent on one logit from "
                f"z = {_plain(start)} with learning rate {learning_rate:g}.",
                "step",
                "probability of the right class",
                [_thin(name, 1 / (1 + np.exp(-z))) for name, z in ways.items()],
                log="x",
                percent=True,
            ),
            drawn,
        ),
    )


def _loss_of(z, unit: Map, loss: Loss, t) -> tuple[Any, Any]:
    """The loss of logits behind a unit, and its derivative by them, by our reverses."""
    y, saved, _ = unit.forward({}, {}, z, Run())
    value, at_loss = loss.forward(y, t, jnp.ones(len(z)))
    return value, unit.reverse({}, saved, loss.reverse(at_loss))[1]


def _slopes(at: np.ndarray, unit: Map, loss: Loss, k: int) -> np.ndarray:
    """The derivative by the first of k logits, which is that of the right class; others are 0."""
    t = jnp.eye(k)[:1]

    @jax.jit
    @jax.vmap
    def slope(v):
        return _loss_of(jnp.zeros((1, k)).at[0, 0].set(v), unit, loss, t)[1][0, 0]

    return np.asarray(slope(jnp.asarray(at)))


def _descend(start: float, rate: float, unit: Map, loss: Loss) -> np.ndarray:
    """The logit before each step of descent on it alone; the right answer is 1."""
    t = jnp.ones((1, 1))

    @partial(jax.jit, static_argnums=1)
    def walk(z, steps):
        def step(z, _):
            return z - rate * _loss_of(z, unit, loss, t)[1], z

        return jax.lax.scan(step, z, length=steps)[1]

    return np.asarray(walk(jnp.full((1, 1), start), MOST))[:, 0, 0]


def _until(z: np.ndarray) -> float:
    """How many steps it took until the logit was above 0."""
    over = np.flatnonzero(z > 0)
    return float(over[0]) if len(over) else float(MOST)


def _plain(value: float) -> str:
    """A number with the sign that the rest of the page has."""
    return f"{value:g}".replace("-", "−")


def _thin(name: str, probability: np.ndarray) -> Curve:
    """Steps 1, 2, … of a long walk, ever fewer."""
    steps = np.unique(np.geomspace(1, len(probability), 120).astype(int))
    return Curve(name=name, x=steps, y=probability[steps - 1])


def _fitted(net, loss: Loss, x: np.ndarray, t: np.ndarray, steps: int, seed: int = 0):
    """The outputs of a network after `LBFGS` on the whole data."""
    at, target = jnp.asarray(x), jnp.asarray(t)
    params, state = net.init(jax.random.key(seed), at)
    objective = Objective(net, loss, Sum(), state, (at, target, jnp.ones(len(x))))
    params = minimise(LBFGS(), objective, params, steps, 1e-9).params
    return net.forward(params, state, at, Run())[0]


def _normal(t: np.ndarray) -> tuple[float, float]:
    """Fit a mean and a variance alone, and say how far they are from those of the sample."""
    loss = GaussianLikelihood()
    net = chain(Affine(2, initializer=Zeros()))
    z = _fitted(net, loss, np.zeros((len(t), 1)), t, 200)[:1]
    mean, variance = float(loss.link(z)[0, 0]), float(loss.deviation(z)[0, 0] ** 2)
    return abs(mean / t.mean() - 1), abs(variance / t.var() - 1)


def _spread(rng: np.random.Generator, points: int, hidden: int, steps: int) -> tuple[float, Chart]:
    """Learn a deviation that depends on the input."""
    loss = GaussianLikelihood()
    x = np.sort(rng.uniform(-2, 2, (points, 1)), axis=0)
    wave, true = np.sin(2 * x), 0.1 + 0.15 * (x + 2)
    t = wave + true * rng.standard_normal(x.shape)
    z = _fitted(chain(Affine(hidden), Tanh(), Affine(2)), loss, x, t, steps)
    mean, found = np.asarray(loss.link(z)), np.asarray(loss.deviation(z))
    few = np.linspace(0, points - 1, min(points, 120)).astype(int)
    at = x[few, 0]
    drawn = Chart(
        id="deviation",
        title="A mean and a deviation for each input",
        caption="A network with two outputs, trained by the normal likelihood; the band is a "
        "deviation to both sides. Beside it the deviation with which the targets were drawn.",
        x="input",
        y="target",
        panels=(
            Panel(
                title="targets and mean",
                curves=(
                    Curve(name="targets", x=at, y=t[few, 0], dots=True),
                    Curve(
                        name="mean, ± a deviation",
                        x=at,
                        y=mean[few, 0],
                        low=(mean - found)[few, 0],
                        high=(mean + found)[few, 0],
                    ),
                ),
            ),
            Panel(
                title="deviation",
                curves=(
                    Curve(name="deviation, learned", x=at, y=found[few, 0]),
                    Curve(name="deviation, as drawn", x=at, y=true[few, 0]),
                ),
            ),
        ),
    )
    return float(np.mean(np.abs(found / true - 1))), drawn


def _frequencies(rng: np.random.Generator) -> float:
    """Fit a softmax on three inputs that repeat, and compare it with what they were followed by."""
    inputs, classes = 3, 4
    which = np.repeat(np.arange(inputs), 60)
    chance = np.array([[0.7, 0.1, 0.1, 0.1], [0.25, 0.25, 0.25, 0.25], [0.05, 0.15, 0.3, 0.5]])
    label = np.array([rng.choice(classes, p=chance[i]) for i in which])
    x, t = np.eye(inputs)[which], np.eye(classes)[label]
    loss = SoftmaxCrossEntropy()
    z = _fitted(chain(Affine(classes, initializer=Zeros())), loss, x, t, 500)
    counted = np.stack([t[which == i].mean(axis=0) for i in range(inputs)])
    return float(np.abs(np.asarray(loss.link(z)) - counted[which]).max())
