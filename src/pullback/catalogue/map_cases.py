"""The cases on which every map is tried: complete by test."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import maps
from ..maps import Affine, Map, Net, Node, chain, skip, towers


@dataclass(frozen=True)
class MapCase:
    """A map, and the shape of its input.

    Attributes:
        name: names the case.
        map: what is tried.
        shape: of its input; a tuple of shapes for several wires.
        reach: up to which magnitude of the entries values and slopes must hold in float32.
        surrogate: the map whose derivative the reverse is, where it is declared an estimate.
    """

    name: str
    map: Map
    shape: Any = (5, 4)
    reach: float = 1e4
    surrogate: Map | None = None

    def input(self, seed: int = 0, dtype: Any = np.float64) -> Any:
        """Random inputs, normal, of this seed."""
        rng = np.random.default_rng(seed)
        if isinstance(self.shape[0], tuple):
            return tuple(rng.standard_normal(shape).astype(dtype) for shape in self.shape)
        return rng.standard_normal(self.shape).astype(dtype)


SHARED = Net(
    (
        Node("a", Affine(4), "x", "same"),
        Node("b", maps.Tanh(), "a", "b"),
        Node("c", Affine(4), "b", "same"),
        Node("d", maps.Add(), ("c", "a"), "d"),
    )
)

ACTIVATIONS = [
    MapCase("identity", maps.Identity()),
    MapCase("bent identity", maps.BentIdentity()),
    MapCase("binary step", maps.BinaryStep(straight_through=True), surrogate=maps.HardTanh()),
    MapCase("sigmoid", maps.Sigmoid()),
    MapCase("tanh", maps.Tanh()),
    MapCase("arctan", maps.Arctan()),
    MapCase("softsign", maps.Softsign()),
    MapCase("inverse square root unit", maps.InverseSquareRootUnit()),
    MapCase("inverse square root unit, alpha 3", maps.InverseSquareRootUnit(3.0)),
    MapCase("square nonlinearity", maps.SquareNonlinearity()),
    MapCase("hard tanh", maps.HardTanh()),
    MapCase("soft clipping", maps.SoftClipping()),
    MapCase("soft clipping, alpha 5", maps.SoftClipping(5.0)),
    MapCase("relu", maps.Relu()),
    MapCase("leaky relu", maps.LeakyRelu(0.2)),
    MapCase("prelu", maps.Prelu()),
    MapCase("prelu, shared and negative", maps.Prelu(-0.5, shared=True), (2, 3, 2)),
    MapCase("randomized leaky relu", maps.RandomizedLeakyRelu()),
    MapCase("elu", maps.Elu()),
    MapCase("elu, alpha 0.5", maps.Elu(0.5)),
    MapCase("selu", maps.Selu()),
    MapCase("inverse square root linear unit", maps.InverseSquareRootLinearUnit()),
    MapCase("inverse square root linear unit, alpha 3", maps.InverseSquareRootLinearUnit(3.0)),
    MapCase("gelu", maps.Gelu()),
    MapCase("gelu, approximate", maps.Gelu(approximate=True)),
    MapCase("silu", maps.Silu()),
    MapCase("softplus", maps.Softplus()),
    MapCase("soft exponential, near the identity", maps.SoftExponential(0.05)),
    MapCase("soft exponential, exponential", maps.SoftExponential(0.7), (2, 3, 2)),
    MapCase("soft exponential, logarithm", maps.SoftExponential(-0.7)),
    MapCase("soft exponential, shared, its tangent", maps.SoftExponential(-1.5, shared=True)),
    MapCase("sinusoid", maps.Sinusoid()),
    MapCase("sinusoid, frequency 3", maps.Sinusoid(3.0), reach=30.0),
    MapCase("sinc", maps.Sinc()),
    MapCase("gaussian", maps.Gaussian()),
    MapCase("squared exponential", maps.SquaredExponential(0.5)),
    MapCase("softmax", maps.Softmax()),
    MapCase("softmax of one", maps.Softmax(), (5, 1)),
    MapCase("softmax, three axes", maps.Softmax(), (2, 3, 4)),
    MapCase("log-softmax", maps.LogSoftmax()),
    MapCase("log-softmax, three axes", maps.LogSoftmax(), (2, 3, 4)),
    MapCase("maxout", maps.Maxout(2)),
    MapCase("maxout of one unit", maps.Maxout(4), (2, 3, 4)),
]

MAPS = [
    *ACTIVATIONS,
    MapCase("affine", Affine(3)),
    MapCase("affine without bias", Affine(3, bias=False)),
    MapCase("affine, one example", Affine(2), (1, 4)),
    MapCase("batch norm", maps.BatchNorm()),
    MapCase("batch norm, l1", maps.BatchNorm("l1")),
    MapCase("batch norm, linf", maps.BatchNorm("linf")),
    MapCase("batch norm of images", maps.BatchNorm(), (2, 3, 2, 2)),
    MapCase("batch norm of one", maps.BatchNorm(), (1, 4)),
    MapCase("layer norm", maps.LayerNorm()),
    MapCase("dropout", maps.Dropout(0.3)),
    MapCase("gaussian dropout", maps.GaussianDropout(0.3)),
    MapCase("drop connect", maps.DropConnect(3, rate=0.3)),
    MapCase("add", maps.Add(), ((5, 4), (5, 4), (5, 4))),
    MapCase("subtract", maps.Subtract(), ((5, 4), (5, 4))),
    MapCase("concatenate", maps.Concatenate(), ((5, 4), (5, 1), (5, 2))),
    MapCase("concatenate images", maps.Concatenate(), ((2, 3, 2, 1), (2, 3, 2, 2))),
    MapCase("part", maps.Part(1, 2)),
    MapCase("part, three axes", maps.Part(0, 3), (2, 4, 3)),
    MapCase("low-rank affine", maps.LowRankAffine(3, 2)),
    MapCase("low-rank affine without bias", maps.LowRankAffine(3, 1, bias=False)),
    MapCase("conv", maps.Conv(3), (2, 4, 5, 2)),
    MapCase("conv, stride and padding", maps.Conv(2, (2, 3), 2, (1, 3)), (2, 5, 4, 2)),
    MapCase("conv, same, no bias", maps.Conv(2, 3, (2, 1), "same", bias=False), (2, 4, 4, 1)),
    MapCase("max pool", maps.MaxPool(), (2, 5, 4, 2)),
    MapCase("max pool, overlapping", maps.MaxPool(3, 2, "same"), (2, 5, 4, 2)),
    MapCase("average pool", maps.AveragePool(), (2, 5, 4, 2)),
    MapCase("average pool, overlapping", maps.AveragePool((3, 2), 1, 1), (2, 5, 4, 2)),
    MapCase("flatten", maps.Flatten(), (2, 3, 2, 2)),
    MapCase("reshape", maps.Reshape((2, 2, 1))),
    MapCase("recompute", maps.Recompute(chain(Affine(3), maps.Tanh(), maps.Dropout(0.5)))),
    MapCase("chain", chain(Affine(6), maps.Selu(), Affine(3), maps.Softmax())),
    MapCase("skip", skip(Affine(4), maps.Tanh(), Affine(4))),
    MapCase("towers", towers(chain(Affine(3), maps.Sigmoid()), maps.Subtract())),
    MapCase("towers, concatenated", towers(Affine(2), maps.Concatenate(), 4)),
    MapCase(
        "skip over convolutions",
        chain(
            maps.Reshape((2, 2, 1)),
            skip(maps.Conv(2, padding="same"), maps.Tanh(), maps.Conv(1, padding="same")),
            maps.Flatten(),
        ),
    ),
    MapCase("shared owner, wire read twice", SHARED),
    MapCase("nested", chain(skip(skip(Affine(4)), maps.Tanh()), towers(Affine(2), maps.Add()))),
]
