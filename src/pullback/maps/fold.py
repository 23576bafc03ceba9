"""Folding: a trained network without its batch normalisations, for serving."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from ..tree import Tree
from .affine import Affine
from .conv import Conv
from .core import Map, Net, Node
from .norm import BatchNorm


def fold(net: Net, params: Tree, state: Tree) -> tuple[Net, Tree, Tree]:
    """Return the same network in evaluation, with batch normalisations folded into affine maps.

    A normalisation with running statistics is an affine map of each feature, y = a · z + c. If it
    alone reads the output z = x @ weight + bias of an affine map or of a convolution, the two are
    one:

        weight' = weight · a,  bias' = bias · a + c,   a = gain/s,  c = shift − mean · a

    The folded map keeps the name and the owner of the affine one, and always has a bias. Where
    either of the two is shared, as in towers, they are folded if every node of the one owner is
    normalised by a node of the other, and left alone otherwise; so is what lies inside a map.

    Training the result is another thing than training the network: nothing is normalised any more.

    Args:
        net: the network.
        params: its parameters.
        state: its state, with the running statistics.

    >>> import jax
    >>> from pullback.maps import Affine, BatchNorm, Relu, chain
    >>> net = chain(Affine(3, bias=False), BatchNorm(), Relu())
    >>> folded, _, _ = fold(net, *net.init(jax.random.key(0), jax.numpy.ones((1, 2))))
    >>> [node.name for node in folded.nodes], folded.nodes[0].map.bias
    (['affine1', 'relu1'], True)
    """
    params, state = dict(params), dict(state)
    maps, instead = {}, {}
    for affine, norm in _foldable(net):
        instead[norm.name] = affine.name
        if affine.owner not in maps:
            maps[affine.owner] = replace(affine.map, bias=True)
            params[affine.owner] = _folded(
                params[affine.owner], norm.map, params.pop(norm.owner), state.pop(norm.owner)
            )
    nodes = [
        node._replace(
            map=maps.get(node.owner, node.map),
            reads=instead.get(node.reads, node.reads)
            if isinstance(node.reads, str)
            else tuple(instead.get(wire, wire) for wire in node.reads),
        )
        for node in net.nodes
        if node.name not in instead
    ]
    return Net(tuple(nodes)), params, state


def _foldable(net: Net) -> list[tuple[Node, Node]]:
    """The pairs of nodes, an affine map and the normalisation that it can take in."""
    by_name = {node.name: node for node in net.nodes}
    readers = Counter(wire for node in net.nodes for wire in node.inputs)
    pairs = [
        (by_name[node.reads], node)
        for node in net.nodes
        if isinstance(node.map, BatchNorm)
        and node.reads in by_name
        and isinstance(by_name[node.reads].map, Affine | Conv)
        and readers[node.reads] == 1
    ]
    # A shared owner has one set of parameters: either all its nodes are folded, or none is.
    nodes = Counter(node.owner for node in net.nodes)
    matched = Counter((affine.owner, norm.owner) for affine, norm in pairs)
    return [
        (affine, norm)
        for affine, norm in pairs
        if matched[affine.owner, norm.owner] == nodes[affine.owner] == nodes[norm.owner]
    ]


def _folded(params: Tree, norm: Map, norm_params: Tree, norm_state: Tree) -> Tree:
    assert isinstance(norm, BatchNorm)
    a = norm_params["gain"] / norm.scale(norm_state[norm.statistic])
    c = norm_params["shift"] - norm_state["mean"] * a
    weight = params["weight"]
    # The outputs are the last axis of a matrix and of a convolution's kernel alike.
    weight = weight * a.reshape((1,) * (weight.ndim - 1) + a.shape)
    return {"weight": weight, "bias": params["bias"] * a + c if "bias" in params else c}
