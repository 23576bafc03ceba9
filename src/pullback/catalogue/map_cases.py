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
    """

    name: str
    map: Map
    shape: Any = (5, 4)
    reach: float = 1e4

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

MAPS = [
    MapCase("affine", Affine(3)),
    MapCase("affine without bias", Affine(3, bias=False)),
    MapCase("affine, one example", Affine(2), (1, 4)),
    MapCase("identity", maps.Identity()),
    MapCase("sigmoid", maps.Sigmoid()),
    MapCase("tanh", maps.Tanh()),
    MapCase("relu", maps.Relu()),
    MapCase("leaky relu", maps.LeakyRelu(0.2)),
    MapCase("selu", maps.Selu()),
    MapCase("softmax", maps.Softmax()),
    MapCase("softmax of one", maps.Softmax(), (5, 1)),
    MapCase("squared exponential", maps.SquaredExponential(0.5)),
    MapCase("add", maps.Add(), ((5, 4), (5, 4), (5, 4))),
    MapCase("subtract", maps.Subtract(), ((5, 4), (5, 4))),
    MapCase("part", maps.Part(1, 2)),
    MapCase("chain", chain(Affine(6), maps.Selu(), Affine(3), maps.Softmax())),
    MapCase("skip", skip(Affine(4), maps.Tanh(), Affine(4))),
    MapCase("towers", towers(chain(Affine(3), maps.Sigmoid()), maps.Subtract())),
    MapCase("shared owner, wire read twice", SHARED),
    MapCase("nested", chain(skip(skip(Affine(4)), maps.Tanh()), towers(Affine(2), maps.Add()))),
]
