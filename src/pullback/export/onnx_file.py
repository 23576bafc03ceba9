"""A trained network as an ONNX model, with the preparation of its inputs and the loss's link."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .. import jsontext
from ..data import Preparation
from ..maps import Map
from ..model import Model
from ..tree import Tree
from .onnx_graph import Graph, Port, Wire, serialized
from .onnx_links import write_link
from .onnx_maps import write_step
from .steps import Shape, columns_of, inputs_named, output_named, steps_of


def onnx_bytes(model: Model) -> bytes:
    """The bytes of an ONNX file that predicts what `pullback predict` does.

    Its input "x" is (n, *shape) with any n: the rows as they are read, before anything is done to
    them, or, for a table with categories, the matrix that its encoding makes, whose columns the
    metadata names as "features". Standardisation is part of the graph; it is done in float64, as
    in training, and x is then float64, because a feature such as a year would lose in float32 what
    the standardised one must tell. Otherwise x has the precision of the network.

    Its output is (n, k): "probabilities" or "scores" of the classes that the metadata name, in
    their order, or "predictions", one number for each target.

    A network of float64 stays one. Runtimes have fewer operators for it: ONNX Runtime has no
    convolution, average pooling, arctangent or GELU of float64 on a CPU.

    Raises:
        ConfigError: onnx is not installed, a map or the loss has no ONNX operators, or the arrays
            are larger than an ONNX file can be.
    """
    preparation = model.preparation
    graph = Graph(model.experiment.dtype)
    x = _prepared(graph, preparation)
    z, (width,) = write_map(
        graph, model.task.net, model.params, model.state, [x], [preparation.shape]
    )
    y = write_link(graph, model.task.loss, z, width)
    if model.single:
        y = graph.op("Concat", 1.0 - y, y, axis=-1)
    name = output_named(model)
    # An operator of its own, so that the output has its name even where the link does nothing.
    y = graph.called(y.op("Identity"), name)
    output = Port(y.name, graph.dtype, (columns_of(model, width),))
    return serialized(graph, [output], _metadata(model), _doc(model))


def write_map(
    graph: Graph,
    map: Map,
    params: Tree,
    state: Tree,
    x: Sequence[Wire],
    shapes: Sequence[Shape],
) -> tuple[Wire, Shape]:
    """Add the operators of a map, or of all maps of a network, in evaluation.

    Args:
        graph: where to.
        map: the map.
        params: its parameters.
        state: its state.
        x: its inputs.
        shapes: of one example of each.

    Returns:
        Its output, and the shape of one example of it.

    Raises:
        ConfigError: a map has no ONNX operators.
    """
    wires = dict(zip(inputs_named(len(x)), x, strict=True))
    steps = steps_of(map, params, state, shapes)
    for step in steps:
        wires[step.name] = write_step(graph, step, *(wires[wire] for wire in step.reads))
    return wires[steps[-1].name], steps[-1].shape


def _prepared(graph: Graph, preparation: Preparation) -> Wire:
    """The input, and its standardisation."""
    standardizer = preparation.standardizer
    if standardizer is None:
        return graph.input("x", preparation.shape)
    graph.here = "standardize"
    x = graph.input("x", preparation.shape, np.dtype(np.float64))
    u = (x - standardizer.mean[None]) / standardizer.deviation[None]
    return u if graph.dtype == np.float64 else u.op("CastLike", np.zeros(0, graph.dtype))


def _metadata(model: Model) -> dict[str, str]:
    """What the graph does not tell: names of the experiment, the classes and the features."""
    preparation = model.preparation
    told = {"experiment": model.experiment.name}
    if preparation.classes is not None:
        told["classes"] = jsontext.encode(list(preparation.classes))
    if preparation.encoder is not None:
        told["features"] = jsontext.encode(list(preparation.encoder.features))
    return told


def _doc(model: Model) -> str:
    preparation = model.preparation
    rows = "the rows as they were read"
    if preparation.encoder is not None:
        rows = (
            "a column for each of the metadata's 'features': numbers as they are, and for "
            "'column=category' 1 where the cell is the category, else 0"
        )
    columns = "one for each target"
    if preparation.classes is not None:
        columns = "one for each of the metadata's 'classes'"
    return (
        f"Trained with Pullback. Input x: {rows}. "
        f"Output {output_named(model)}: {columns}, in their order."
    )
