"""Every activation as ONNX operators, in the forms of its `forward`: what is stable stays so."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from .. import maps
from ..maps.activation.smooth_rectifier import SELU_ALPHA, SELU_SCALE
from ..maps.activation.soft_exponential import DECAY, GROWTH, NEAR
from .onnx_graph import Graph, Value, Wire
from .steps import Step


def _at_least(x: Wire, bound: float) -> Wire:
    return x.op("Max", bound)


def _at_most(x: Wire, bound: float) -> Wire:
    return x.op("Min", bound)


def _root(x: Wire) -> Wire:
    return x.op("Sqrt")


def _exp(x: Wire) -> Wire:
    return x.op("Exp")


def _log1p_exp(x: Wire) -> Wire:
    """log(1 + eˣ) for x of at most 0, where nothing overflows."""
    return (1 + _exp(x)).op("Log")


def _bent_identity(g: Graph, step: Step, x: Wire) -> Wire:
    return x * x / (2 * (_root(x * x + 1) + 1)) + x


def _binary_step(g: Graph, step: Step, x: Wire) -> Wire:
    return (x >= 0).where(1.0, 0.0)


def _softsign(g: Graph, step: Step, x: Wire) -> Wire:
    return x / (1 + abs(x))


def _square_root_unit(g: Graph, step: Step, x: Wire) -> Wire:
    return x / _root(1 + step.map.alpha * x * x)


def _square_nonlinearity(g: Graph, step: Step, x: Wire) -> Wire:
    u = _at_most(_at_least(x, -2), 2)
    return u * (1 - abs(u) / 4)


def _hard_tanh(g: Graph, step: Step, x: Wire) -> Wire:
    return _at_most(_at_least(x, -1), 1)


def _soft_clipping(g: Graph, step: Step, x: Wire) -> Wire:
    alpha = step.map.alpha
    near, far = _log1p_exp(-alpha * abs(x)), _log1p_exp(-alpha * abs(x - 1))
    return _at_most(_at_least(x, 0), 1) + (near - far) / alpha


def _leaky(x: Wire, slope: Value) -> Wire:
    return (x > 0).where(x, x * slope)


def _exponential(x: Wire, above: float, below: float) -> Wire:
    return (x > 0).where(above * x, below * (_exp(_at_most(x, 0)) - 1))


def _square_root_linear_unit(g: Graph, step: Step, x: Wire) -> Wire:
    below = _at_most(x, 0)
    return _at_least(x, 0) + below / _root(1 + step.map.alpha * below * below)


def _gelu(g: Graph, step: Step, x: Wire) -> Wire:
    return x.op("Gelu", approximate="tanh" if step.map.approximate else "none")


def _softplus(g: Graph, step: Step, x: Wire) -> Wire:
    return _at_least(x, 0) + _log1p_exp(-abs(x))


def _sinc(g: Graph, step: Step, x: Wire) -> Wire:
    zero = x.op("Equal", 0.0)
    divisor = zero.where(1.0, x)
    return zero.where(1.0, divisor.op("Sin") / divisor)


def _maxout(g: Graph, step: Step, x: Wire) -> Wire:
    groups = x.reshaped(*step.shapes[0][:-1], -1, step.map.pieces)
    return groups.op("ReduceMax", np.array([-1]), keepdims=0)


def _soft_exponential(g: Graph, step: Step, x: Wire) -> Wire:
    """As in `SoftExponential`: s φ(up) ψ(down) + max(α, 0), and its tangent beyond."""
    alpha, bound = g.held(step, "alpha"), step.map.max_slope
    above, below, size = _at_least(alpha, 0), _at_least(-alpha, 0), abs(alpha)
    s = x - below
    up = _at_most(above * s, math.log(bound))
    down = _at_least(below * s, 1 / bound - 1)
    inside = (up + down).op("Equal", size * s)
    divisor = size.op("Equal", 0.0).where(1.0, size)
    begin = inside.where(s, (up + down) / divisor)
    growth = _by_series(up, GROWTH, lambda t: (_exp(t) - 1) / t)
    decay = _by_series(down, DECAY, lambda t: (1 + t).op("Log") / t)
    return begin * growth * decay + above + bound * (s - begin)


def _by_series(t: Wire, coefficients: Sequence[float], closed: Callable[[Wire], Wire]) -> Wire:
    """A function by its power series where |t| < NEAR, where the closed form cancels."""
    near = abs(t) < NEAR
    inside, outside = near.where(t, 0.0), near.where(1.0, t)
    series = inside * coefficients[-1] + coefficients[-2]
    for coefficient in reversed(coefficients[:-2]):
        series = series * inside + coefficient
    return near.where(series, closed(outside))


ACTIVATIONS: dict[type, Callable[..., Wire]] = {
    maps.Arctan: lambda g, step, x: x.op("Atan"),
    maps.BentIdentity: _bent_identity,
    maps.BinaryStep: _binary_step,
    maps.Elu: lambda g, step, x: _exponential(x, 1.0, step.map.alpha),
    maps.Gaussian: lambda g, step, x: _exp(-(x * x)),
    maps.Gelu: _gelu,
    maps.HardTanh: _hard_tanh,
    maps.Identity: lambda g, step, x: x,
    maps.InverseSquareRootLinearUnit: _square_root_linear_unit,
    maps.InverseSquareRootUnit: _square_root_unit,
    maps.LeakyRelu: lambda g, step, x: _leaky(x, step.map.negative_slope),
    maps.LogSoftmax: lambda g, step, x: x.op("LogSoftmax", axis=-1),
    maps.Maxout: _maxout,
    maps.Prelu: lambda g, step, x: _leaky(x, g.held(step, "slope")),
    maps.RandomizedLeakyRelu: lambda g, step, x: _leaky(x, (step.map.lower + step.map.upper) / 2),
    maps.Relu: lambda g, step, x: x.op("Relu"),
    maps.Selu: lambda g, step, x: _exponential(x, SELU_SCALE, SELU_SCALE * SELU_ALPHA),
    maps.Sigmoid: lambda g, step, x: x.op("Sigmoid"),
    maps.Silu: lambda g, step, x: x * x.op("Sigmoid"),
    maps.Sinc: _sinc,
    maps.Sinusoid: lambda g, step, x: (step.map.frequency * x).op("Sin"),
    maps.SoftClipping: _soft_clipping,
    maps.SoftExponential: _soft_exponential,
    maps.Softmax: lambda g, step, x: x.op("Softmax", axis=-1),
    maps.Softplus: _softplus,
    maps.Softsign: _softsign,
    maps.SquareNonlinearity: _square_nonlinearity,
    maps.SquaredExponential: lambda g, step, x: _exp(-(x * x) / (2 * step.map.variance)),
    maps.Tanh: lambda g, step, x: x.op("Tanh"),
}
