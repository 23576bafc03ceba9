"""Less memory for more time: what the reverse pass needs is computed again instead of kept."""

from __future__ import annotations

from dataclasses import dataclass

import jax

from .core import Map, Net


@dataclass(frozen=True)
class Recompute(Map):
    """Keep only the input of a map, and run it forward a second time in the reverse pass.

    Forward:  y = map(x)
    Reverse:  the map's own, after its forward with the same x, state and key: a mask drawn in the
              one is drawn again in the other
    Shapes:   those of the map
    Source:   Chen et al. 2016, arXiv:1604.06174; Training Deep Nets, Figure 6.9

    Around a single map it saves nothing worth its time; around a part of a deep chain, what the
    layers between kept. A network inside stays whole: its parameters are named under this node,
    and its inner wires are not among those that `sweep` returns.

    Args:
        map: what is computed twice.

    >>> import jax.numpy as jnp
    >>> from pullback.maps import Relu, chain
    >>> print(Recompute(chain(Relu(), Relu())))
    Recompute(relu1, relu2)
    """

    map: Map

    def __str__(self) -> str:
        inside = [node.name for node in self.map.nodes] if isinstance(self.map, Net) else [self.map]
        return f"Recompute({', '.join(map(str, inside))})"

    @property
    def estimated(self):
        return self.map.estimated

    def init(self, key, x):
        return self.map.init(key, x)

    def forward(self, params, state, x, run):
        y, _, after = self.map.forward(params, state, x, run)
        return y, (x, state, run), after

    def reverse(self, params, saved, dy):
        x, state, run = saved
        # A compiler that sees the same sum twice computes it once and keeps it, which is what this
        # map is there to prevent. So its input depends, by a zero, on the cotangent, which is not
        # known before. (XLA drops `optimization_barrier` on the CPU before it orders the program.)
        zero = 0 * dy.ravel()[0]
        x = jax.tree.map(lambda leaf: leaf + zero.astype(leaf.dtype), x)
        _, inner, _ = self.map.forward(params, state, x, run)
        return self.map.reverse(params, inner, dy)
