"""Networks from maps: chains, skip connections, towers, and the maps that join and part wires."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import reduce
from itertools import accumulate

import jax.numpy as jnp

from ..errors import ConfigError, ShapeError
from .core import INPUT, Map, Net, Node


def chain(*maps: Map) -> Net:
    """Apply maps one after another. A Net among them is spliced in flat, under its own name.

    >>> from pullback.maps import Affine, Relu
    >>> [node.name for node in chain(Affine(4), skip(Affine(4), Relu())).nodes]
    ['affine1', 'skip1/affine1', 'skip1/relu1', 'skip1/add1']
    """
    nodes, counts, wire = [], Counter(), INPUT
    for map in maps:
        kind = _kind(map)
        counts[kind] += 1
        name = f"{kind}{counts[kind]}"
        if isinstance(map, Net):
            nodes += splice(map, name, wire)
        else:
            nodes.append(Node(name, map, wire, name))
        wire = nodes[-1].name if nodes else wire
    return Net(tuple(nodes))


def skip(*maps: Map) -> Skip:
    """A residual block: y = x + chain(*maps)(x). The inner maps must keep the shape of x.

    Source: He et al. 2016, arXiv:1512.03385, eq. 1.
    """
    inner = chain(*maps)
    return Skip((*inner.nodes, Node("add1", Add(), (INPUT, inner.nodes[-1].name), "add1")))


def towers(tower: Map, join: Map, count: int = 2) -> Towers:
    """Part x into `count` equal pieces, send each through the SAME tower, and join the outputs.

    The towers share their parameters; the gradient is the sum of what each contributes. `join` is a
    map of several inputs, such as `Subtract()` or `Add()`.

    Source: the two-tower network of the sheets: z = softplus(W x_p + b) − softplus(W x_q + b).

    Raises:
        ConfigError: fewer than two towers.
    """
    if count < 2:
        raise ConfigError(
            f"towers wants a count of at least 2, got {count}", next="for one, use chain"
        )
    inner = tower if isinstance(tower, Net) else chain(tower)
    nodes, ends = [], []
    for i in range(1, count + 1):
        nodes.append(Node(f"part{i}", Part(i - 1, count), INPUT, f"part{i}"))
        copies = splice(inner, f"tower{i}", f"part{i}", owner="tower")
        nodes += copies
        ends.append(copies[-1].name)
    kind = _kind(join)
    return Towers((*nodes, Node(f"{kind}1", join, tuple(ends), f"{kind}1")))


def splice(net: Net, name: str, wire: str, owner: str | None = None) -> list[Node]:
    """Return the nodes of `net` as part of a larger network.

    Their names go under `name`, their owners under `owner` (or `name`), their input is `wire`.
    """
    owner = name if owner is None else owner

    def moved(old: str) -> str:
        return wire if old == INPUT else f"{name}/{old}"

    return [
        Node(
            f"{name}/{node.name}",
            node.map,
            moved(node.reads) if isinstance(node.reads, str) else tuple(map(moved, node.reads)),
            f"{owner}/{node.owner}",
        )
        for node in net.nodes
    ]


def _kind(map: Map) -> str:
    return type(map).__name__.lower()


@dataclass(frozen=True)
class Skip(Net):
    """The network that `skip` builds; its own name lets `chain` call it skip1, skip2, …."""


@dataclass(frozen=True)
class Towers(Net):
    """The network that `towers` builds."""


def _several(map: Map, x) -> None:
    if not isinstance(x, tuple) or len(x) < 2:
        raise ShapeError(f"{map} wants at least two wires, got one")


def _one_shape(map: Map, x) -> None:
    _several(map, x)
    if len({tuple(each.shape) for each in x}) > 1:
        raise ShapeError(
            f"{map} wants inputs of one shape, got {_shapes(x)}",
            next="make the branches equally wide",
        )


def _shapes(x) -> str:
    return " and ".join(str(tuple(each.shape)) for each in x)


@dataclass(frozen=True)
class Add(Map):
    """Add wires.

    Forward:  y = Σ x_i
    Reverse:  dx_i = dy
    Shapes:   x a tuple of arrays of one shape; y of that shape
    """

    def init(self, key, x):
        _one_shape(self, x)
        return {}, {}

    def forward(self, params, state, x, run):
        return reduce(jnp.add, x), (None,) * len(x), state

    def reverse(self, params, saved, dy):
        return {}, (dy,) * len(saved)  # the tuple's length is structure, so it crosses a jit


@dataclass(frozen=True)
class Subtract(Map):
    """Subtract the second wire from the first.

    Forward:  y = x_1 − x_2
    Reverse:  dx_1 = dy,  dx_2 = −dy
    Shapes:   x a pair of arrays of one shape; y of that shape
    """

    def init(self, key, x):
        _one_shape(self, x)
        if len(x) != 2:
            raise ShapeError(f"Subtract wants two wires, got {len(x)}")
        return {}, {}

    def forward(self, params, state, x, run):
        return x[0] - x[1], None, state

    def reverse(self, params, saved, dy):
        return {}, (dy, -dy)


@dataclass(frozen=True)
class Concatenate(Map):
    """Set wires side by side along the last axis.

    Forward:  y = [x_1, x_2, …]
    Reverse:  dx_i = the piece of dy where x_i went
    Shapes:   x a tuple of arrays (..., d_i), equal but for the last axis; y (..., Σ d_i)
    Source:   Huang et al. 2017, arXiv:1608.06993, eq. 2

    Raises:
        ShapeError: the inputs differ in another axis than the last, or there is but one.

    >>> x = (jnp.ones((1, 2)), jnp.zeros((1, 1)))
    >>> Concatenate().forward({}, {}, x, None)[0].tolist()
    [[1.0, 1.0, 0.0]]
    """

    def init(self, key, x):
        _several(self, x)
        if len({tuple(each.shape[:-1]) for each in x}) > 1 or any(len(e.shape) < 2 for e in x):
            raise ShapeError(
                f"Concatenate wants inputs that differ in the last axis only, got {_shapes(x)}"
            )
        return {}, {}

    def forward(self, params, state, x, run):
        # No entry is kept of them, only how wide they are.
        return jnp.concatenate(x, axis=-1), tuple(each[:0] for each in x), state

    def reverse(self, params, saved, dy):
        ends = list(accumulate(each.shape[-1] for each in saved))
        return {}, tuple(jnp.split(dy, ends[:-1], axis=-1))


@dataclass(frozen=True)
class Part(Map):
    """Take one of `count` equal pieces of the last axis.

    Forward:  y = x[..., index·d : (index+1)·d],  d = width of x / count
    Reverse:  dx = dy in that piece, 0 elsewhere
    Shapes:   x (..., count·d); y (..., d)

    Raises:
        ConfigError: index is not in [0, count).
        ShapeError: the last axis does not part into `count` equal pieces.
    """

    index: int
    count: int = 2

    def __post_init__(self):
        if not 0 <= self.index < self.count:
            raise ConfigError(f"Part's index must be in [0, {self.count}), got {self.index}")

    def init(self, key, x):
        if x.shape[-1] % self.count:
            raise ShapeError(
                f"Part wants a last axis that {self.count} divides, got shape {tuple(x.shape)}"
            )
        return {}, {}

    def forward(self, params, state, x, run):
        width = x.shape[-1] // self.count
        return x[..., self.index * width : (self.index + 1) * width], None, state

    def reverse(self, params, saved, dy):
        width = dy.shape[-1]
        around = (self.index * width, (self.count - 1 - self.index) * width)
        return {}, jnp.pad(dy, [(0, 0)] * (dy.ndim - 1) + [around])
