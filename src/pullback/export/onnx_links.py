"""The link of every loss as ONNX operators: from the network's output to predictions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import loss
from .onnx_graph import Graph, Wire
from .steps import look_up


def write_link(g: Graph, told: Any, z: Wire, width: int) -> Wire:
    """Add the operators of a loss's link.

    Args:
        g: the graph.
        told: the loss.
        z: the network's output, (n, width).
        width: how many outputs the network has.

    Raises:
        ConfigError: there are none for this loss.
    """
    g.here = "link"
    return look_up(LINKS, type(told), "the loss", "ONNX")(g, told, z, width)


def _itself(g: Graph, told: Any, z: Wire, width: int) -> Wire:
    return z


def _centred(g: Graph, told: Any, z: Wire, width: int) -> Wire:
    return z - z.op("ReduceMean", np.array([-1])) + 1 / width


def _direction(g: Graph, told: Any, z: Wire, width: int) -> Wire:
    """As in `CosineDistance`: the largest is taken out; zeros have no direction and stay zeros."""
    top = abs(z).op("ReduceMax", np.array([-1]))
    some = top > 0
    scaled = z / some.where(top, 1.0)
    return scaled / some.where(scaled.op("ReduceL2", np.array([-1])), 1.0)


LINKS: dict[type, Callable[..., Wire]] = {
    loss.AbsoluteError: _itself,
    loss.ClassWeighted: lambda g, told, z, width: write_link(g, told.loss, z, width),
    loss.CosineDistance: _direction,
    loss.GaussianLikelihood: lambda g, told, z, width: z.sliced(0, width // 2),
    loss.Hinge: lambda g, told, z, width: (1 + z) / 2,
    loss.Huber: _itself,
    loss.MulticlassHinge: _centred,
    loss.PoissonLikelihood: lambda g, told, z, width: z.op("Exp"),
    loss.Quantile: _itself,
    loss.SigmoidCrossEntropy: lambda g, told, z, width: z.op("Sigmoid"),
    loss.SoftmaxCrossEntropy: lambda g, told, z, width: z.op("Softmax", axis=-1),
    loss.SquaredError: _itself,
    loss.SquaredHinge: lambda g, told, z, width: (1 + z) / 2,
}
