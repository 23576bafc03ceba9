"""Every map that is no activation as ONNX operators.

Images are (n, height, width, channels) here and (n, channels, height, width) there: convolution
and pooling are put between two transpositions, of which a runtime removes those that meet.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import reduce
from typing import Any

import jax
import numpy as np

from .. import maps
from ..maps.window import Window
from .onnx_activations import ACTIVATIONS
from .onnx_graph import Graph, Wire
from .steps import Step, look_up

_TO_CHANNELS_FIRST, _TO_CHANNELS_LAST = [0, 3, 1, 2], [0, 2, 3, 1]


def write_step(g: Graph, step: Step, *x: Wire) -> Wire:
    """Add the operators of one step.

    Raises:
        ConfigError: there are none for its map.
    """
    g.here = step.name
    writer = look_up(WRITERS, type(step.map), f"node '{step.name}'", "ONNX")
    count = len(g.operators)
    y = writer(g, step, *x)
    # A map that computes nothing in evaluation has no wire of its own.
    return g.called(y, step.name) if len(g.operators) > count else y


def _affine(g: Graph, step: Step, x: Wire) -> Wire:
    weight = g.held(step, "weight")
    return x.op("Gemm", weight, g.held(step, "bias")) if step.map.bias else x.op("MatMul", weight)


def _low_rank(g: Graph, step: Step, x: Wire) -> Wire:
    u, right = x.op("MatMul", g.held(step, "left")), g.held(step, "right")
    return u.op("Gemm", right, g.held(step, "bias")) if step.map.bias else u.op("MatMul", right)


def _batch_norm(g: Graph, step: Step, x: Wire) -> Wire:
    # One division less for each example, as in `BatchNorm.forward`.
    inverse = 1 / _scale(step)
    u = (x - g.held(step, "mean")) * g.held(step, "inverse", inverse)
    return g.held(step, "gain") * u + g.held(step, "shift")


def _scale(step: Step) -> np.ndarray:
    """The divisor of a normalisation in evaluation, in the dtype of its running statistics."""
    measured = step.held[step.map.statistic]
    eps = measured.dtype.type(step.map.eps)
    return np.sqrt(measured + eps) if step.map.deviation == "l2" else measured + eps


def _layer_norm(g: Graph, step: Step, x: Wire) -> Wire:
    return x.op(
        "LayerNormalization",
        g.held(step, "gain"),
        g.held(step, "shift"),
        axis=-1,
        epsilon=step.map.eps,
    )


def _conv(g: Graph, step: Step, x: Wire) -> Wire:
    kernel = g.held(step, "weight", step.held["weight"].transpose(3, 2, 0, 1))
    bias = [g.held(step, "bias")] if step.map.bias else []
    return _of_images(step, x, "Conv", kernel, *bias)


def _max_pool(g: Graph, step: Step, x: Wire) -> Wire:
    return _of_images(step, x, "MaxPool")


def _average_pool(g: Graph, step: Step, x: Wire) -> Wire:
    return _of_images(step, x, "AveragePool", count_include_pad=0)


def _of_images(step: Step, x: Wire, kind: str, *others: Wire, **attributes: Any) -> Wire:
    window: Window = step.map._window()
    (above, below), (left, right) = window.around(
        jax.ShapeDtypeStruct((1, *step.shapes[0]), np.float32)
    )
    y = x.op("Transpose", perm=_TO_CHANNELS_FIRST).op(
        kind,
        *others,
        kernel_shape=window.size,
        strides=window.stride,
        pads=[above, left, below, right],
        **attributes,
    )
    return y.op("Transpose", perm=_TO_CHANNELS_LAST)


def _part(g: Graph, step: Step, x: Wire) -> Wire:
    width = step.shape[-1]
    return x.sliced(step.map.index * width, (step.map.index + 1) * width)


def _nothing(g: Graph, step: Step, x: Wire) -> Wire:
    return x


WRITERS: dict[type, Callable[..., Wire]] = {
    **ACTIVATIONS,
    maps.Add: lambda g, step, *x: reduce(lambda a, b: a + b, x),
    maps.Affine: _affine,
    maps.AveragePool: _average_pool,
    maps.BatchNorm: _batch_norm,
    maps.Concatenate: lambda g, step, *x: g.op("Concat", *x, axis=-1),
    maps.Conv: _conv,
    maps.DropConnect: _affine,
    maps.Dropout: _nothing,
    maps.Flatten: lambda g, step, x: x.reshaped(math.prod(step.shapes[0])),
    maps.GaussianDropout: _nothing,
    maps.LayerNorm: _layer_norm,
    maps.LowRankAffine: _low_rank,
    maps.MaxPool: _max_pool,
    maps.Part: _part,
    maps.Reshape: lambda g, step, x: x.reshaped(*step.map.shape),
    maps.Subtract: lambda g, step, x, other: x - other,
}
