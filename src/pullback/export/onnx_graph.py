"""An ONNX graph that is being written, and its bytes.

Numbers go into the graph as constants of its own type. Most operators have attributes for the
common ones (the α of `Elu`), but an attribute is float32, which a float64 network is not: so only
those operators are used whose attributes are whole numbers, with the one exception of the ε of
`LayerNormalization`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from .. import __version__, extras
from ..errors import ConfigError
from .steps import Shape, Step

# Operators of 2023, of which every runtime since knows all; the file's own format of that time.
OPSET = 20
IR_VERSION = 9

# A message of Protocol Buffers, which an ONNX file is, holds no more.
_MOST_BYTES = (1 << 31) - (1 << 16)


class Operator(NamedTuple):
    """One line of a graph: an output, and how it is had."""

    kind: str
    reads: tuple[str, ...]
    output: str
    attributes: Mapping[str, Any]


class Port(NamedTuple):
    """An input or output of a graph; the batch axis comes before its shape."""

    name: str
    dtype: np.dtype
    shape: Shape


@dataclass(frozen=True)
class Wire:
    """An output of an operator, with the arithmetic of arrays: every sign adds an operator."""

    graph: Graph
    name: str

    def op(self, kind: str, *others: Value, **attributes: Any) -> Wire:
        """Add an operator that reads this wire first."""
        return self.graph.op(kind, self, *others, **attributes)

    def __add__(self, other: Value) -> Wire:
        return self.op("Add", other)

    def __radd__(self, other: Value) -> Wire:
        return self.graph.op("Add", other, self)

    def __sub__(self, other: Value) -> Wire:
        return self.op("Sub", other)

    def __mul__(self, other: Value) -> Wire:
        return self.op("Mul", other)

    def __rmul__(self, other: Value) -> Wire:
        return self.graph.op("Mul", other, self)

    def __truediv__(self, other: Value) -> Wire:
        return self.op("Div", other)

    def __rtruediv__(self, other: Value) -> Wire:
        return self.graph.op("Div", other, self)

    def __rsub__(self, other: Value) -> Wire:
        return self.graph.op("Sub", other, self)

    def __neg__(self) -> Wire:
        return self.op("Neg")

    def __abs__(self) -> Wire:
        return self.op("Abs")

    def __gt__(self, other: Value) -> Wire:
        return self.op("Greater", other)

    def __ge__(self, other: Value) -> Wire:
        return self.op("GreaterOrEqual", other)

    def __lt__(self, other: Value) -> Wire:
        return self.op("Less", other)

    def where(self, yes: Value, no: Value) -> Wire:
        """This wire holds conditions: `yes` where they are true, else `no`."""
        return self.op("Where", yes, no)

    def reshaped(self, *shape: int) -> Wire:
        """Each example laid out in another shape."""
        return self.op("Reshape", np.array([0, *shape]))  # 0: as many examples as there are

    def sliced(self, start: int, stop: int) -> Wire:
        """A piece of the last axis."""
        return self.op("Slice", np.array([start]), np.array([stop]), np.array([-1]))


Value: TypeAlias = Wire | float | np.ndarray


@dataclass(eq=False)
class Graph:
    """Operators in order, and the arrays that they read.

    Attributes:
        dtype: of the network.
        here: the name of the step that is being written.
    """

    dtype: np.dtype
    here: str = ""
    operators: list[Operator] = field(default_factory=list)
    constants: dict[str, np.ndarray] = field(default_factory=dict)
    inputs: list[Port] = field(default_factory=list)
    _taken: set[str] = field(default_factory=set)
    _held: dict[str, str] = field(default_factory=dict)

    def input(self, name: str, shape: Shape, dtype: np.dtype | None = None) -> Wire:
        """Add an input, of the graph's dtype unless told."""
        port = Port(self._free(name), dtype or self.dtype, shape)
        self.inputs.append(port)
        return Wire(self, port.name)

    def op(self, kind: str, *reads: Value, **attributes: Any) -> Wire:
        """Add an operator. A number becomes a constant of the graph's dtype."""
        names = tuple(self._wire(value).name for value in reads)
        name = self._free(f"{self.here}:{kind}")
        self.operators.append(Operator(kind, names, name, attributes))
        return Wire(self, name)

    def held(self, step: Step, name: str, array: np.ndarray | None = None) -> Wire:
        """An array that a step holds, or what was made of it; equal owners share it."""
        full = f"{step.owner}/{name}"
        if full not in self._held:
            self._held[full] = self._free(full)
        value = step.held[name] if array is None else array
        self.constants[self._held[full]] = np.ascontiguousarray(value)
        return Wire(self, self._held[full])

    def called(self, wire: Wire, name: str) -> Wire:
        """Give the output of the last operator a name of its own."""
        last = self.operators[-1]
        assert last.output == wire.name
        self.operators[-1] = last._replace(output=self._free(name))
        return Wire(self, self.operators[-1].output)

    def _wire(self, value: Value) -> Wire:
        if isinstance(value, Wire):
            return value
        array = value if isinstance(value, np.ndarray) else np.asarray(value, self.dtype)
        name = self._free(f"{self.here}:constant")
        self.constants[name] = array
        return Wire(self, name)

    def _free(self, name: str) -> str:
        """The name, with a number behind it if it is taken."""
        free, count = name, 1
        while free in self._taken:
            count += 1
            free = f"{name}{count}"
        self._taken.add(free)
        return free


def serialized(graph: Graph, outputs: list[Port], metadata: Mapping[str, str], doc: str) -> bytes:
    """The bytes of an ONNX file.

    Args:
        graph: the graph.
        outputs: which of its wires come out.
        metadata: told with the model, by name.
        doc: says what the model is, for its reader.

    Raises:
        ConfigError: onnx is not installed, or the arrays are larger than an ONNX file can be.
    """
    extras.require("onnx", "an ONNX model wants the package onnx")
    size = sum(array.nbytes for array in graph.constants.values())
    if size > _MOST_BYTES:
        raise ConfigError(
            f"the arrays have {size:,} bytes, an ONNX file holds {_MOST_BYTES:,}",
            next="export to numpy or safetensors",
        )
    from onnx import helper, numpy_helper

    def told(port: Port):
        kind = helper.np_dtype_to_tensor_dtype(port.dtype)
        return helper.make_tensor_value_info(port.name, kind, ["n", *port.shape])

    model = helper.make_model(
        helper.make_graph(
            [
                helper.make_node(
                    each.kind, each.reads, [each.output], each.output, **each.attributes
                )
                for each in graph.operators
            ],
            "network",
            [told(port) for port in graph.inputs],
            [told(port) for port in outputs],
            [numpy_helper.from_array(array, name) for name, array in graph.constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="pullback",
        producer_version=__version__,
        doc_string=doc,
    )
    helper.set_model_props(model, dict(metadata))
    return model.SerializeToString(deterministic=True)
