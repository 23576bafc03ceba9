"""IFT6390, theoretical part 1: functions, what they have to do with each other, and derivatives."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from ...check import check_gradient
from ...loss import SigmoidCrossEntropy
from ...maps import Map, Relu, Run, Sigmoid, Softmax, Softplus, Tanh
from ...penalty import L1, L2
from ..chart import Chart, Curve, Panel, chart
from .core import Given, Shown


def identities(given: Given, *, reach: float = 8.0, points: int = 321) -> Shown:
    """Hold each identity of the source against our maps and their derivatives, in float64.

    Numbers, each the greatest deviation over a grid: "sigmoid-by-tanh", of σ(x) from
    ½ (tanh ½x + 1) (1.1); "log-sigmoid", of −softplus(−x) from ln σ(x) (1.12, where the source
    writes softmax); "log-sigmoid-as-printed", with the softmax; "sigmoid-slope", of our derivative
    from σ (1 − σ) (1.24); "tanh-slope", from 1 − tanh² (1.29); "rectifier-slope", from 1{x > 0}
    (1.33); "absolute-slope", of that of `L1` from 1{x > 0} − 1{x < 0} (1.32); "square-norm-slope",
    from the vector 2x (1.36); "magnitude-norm-slope", from sign(x) (1.40). "differences", the worst
    relative error of all these derivatives against central differences. "overflow", the x below
    which ln σ(x), taken by its definition in float32, is −∞.
    """
    if points % 2 == 0:
        raise ValueError("an odd number of points is wanted, of which the middle one is 0")
    grid = np.linspace(-reach, reach, points)
    row = np.random.default_rng(given.seed).standard_normal((1, 6))
    with jax.enable_x64(True):
        sigmoid, dsigmoid = _evaluate(Sigmoid(), grid)
        tanh, dtanh = _evaluate(Tanh(), grid)
        half, _ = _evaluate(Tanh(), grid / 2)
        softplus, _ = _evaluate(Softplus(), -grid)
        relu, drelu = _evaluate(Relu(), grid)
        alone, _ = _evaluate(Softmax(), -grid)
        at = {"weight": jnp.asarray(row)}
        twice = np.asarray(L2(2.0).reverse(at)["weight"])
        signs = np.asarray(L1(1.0).reverse(at)["weight"])
        absolute = np.asarray(L1(1.0).reverse({"weight": jnp.asarray(grid)})["weight"])
    above, below = (grid > 0).astype(float), (grid < 0).astype(float)
    numbers = {
        "sigmoid-by-tanh": _worst(sigmoid, (half + 1) / 2),
        "log-sigmoid": _worst(-softplus, np.log(sigmoid)),
        "log-sigmoid-as-printed": _worst(-alone, np.log(sigmoid)),
        "sigmoid-slope": _worst(dsigmoid, sigmoid * (1 - sigmoid)),
        "tanh-slope": _worst(dtanh, 1 - tanh**2),
        "rectifier-slope": _worst(drelu, above),
        "absolute-slope": _worst(absolute, above - below),
        "square-norm-slope": _worst(twice, 2 * row),
        "magnitude-norm-slope": _worst(signs, np.sign(row)),
        "differences": _differences(row),
    }
    logarithm, numbers["overflow"] = _logarithm()
    return Shown(
        numbers,
        (
            Chart(
                id="functions",
                title="Functions and their derivatives",
                caption="Values and derivatives by our own forward and reverse. The derivative of "
                "the rectifier and of |x| at 0 is taken to be 0, as in the source.",
                x="x",
                y="value",
                panels=(
                    _panel("sigmoid", grid, sigmoid, dsigmoid),
                    _panel("tanh", grid, tanh, dtanh),
                    _panel("rectifier", grid, relu, drelu),
                    _panel("|x|", grid, np.abs(grid), absolute),
                ),
            ),
            logarithm,
        ),
    )


def _evaluate(map: Map, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """y, and the cotangent of x for a cotangent of ones; each number is an example."""
    y, saved, _ = map.forward({}, {}, jnp.asarray(x)[:, None], Run())
    _, dx = map.reverse({}, saved, jnp.ones_like(y))
    return np.asarray(y)[:, 0], np.asarray(dx)[:, 0]


def _differences(row: np.ndarray) -> float:
    """The worst error of the derivatives against central differences, all by one program."""
    maps = {"sigmoid": Sigmoid(), "tanh": Tanh(), "rectifier": Relu(), "softplus": Softplus()}

    def passed(at):
        return {name: map.forward({}, {}, at[name], Run()) for name, map in maps.items()}

    def value(at):
        return sum((jnp.sum(y) for y, _, _ in passed(at).values()), jnp.zeros(()))

    def gradient(at):
        found = passed(at)
        return {
            name: map.reverse({}, found[name][1], jnp.ones_like(found[name][0]))[1]
            for name, map in maps.items()
        }

    return max(check_gradient(value, gradient, dict.fromkeys(maps, row)).differences.values())


def _worst(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.max(np.abs(a - b)))


def _panel(title: str, x: np.ndarray, value: np.ndarray, slope: np.ndarray) -> Panel:
    near = np.abs(x) <= 4
    return Panel(
        title=title,
        curves=(
            Curve(name="value", x=x[near], y=value[near]),
            Curve(name="derivative", x=x[near], y=slope[near]),
        ),
    )


def _logarithm() -> tuple[Chart, float]:
    """Take ln σ(x) in float32, by its definition, and by (1.12) mended as in the cross-entropy."""
    x = np.linspace(-120, 10, 261, dtype=np.float32)
    loss, right = SigmoidCrossEntropy(), jnp.ones((len(x), 1), jnp.float32)
    stable = -np.asarray(loss.terms(jnp.asarray(x)[:, None], right))[:, 0]
    with np.errstate(over="ignore", divide="ignore"):
        plain = np.log(1 / (1 + np.exp(-x)))
    lost = x[~np.isfinite(plain)]
    return (
        chart(
            "log-sigmoid",
            "The logarithm of a sigmoid",
            "ln σ(x) in float32: where the definition overflows its curve ends, since the value "
            "there is −∞. The shifted form is that of the cross-entropy.",
            "x",
            "ln σ(x)",
            [
                Curve(name="−softplus(−x)", x=x, y=stable),
                Curve(name="ln (1/(1 + e⁻ˣ))", x=x, y=plain),
                Curve(name="−softmax(−x), as printed", x=x, y=-np.ones_like(x)),
            ],
        ),
        float(lost.max()),
    )
