"""A network as a straight list of steps: what every format is written from.

Networks inside a node and blocks that are computed twice in training are laid out flat: an
evaluation is one map after another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from ..errors import ConfigError
from ..maps import Map, Net, Recompute, Run
from ..maps.core import INPUT
from ..model import Model
from ..tree import Tree

Shape = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Step:
    """One map of an evaluation, with all that it needs.

    Attributes:
        name: of its output.
        map: what it computes; neither a network nor a `Recompute`.
        owner: under which name its arrays are kept; equal owners have equal arrays.
        held: its parameters and state by name.
        reads: the names of the outputs that it takes.
        shapes: of one example of each of these.
        shape: of one example of its output.
    """

    name: str
    map: Any
    owner: str
    held: Mapping[str, np.ndarray]
    reads: tuple[str, ...]
    shapes: tuple[Shape, ...]
    shape: Shape


def steps_of(map: Map, params: Tree, state: Tree, shapes: Sequence[Shape]) -> list[Step]:
    """Lay a map out as steps in the order in which they are computed; the last gives the output.

    Args:
        map: a network, or any other map.
        params: its parameters.
        state: its state.
        shapes: of one example of each input, which are named "x", or "x1", "x2", … if there are
            several.

    Raises:
        ShapeError: the map does not take such inputs.
    """
    steps: list[Step] = []
    wires = tuple(zip(inputs_named(len(shapes)), shapes, strict=True))
    _lay_out(map, "", "", params, state, wires, steps)
    return steps


def inputs_named(count: int) -> list[str]:
    """The names of so many inputs.

    >>> inputs_named(1), inputs_named(2)
    (['x'], ['x1', 'x2'])
    """
    return [INPUT] if count == 1 else [f"{INPUT}{i}" for i in range(1, count + 1)]


def output_named(model: Model) -> str:
    """What the columns of a model's predictions are."""
    if model.preparation.classes is None:
        return "predictions"
    return "probabilities" if model.task.loss.probabilities else "scores"


def columns_of(model: Model, width: int) -> int:
    """How many columns the predictions have, of a network of so many outputs."""
    z = jax.ShapeDtypeStruct((1, width), np.float32)
    return 2 if model.single else jax.eval_shape(model.task.loss.link, z).shape[1]


def look_up(table: Mapping[type, Callable], kind: type, name: str, format: str) -> Callable:
    """The function that writes a map, a link or the like in a format.

    Raises:
        ConfigError: the table has none for this very class; a subclass may compute something else.
    """
    if kind not in table:
        raise ConfigError(
            f"{kind.__name__} cannot be written as {format}",
            where=name,
            next=f"take another in its place, or write one for it in pullback.export ({format})",
        )
    return table[kind]


def _lay_out(map: Map, name: str, owner: str, params, state, wires, steps: list[Step]):
    """Append the steps of a map, and return the name and shape of its output."""
    if isinstance(map, Recompute):
        return _lay_out(map.map, name, owner, params, state, wires, steps)
    if isinstance(map, Net):
        (made,) = wires
        inside = {INPUT: made}
        for node in map.nodes:
            inside[node.name] = _lay_out(
                node.map,
                f"{name}/{node.name}" if name else node.name,
                f"{owner}/{node.owner}" if owner else node.owner,
                params[node.owner],
                state[node.owner],
                tuple(inside[wire] for wire in node.inputs),
                steps,
            )
        return inside[map.nodes[-1].name]
    # A map that is no network has no name of its own.
    name, owner = name or type(map).__name__.lower(), owner or type(map).__name__.lower()
    shape = _shape_of(map, params, state, [shape for _, shape in wires])
    held = {key: np.asarray(value) for key, value in {**params, **state}.items()}
    reads, shapes = tuple(wire for wire, _ in wires), tuple(shape for _, shape in wires)
    steps.append(Step(name, map, owner, held, reads, shapes, shape))
    return name, shape


def _shape_of(map: Map, params, state, shapes: list[Shape]) -> Shape:
    """The shape of one example of the output. Only shapes count, so one dtype does for all."""

    def like(value):
        return jax.ShapeDtypeStruct(value.shape, np.float32)

    x = tuple(jax.ShapeDtypeStruct((1, *shape), np.float32) for shape in shapes)
    y = jax.eval_shape(
        lambda params, state, x: map.forward(params, state, x if len(x) > 1 else x[0], Run())[0],
        jax.tree.map(like, params),
        jax.tree.map(like, state),
        x,
    )
    return y.shape[1:]
