"""Every map and link as a line of NumPy, with its equation.

A line is written for a reader: `y` and `x` of the equation are the names to the left and right of
the sign. A number is written by `repr`, which names the same double again; NumPy computes with it
in the dtype of the array.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from .. import loss, maps
from ..maps.activation.smooth_rectifier import SELU_ALPHA, SELU_SCALE
from .steps import Step, look_up


@dataclass(frozen=True)
class Line:
    """What computes the output of a map.

    Attributes:
        equation: says it in the signs of mathematics.
        code: an expression of NumPy.
        calls: which functions of `numpy_parts` it calls.
    """

    equation: str
    code: str
    calls: tuple[str, ...] = ()


@dataclass(frozen=True)
class Source:
    """A step, and how its inputs and arrays are called in the file.

    Attributes:
        step: the step.
        x: the names of its inputs.
        w: gives the name of one of its arrays.
    """

    step: Step
    x: tuple[str, ...]
    w: Callable[[str], str]


def line_of(source: Source) -> Line:
    """The line of a step.

    Raises:
        ConfigError: its map has none.
    """
    step = source.step
    writer = look_up(MAPS, type(step.map), f"node '{step.name}'", "NumPy")
    return writer(step.map, source, *source.x)


def link_of(told: Any) -> Line:
    """The line of a loss's link, from `z`.

    Raises:
        ConfigError: the loss has none.
    """
    return look_up(LINKS, type(told), "the loss", "NumPy")(told)


def _affine(map: Any, source: Source, x: str) -> Line:
    bias = f" + {source.w('bias')}" if map.bias else ""
    said = " + bias" if map.bias else ""
    return Line(f"y = x @ weight{said}", f"{x} @ {source.w('weight')}{bias}")


def _low_rank(map: Any, source: Source, x: str) -> Line:
    bias = f" + {source.w('bias')}" if map.bias else ""
    said = " + bias" if map.bias else ""
    code = f"{x} @ {source.w('left')} @ {source.w('right')}{bias}"
    return Line(f"y = x @ left @ right{said}", code)


def _batch_norm(map: Any, source: Source, x: str) -> Line:
    scale = f"({source.w(map.statistic)} + {float(map.eps)!r})"
    said = f"{map.statistic} + {float(map.eps)!r}"
    if map.deviation == "l2":
        scale, said = f"np.sqrt{scale}", f"√({said})"
    # On several lines, for it names four arrays.
    code = (
        f"(\n        {source.w('gain')} * ({x} - {source.w('mean')})\n        / {scale}"
        f"\n        + {source.w('shift')}\n    )"
    )
    return Line(f"y = gain · (x − mean)/s + shift, s = {said}, measured in training", code)


def _layer_norm(map: Any, source: Source, x: str) -> Line:
    code = f"layer_norm({x}, {source.w('gain')}, {source.w('shift')}, {float(map.eps)!r})"
    return Line(
        f"y = gain · (x − μ)/√(σ² + {float(map.eps)!r}) + shift, μ and σ² over the features",
        code,
        ("layer_norm",),
    )


def _conv(map: Any, source: Source, x: str) -> Line:
    bias = f" + {source.w('bias')}" if map.bias else ""
    said = " + bias" if map.bias else ""
    _, stride, padding = _window(source.step)
    return Line(
        f"y[n, p, q] = Σ_ij x[n, s p + i − l, s q + j − l] @ weight[i, j]{said}",
        f"convolution({x}, {source.w('weight')}, {stride}, {padding}){bias}",
        ("windows", "convolution"),
    )


def _max_pool(map: Any, source: Source, x: str) -> Line:
    size, stride, padding = _window(source.step)
    code = f"max_pool({x}, {size}, {stride}, {padding})"
    return Line("y = the largest entry of each window", code, ("windows", "max_pool"))


def _average_pool(map: Any, source: Source, x: str) -> Line:
    size, stride, padding = _window(source.step)
    code = f"average_pool({x}, {size}, {stride}, {padding})"
    return Line("y = the mean of each window", code, ("windows", "average_pool"))


def _window(step: Step) -> tuple[Any, Any, Any]:
    """Size, stride and padding of a window over images of this step's shape."""
    window = step.map._window()
    around = window.around(jax.ShapeDtypeStruct((1, *step.shapes[0]), np.float32))
    return window.size, window.stride, around


def _reshape(map: Any, source: Source, x: str) -> Line:
    shape = "".join(f", {length}" for length in source.step.shape)
    return Line("y = x, laid out in another shape", f"{x}.reshape(len({x}){shape})")


def _part(map: Any, source: Source, x: str) -> Line:
    width = source.step.shape[-1]
    first = map.index * width
    return Line(
        f"y = piece {map.index + 1} of {map.count} of x", f"{x}[..., {first} : {first + width}]"
    )


def _maxout(map: Any, source: Source, x: str) -> Line:
    shape = "".join(f", {length}" for length in (*source.step.shape, map.pieces))
    return Line(
        f"y = the largest of each {map.pieces} neighbours",
        f"np.max({x}.reshape(len({x}){shape}), axis=-1)",
    )


def _gelu(map: Any, source: Source, x: str) -> Line:
    if not map.approximate:
        return Line(
            "y = x Φ(x), Φ the normal distribution function",
            f"{x} * normal_cdf({x})",
            ("normal_cdf",),
        )
    scale = math.sqrt(2 / math.pi)
    code = f"{x} * (np.tanh({scale!r} * {x} * (1 + 0.044715 * {x} * {x})) + 1) / 2"
    return Line("y = x (1 + tanh(√(2/π) (x + 0.044715 x³)))/2", code)


def _soft_exponential(map: Any, source: Source, x: str) -> Line:
    return Line(
        "y = −ln(1 − α(x + α))/α for α < 0, x for α = 0, (e^(αx) − 1)/α + α for α > 0",
        f"soft_exponential({x}, {source.w('alpha')}, {float(map.max_slope)!r})",
        ("soft_exponential",),
    )


def _soft_clipping(map: Any, source: Source, x: str) -> Line:
    a = float(map.alpha)
    near = f"np.log1p(np.exp(-{a!r} * np.abs({x})))"
    far = f"np.log1p(np.exp(-{a!r} * np.abs({x} - 1)))"
    return Line(
        f"y = ln((1 + e^(αx))/(1 + e^(α(x−1))))/α, α = {a!r}",
        f"np.clip({x}, 0, 1) + ({near} - {far}) / {a!r}",
    )


def _leaky(map: Any, x: str, slope: str, said: str) -> Line:
    return Line(f"y = x where x > 0, else {said} x", f"np.where({x} > 0, {x}, {slope} * {x})")


def _rrelu(map: Any, source: Source, x: str) -> Line:
    slope = repr(float(map.lower + map.upper) / 2)
    return _leaky(map, x, slope, slope)


def _elu(map: Any, source: Source, x: str) -> Line:
    return Line(
        f"y = x where x > 0, else {float(map.alpha)!r} (eˣ − 1)",
        f"exponential_below({x}, {float(map.alpha)!r})",
        ("exponential_below",),
    )


def _selu(map: Any, source: Source, x: str) -> Line:
    return Line(
        f"y = {SELU_SCALE!r} · (x where x > 0, else {SELU_ALPHA!r} (eˣ − 1))",
        f"{SELU_SCALE!r} * exponential_below({x}, {SELU_ALPHA!r})",
        ("exponential_below",),
    )


def _isru(map: Any, source: Source, x: str) -> Line:
    return Line(
        f"y = x/√(1 + {float(map.alpha)!r} x²)",
        f"{x} / np.sqrt(1 + {float(map.alpha)!r} * {x} * {x})",
    )


def _isrlu(map: Any, source: Source, x: str) -> Line:
    below = f"np.minimum({x}, 0)"
    return Line(
        f"y = x where x ≥ 0, else x/√(1 + {float(map.alpha)!r} x²)",
        f"np.maximum({x}, 0) + {below} / np.sqrt(1 + {float(map.alpha)!r} * {below} ** 2)",
    )


def _square(map: Any, source: Source, x: str) -> Line:
    u = f"np.clip({x}, -2, 2)"
    return Line("y = u (1 − |u|/4), u = x held within ±2", f"{u} * (1 - np.abs({u}) / 4)")


def _plain(equation: str, code: str, *calls: str) -> Callable[..., Line]:
    """A map without hyper-parameters; `{x}` stands for its input."""
    return lambda map, source, x: Line(equation, code.format(x=x), calls)


def _joined(said: str, sign: str) -> Callable[..., Line]:
    return lambda map, source, *x: Line(said, sign.join(x))


def _concatenated(map: Any, source: Source, *x: str) -> Line:
    code = f"np.concatenate([{', '.join(x)}], axis=-1)"
    return Line("y = x_1, x_2, … side by side", code)


_same = _plain("y = x: it only acts in training", "{x}")

MAPS: dict[type, Callable[..., Line]] = {
    maps.Add: _joined("y = Σ x_i", " + "),
    maps.Affine: _affine,
    maps.Arctan: _plain("y = arctan x", "np.arctan({x})"),
    maps.AveragePool: _average_pool,
    maps.BatchNorm: _batch_norm,
    maps.BentIdentity: _plain(
        "y = (√(x² + 1) − 1)/2 + x", "{x} * {x} / (2 * (np.sqrt({x} * {x} + 1) + 1)) + {x}"
    ),
    maps.BinaryStep: _plain("y = 1 where x ≥ 0, else 0", "({x} >= 0).astype({x}.dtype)"),
    maps.Concatenate: _concatenated,
    maps.Conv: _conv,
    maps.DropConnect: _affine,
    maps.Dropout: _same,
    maps.Elu: _elu,
    maps.Flatten: _reshape,
    maps.Gaussian: _plain("y = e^(−x²)", "np.exp(-{x} * {x})"),
    maps.GaussianDropout: _same,
    maps.Gelu: _gelu,
    maps.HardTanh: _plain("y = x held within ±1", "np.clip({x}, -1, 1)"),
    maps.Identity: _plain("y = x", "{x}"),
    maps.InverseSquareRootLinearUnit: _isrlu,
    maps.InverseSquareRootUnit: _isru,
    maps.LayerNorm: _layer_norm,
    maps.LeakyRelu: lambda map, source, x: _leaky(
        map, x, repr(float(map.negative_slope)), repr(float(map.negative_slope))
    ),
    maps.LogSoftmax: _plain("y_j = x_j − ln Σ_k e^x_k", "log_softmax({x})", "log_softmax"),
    maps.LowRankAffine: _low_rank,
    maps.MaxPool: _max_pool,
    maps.Maxout: _maxout,
    maps.Part: _part,
    maps.Prelu: lambda map, source, x: _leaky(map, x, source.w("slope"), "slope ·"),
    maps.RandomizedLeakyRelu: _rrelu,
    maps.Relu: _plain("y = max(x, 0)", "np.maximum({x}, 0)"),
    maps.Reshape: _reshape,
    maps.Selu: _selu,
    maps.Sigmoid: _plain("y = 1/(1 + e⁻ˣ)", "sigmoid({x})", "sigmoid"),
    maps.Silu: _plain("y = x/(1 + e⁻ˣ)", "{x} * sigmoid({x})", "sigmoid"),
    maps.Sinc: _plain("y = sin(x)/x", "sinc({x})", "sinc"),
    maps.Sinusoid: lambda map, source, x: Line(
        f"y = sin({float(map.frequency)!r} x)", f"np.sin({float(map.frequency)!r} * {x})"
    ),
    maps.SoftClipping: _soft_clipping,
    maps.SoftExponential: _soft_exponential,
    maps.Softmax: _plain("y_j = e^x_j / Σ_k e^x_k", "softmax({x})", "softmax"),
    maps.Softplus: _plain("y = ln(1 + eˣ)", "np.maximum({x}, 0) + np.log1p(np.exp(-np.abs({x})))"),
    maps.Softsign: _plain("y = x/(1 + |x|)", "{x} / (1 + np.abs({x}))"),
    maps.SquareNonlinearity: _square,
    maps.SquaredExponential: lambda map, source, x: Line(
        f"y = e^(−x²/(2 · {float(map.variance)!r}))",
        f"np.exp(-{x} * {x} / (2 * {float(map.variance)!r}))",
    ),
    maps.Subtract: _joined("y = x_1 − x_2", " - "),
    maps.Tanh: _plain("y = tanh x", "np.tanh({x})"),
}


def _linked(equation: str, code: str, *calls: str) -> Callable[[Any], Line]:
    return lambda told: Line(equation, code, calls)


_itself = _linked("prediction = z", "z")
_score = _linked("score = (1 + z)/2: its side of ½ decides", "(1 + z) / 2")

LINKS: dict[type, Callable[[Any], Line]] = {
    loss.AbsoluteError: _itself,
    loss.ClassWeighted: lambda told: link_of(told.loss),
    loss.CosineDistance: _linked("prediction = z/‖z‖, the direction", "direction(z)", "direction"),
    loss.GaussianLikelihood: _linked(
        "prediction = the mean, the first half of z", "z[..., : z.shape[-1] // 2]"
    ),
    loss.Hinge: _score,
    loss.Huber: _itself,
    loss.MulticlassHinge: _linked(
        "score_j = z_j − mean z + 1/k",
        "z - np.mean(z, axis=-1, keepdims=True) + 1 / z.shape[-1]",
    ),
    loss.PoissonLikelihood: _linked("prediction = e^z, the expected count", "np.exp(z)"),
    loss.Quantile: _itself,
    loss.SigmoidCrossEntropy: _linked("p = 1/(1 + e^−z)", "sigmoid(z)", "sigmoid"),
    loss.SoftmaxCrossEntropy: _linked("p_j = e^z_j / Σ_k e^z_k", "softmax(z)", "softmax"),
    loss.SquaredError: _itself,
    loss.SquaredHinge: _score,
}
