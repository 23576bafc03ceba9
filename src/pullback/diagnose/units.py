"""Dead and saturated units: which of them still let a gradient through, and on how many examples.

They are measured afterwards, from the model and its data, so that training pays nothing for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from ..arithmetic import full_precision
from ..maps import Elementwise, Net, Node, Run
from ..train import Batch, Task
from ..train.measure import window
from .finding import Finding, listed, percent

# A slope below this share of the activation's steepest lets next to nothing through.
OPEN = 0.05
# A unit of a bounded activation is saturated where it is open on no more than so many examples.
RARELY = 0.05
# The share of a layer's units from which on it is told.
MANY = 0.1

BLOCK = 2000
Shape = Literal["rectifier", "bounded"]


@dataclass(frozen=True)
class LayerUnits:
    """The units behind one activation.

    A unit is open on an example where the activation's slope is at least a twentieth of its
    steepest, at any place of a picture.

    Attributes:
        name: the node.
        map: the activation.
        shape: a rectifier is flat on one side, a bounded activation on both.
        open: for each unit, the share of the examples on which it is open.
    """

    name: str
    map: str
    shape: Shape
    open: tuple[float, ...]

    @property
    def off(self) -> float:
        """The share of units that are dead (a rectifier's) or saturated (those of the others)."""
        limit = 0.0 if self.shape == "rectifier" else RARELY
        return float(np.mean(np.array(self.open) <= limit))

    def row(self) -> dict[str, Any]:
        """As plain data."""
        state = "dead" if self.shape == "rectifier" else "saturated"
        return asdict(self) | {"units": len(self.open), state: self.off}


def layer_units(task: Task, params, state, chunks: Iterable[Batch]) -> list[LayerUnits]:
    """Measure every activation that is flat on a side, but for one that gives the output.

    An output that is sure is flat, and rightly so. Activations inside a `Recompute` are not seen.

    Args:
        task: the network.
        params: its weights.
        state: its state.
        chunks: the examples; rows of weight 0 do not count.
    """
    seen: list[tuple[Node, Shape]] = []
    for node in task.net.nodes[:-1]:
        shape = _shape(node.map)
        if shape is not None:
            seen.append((node, shape))
    if not seen:
        return []
    wanted = tuple((node, OPEN * _steepest(node.map)) for node, _ in seen)
    opened, count = [np.zeros(()) for _ in seen], 0.0
    for chunk in chunks:
        more, examples = _opened(task.net, wanted, params, state, chunk)
        opened = [a + np.asarray(b, np.float64) for a, b in zip(opened, more, strict=True)]
        count += float(examples)
    return [
        LayerUnits(node.name, str(node.map), shape, tuple((units / count).tolist()))
        for (node, shape), units in zip(seen, opened, strict=True)
    ]


def unit_findings(layers: Sequence[LayerUnits]) -> list[Finding]:
    """Layers of which many units are dead or saturated."""
    found = []
    off = [layer for layer in layers if layer.off >= MANY]
    if dead := [layer for layer in off if layer.shape == "rectifier"]:
        says = f"on no example of the training part does a gradient pass {_shares(dead)}."
        next = (
            "a lower learning rate, an initialiser made for rectifiers (he) with biases of 0 or a "
            "little more, or an activation that leaks (leaky-relu, elu)"
        )
        found.append(Finding("dead units", says, next, _numbers(dead), _names(dead)))
    if flat := [layer for layer in off if layer.shape == "bounded"]:
        says = (
            f"the slope is below {percent(OPEN)} of the steepest, on at least "
            f"{percent(1 - RARELY)} of the training examples, for {_shares(flat)}."
        )
        next = (
            "smaller first weights (glorot, lecun), data.standardize, batch-norm or layer-norm "
            "before the activation, or a lower learning rate"
        )
        found.append(Finding("saturated units", says, next, _numbers(flat), _names(flat)))
    return found


def _shape(map: Any) -> Shape | None:
    """Whether an activation is flat far out, on one side or on both; None for on neither."""
    if not isinstance(map, Elementwise):
        return None
    flat = np.asarray(_slopes(map, np.array([-1e3, 1e3], np.float32))) < 1e-3 * _steepest(map)
    return "bounded" if flat.all() else "rectifier" if flat.any() else None


def _slopes(map: Any, x):
    return jnp.abs(map.slope(map.kept(x, map.value(x))))


def _steepest(map: Any) -> float:
    """The greatest slope of an activation, which all have near 0."""
    return float(_slopes(map, np.linspace(-5, 5, 1001, dtype=np.float32)).max())


@partial(jax.jit, static_argnames=("net", "wanted"))
@full_precision()
def _opened(net: Net, wanted: tuple[tuple[Node, float], ...], params, state, data: Batch):
    """On how many examples each unit is open, and how many examples there are.

    Wanted are nodes, each with the slope from which on its units are open. Blocks of equal size
    slide over the rows, as in an evaluation; the last overlaps the one before.
    """
    n = data.x.shape[0]
    size = min(n, BLOCK)

    def block(total, i):
        begin = jnp.minimum(i * size, n - size)
        x, weight = (window(a, begin, size) for a in (data.x, data.weight))
        fresh = (jnp.arange(size) >= i * size - begin) & (weight > 0)
        wires, _, _ = net.trace(params, state, x, Run())
        opened = [_passed(node, wires[node.inputs[0]], limit, fresh) for node, limit in wanted]
        return jax.tree.map(jnp.add, total, (opened, jnp.sum(fresh))), None

    wires = net.shapes(data.x[:1])
    start = [jnp.zeros(wires[node.name].shape[-1], int) for node, _ in wanted]
    return jax.lax.scan(block, (start, jnp.zeros((), int)), jnp.arange(-(-n // size)))[0]


def _passed(node: Node, x, limit: float, fresh):
    """How many of the fresh examples each unit is open on, at any of its places."""
    slopes = _slopes(node.map, x)
    opened = jnp.any(slopes >= limit, axis=tuple(range(1, x.ndim - 1)))
    return jnp.sum(opened & fresh[:, None], axis=0)


def _shares(layers: Sequence[LayerUnits]) -> str:
    return listed(
        f"{percent(layer.off)} of the {len(layer.open)} units of {layer.name}" for layer in layers
    )


def _numbers(layers: Sequence[LayerUnits]) -> dict[str, float]:
    return {layer.name: layer.off for layer in layers}


def _names(layers: Sequence[LayerUnits]) -> tuple[str, ...]:
    return tuple(layer.name for layer in layers)
