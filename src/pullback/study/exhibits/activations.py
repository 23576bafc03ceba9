"""Activations as the sheets tabulate them: curves, and what they let through a deep network."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np

from ...catalogue.curves import POINTS
from ...catalogue.curves import Curve as Both
from ...catalogue.variance import variance_by_layer
from ...initializer import Glorot, He, LeCun
from ...maps import Map, Run, activation
from ..chart import Chart, Curve, Panel, chart
from .core import Given, Shown

# Under the names of the sheets' table.
TABLE: dict[str, Map] = {
    "identity": activation.Identity(),
    "logistic": activation.Sigmoid(),
    "tanh": activation.Tanh(),
    "arctan": activation.Arctan(),
    "softsign": activation.Softsign(),
    "ISRU, α = 1": activation.InverseSquareRootUnit(),
    "ISRLU, α = 1": activation.InverseSquareRootLinearUnit(),
    "SQNL": activation.SquareNonlinearity(),
    "ReLU": activation.Relu(),
    "leaky ReLU": activation.LeakyRelu(),
    "GELU": activation.Gelu(),
    "softplus": activation.Softplus(),
    "bent identity": activation.BentIdentity(),
    "soft clipping": activation.SoftClipping(),
    "sinusoid": activation.Sinusoid(),
    "sinc": activation.Sinc(),
    "Gaussian": activation.Gaussian(),
}
# Each with the initialiser that is usual for it.
DEEP = {
    "sigmoid": (activation.Sigmoid(), Glorot()),
    "tanh": (activation.Tanh(), Glorot()),
    "relu": (activation.Relu(), He()),
    "gelu": (activation.Gelu(), He()),
    "selu": (activation.Selu(), LeCun()),
}


def activation_curves(
    given: Given, *, reach: float = 3.0, width: int = 200, depth: int = 8, examples: int = 64
) -> Shown:
    """Draw the activations of the sheets' table with our derivatives, and try some in depth.

    Numbers: "sigmoid-steepest" and "tanh-steepest", the greatest derivative; "sigmoid-left",
    "tanh-left" and so on, what a cotangent's variance at the lowest of `depth` hidden layers is,
    over that at the highest, before any training; "gelu-printed", how far the approximation with
    the sheets' 0.045 is from x Φ(x), and "gelu-right", with 0.044715; "slopes-apart", how far a
    derivative is from the difference of the values beside it, the greatest over all smooth curves.
    """
    curves = _evaluated(np.linspace(-reach, reach, POINTS))
    signals = {
        name: variance_by_layer(
            draw, map, (width,) * (depth + 1) + (10,), examples=examples, seed=given.seed
        ).levels
        for name, (map, draw) in DEEP.items()
    }
    hidden = {name: [level.cotangent for level in found[1:-1]] for name, found in signals.items()}
    x = np.linspace(-6, 6, 2401)
    exact = x * np.array([0.5 * (1 + math.erf(v / math.sqrt(2))) for v in x])
    numbers = {
        "sigmoid-steepest": float(curves["logistic"].slope.max()),
        "tanh-steepest": float(curves["tanh"].slope.max()),
        **{f"{name}-left": values[0] / values[-1] for name, values in hidden.items()},
        "gelu-printed": float(np.abs(_gelu(x, 0.045) - exact).max()),
        "gelu-right": float(np.abs(_gelu(x, 0.044715) - exact).max()),
        "slopes-apart": max(_apart(c.x, c.value, c.slope) for c in curves.values()),
    }
    layers = np.arange(1, depth + 1)
    return Shown(
        numbers,
        (
            Chart(
                id="curves",
                title="Activations of the sheets' table",
                caption="Values and derivatives by our own forward and reverse.",
                x="x",
                y="value",
                panels=tuple(
                    Panel(
                        title=name,
                        curves=(
                            Curve(name="value", x=c.x[::4], y=c.value[::4]),
                            Curve(name="derivative", x=c.x[::4], y=c.slope[::4]),
                        ),
                    )
                    for name, c in curves.items()
                ),
            ),
            chart(
                "flow",
                "How gradients come down",
                f"The variance of the cotangent of each of {depth} hidden layers of {width} units, "
                "over that of the highest, before training, each with the initialiser usual for "
                "it: Glorot's for sigmoid and tanh, He's for ReLU and GELU, LeCun's for SELU.",
                "hidden layer",
                "variance, relative",
                [
                    Curve(name=name, x=layers, y=np.array(values) / values[-1])
                    for name, values in hidden.items()
                ],
                log="y",
            ),
        ),
    )


def _evaluated(x: np.ndarray) -> dict[str, Both]:
    """Value and derivative of all, by one compiled program."""

    @jax.jit
    def compute(x):
        found = {}
        for name, map in TABLE.items():
            params, state = map.init(jax.random.key(0), x)
            y, saved, _ = map.forward(params, state, x, Run())
            found[name] = y[:, 0], map.reverse(params, saved, jnp.ones_like(y))[1][:, 0]
        return found

    with jax.enable_x64(True):
        found = jax.device_get(compute(jnp.asarray(x)[:, None]))
    return {name: Both(name, x, *found[name]) for name in TABLE}


def _gelu(x: np.ndarray, cubic: float) -> np.ndarray:
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + cubic * x**3)))


def _apart(x: np.ndarray, value: np.ndarray, slope: np.ndarray) -> float:
    """How far the mean slope of two neighbours is from the rise between them.

    It is of the order of the spacing squared; across a kink the rise lies between both slopes.
    """
    rise = np.diff(value) / np.diff(x)
    between = (slope[1:] + slope[:-1]) / 2
    kink = np.abs(np.diff(slope)) > 0.2
    return float(np.abs(rise - between)[~kink].max())
