"""The contract of a map, and the network, which is a map made of maps.

A map has a value and a reverse derivative, its pullback: `forward` gives ``y`` and what must be
saved; `reverse` takes the cotangent ``dy`` to the cotangents of the parameters and of ``x``. A
network is a list of maps; its reverse is the composition of theirs in reverse order. Nothing else
in this package differentiates.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax

from .. import tree
from ..errors import ConfigError, ShapeError, nearest
from ..tree import Tree

INPUT = "x"


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Run:
    """All that a pass is told: a traced random key, and one static bit. ``Run()`` evaluates."""

    key: Any = None
    train: bool = field(default=False, metadata={"static": True})


@dataclass(frozen=True)
class Map:
    """A differentiable function with parameters and state.

    A subclass holds hyper-parameters only, so that it is hashable, comparable, picklable and
    printable. Parameters and state are trees that go in and come out; nothing is kept.
    """

    @property
    def estimated(self) -> bool:
        """Whether `reverse` is declared an estimate, not the derivative of `forward`."""
        return False

    def init(self, key, x) -> tuple[Tree, Tree]:
        """Return the first parameters and state for inputs like `x`, an array or its shape.

        Raises:
            ShapeError: the map cannot take such an `x`.
        """
        return {}, {}

    def forward(self, params: Tree, state: Tree, x, run: Run) -> tuple[Any, Any, Tree]:
        """Return ``y``, what the reverse needs, and the state, untouched by a map without one."""
        raise NotImplementedError

    def reverse(self, params: Tree, saved, dy) -> tuple[Tree, Any]:
        """Take the cotangent of ``y`` to those of the parameters and of ``x``."""
        raise NotImplementedError


class Node(NamedTuple):
    """One line of a network.

    Attributes:
        name: names the node, and the wire that carries its output.
        map: what it computes.
        reads: the wire, or the wires, that it takes; ``"x"`` is the network's input. A map of
            several inputs gets a tuple.
        owner: under which name its parameters and state are kept; equal owners share them.
    """

    name: str
    map: Map
    reads: str | tuple[str, ...]
    owner: str

    @property
    def inputs(self) -> tuple[str, ...]:
        """The wires it reads, always as a tuple."""
        return (self.reads,) if isinstance(self.reads, str) else self.reads


def key_for(key, name: str):
    """Derive the key that belongs to a name: adding a layer moves no other layer's draws."""
    return None if key is None else jax.random.fold_in(key, zlib.crc32(name.encode()))


@dataclass(frozen=True)
class Net(Map):
    """A network: a flat tuple of nodes in topological order, the last of which gives the output.

    Forward:  wire[node] = node.map(params[node.owner], wires it reads), from the first node to the
              last
    Reverse:  from the last to the first: each node's reverse; cotangents of equal owners add, and
              so do those of a wire that is read more than once
    Shapes:   those of its maps; parameters and state are dicts by owner
    Source:   the chain rule; Baydin et al. 2018, arXiv:1502.05767, §3.2

    Raises:
        ConfigError: no node; a name twice; a wire that is read before it is made, or never read; an
            owner with two maps.

    >>> from pullback.maps import Affine, Relu, chain
    >>> net = chain(Affine(3), Relu(), Affine(2))
    >>> [node.name for node in net.nodes]
    ['affine1', 'relu1', 'affine2']
    """

    nodes: tuple[Node, ...]

    def __post_init__(self):
        if not self.nodes:
            raise ConfigError("a network needs at least one node, got none")
        wires, unread, owners = {INPUT}, {INPUT}, {}
        for node in self.nodes:
            where = f"node '{node.name}'"
            if not isinstance(node.map, Map):
                raise ConfigError(f"a node's map must be a Map, got {node.map!r}", where=where)
            if node.name in wires:
                raise ConfigError(
                    f"the name '{node.name}' is taken", where=where, next="name each node once"
                )
            if not node.inputs:
                raise ConfigError("a node must read at least one wire, got none", where=where)
            for wire in node.inputs:
                if wire not in wires:
                    raise ConfigError(
                        f"no earlier node makes the wire '{wire}'",
                        where=where,
                        next=nearest(wire, wires),
                    )
            if owners.setdefault(node.owner, node.map) != node.map:
                raise ConfigError(
                    f"the owner '{node.owner}' has two maps, {owners[node.owner]} and {node.map}",
                    where=where,
                    next="share parameters between equal maps only",
                )
            unread -= set(node.inputs)
            wires.add(node.name)
            unread.add(node.name)
        unread.discard(self.nodes[-1].name)
        if unread:
            raise ConfigError(
                f"nothing reads the wire '{min(unread)}'",
                where="the network",
                next="read it, or leave its node out",
            )

    @property
    def estimated(self):
        """Whether that of any node is."""
        return any(node.map.estimated for node in self.nodes)

    def init(self, key, x):
        """Return parameters and state, dicts by owner; each owner draws from a key of its name."""
        params, state, _ = self._begin(key, x)
        return params, state

    def shapes(self, x) -> dict[str, Any]:
        """Return the shape and dtype of every wire for an input like `x`, computing nothing."""
        wires = {}

        def begin(key):
            wires.update(self._begin(key, x)[2])

        jax.eval_shape(begin, jax.random.key(0))
        return wires

    def forward(self, params, state, x, run):
        """Run the nodes in order; what each saved goes out by its name."""
        wires, saved, state = self.trace(params, state, x, run)
        return wires[self.nodes[-1].name], saved, state

    def trace(self, params: Tree, state: Tree, x, run: Run) -> tuple[dict[str, Any], Any, Tree]:
        """Run forward and return the value of EVERY wire by name, what was saved, and the state."""
        wires, saved, state = {INPUT: x}, {}, dict(state)
        for node in self.nodes:
            inputs = _gather(wires, node)
            run_here = Run(key_for(run.key, node.name), run.train)
            wires[node.name], saved[node.name], state[node.owner] = node.map.forward(
                params[node.owner], state[node.owner], inputs, run_here
            )
        return wires, saved, state

    def reverse(self, params, saved, dy):
        """Take the cotangent of the output to those of all parameters and of the input."""
        dparams, wires = self.sweep(params, saved, dy)
        return dparams, wires[INPUT]

    def sweep(self, params: Tree, saved, dy) -> tuple[Tree, dict[str, Any]]:
        """Return the cotangents of all parameters, and of EVERY wire by name: each layer's δ."""
        dparams, wires = {}, {self.nodes[-1].name: dy}
        for node in reversed(self.nodes):
            own, dx = node.map.reverse(params[node.owner], saved[node.name], wires[node.name])
            dparams[node.owner] = (
                tree.add(dparams[node.owner], own) if node.owner in dparams else own
            )
            for wire, cotangent in zip(
                node.inputs, (dx,) if isinstance(node.reads, str) else dx, strict=True
            ):
                wires[wire] = wires[wire] + cotangent if wire in wires else cotangent
        return dparams, wires

    def _begin(self, key, x):
        params, state = {}, {}
        wires: dict[str, Any] = {INPUT: jax.ShapeDtypeStruct(x.shape, x.dtype)}
        for node in self.nodes:
            inputs = _gather(wires, node)
            try:
                if node.owner not in params:
                    params[node.owner], state[node.owner] = node.map.init(
                        key_for(key, node.owner), inputs
                    )
                wires[node.name] = _output(node.map, params[node.owner], state[node.owner], inputs)
            except ShapeError as error:
                raise error.at(f"node '{node.name}'") from None
        return params, state, wires


def _output(map: Map, params, state, x):
    """The shape of a map's output. A forward that cannot be traced does not fit its input."""
    try:
        return jax.eval_shape(lambda p, s, v: map.forward(p, s, v, Run())[0], params, state, x)
    except TypeError as error:
        raise ShapeError(f"{map} does not fit an input of {_text(x)}: {error}") from error


def _text(x) -> str:
    return " and ".join(f"shape {leaf.shape}" for leaf in jax.tree.leaves(x))


def _gather(wires, node: Node):
    return (
        wires[node.reads]
        if isinstance(node.reads, str)
        else tuple(wires[wire] for wire in node.reads)
    )
