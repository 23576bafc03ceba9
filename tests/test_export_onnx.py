"""ONNX models: each map and link under another runtime, and whole trained runs."""

from __future__ import annotations

import cases
import jax
import numpy as np
import onnx
import onnxruntime
import pytest
from cases import MAPS
from exported import expected, far_out, held, inside, under_onnxruntime

from pullback import maps
from pullback.catalogue.map_cases import ACTIVATIONS
from pullback.export.onnx_file import write_map
from pullback.export.onnx_graph import Graph, Port, serialized
from pullback.export.onnx_links import LINKS, write_link
from pullback.export.onnx_maps import WRITERS
from pullback.export.steps import inputs_named

# What ONNX Runtime has in float32 only.
ONLY_FLOAT32 = (maps.Arctan, maps.AveragePool, maps.Conv, maps.Gelu)


def session(graph, output, shape):
    data = serialized(graph, [Port(output.name, graph.dtype, shape)], {}, "a test")
    onnx.checker.check_model(onnx.load_model_from_string(data), full_check=True)
    return onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])


def computed(map, params, state, x):
    """What ONNX Runtime computes with the operators of a map."""
    graph, shapes = Graph(x[0].dtype), [each.shape[1:] for each in x]
    names = inputs_named(len(x))
    wires = [graph.input(*each) for each in zip(names, shapes, strict=True)]
    y, shape = write_map(graph, map, params, state, wires, shapes)
    running = session(graph, graph.called(y.op("Identity"), "y"), shape)
    return under_onnxruntime(running, dict(zip(names, x, strict=True)))


@pytest.mark.parametrize("case", MAPS, ids=lambda case: case.name)
def test_a_map_is_the_same_function_under_another_runtime(case):
    x, params, state = held(case, np.float32)
    wanted = expected(case.map, params, state, x)
    got = computed(case.map, params, state, x)
    assert got.dtype == np.float32
    assert got.shape == wanted.shape
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "case",
    [case for case in MAPS if not inside(case.map) & set(ONLY_FLOAT32)],
    ids=lambda case: case.name,
)
def test_a_map_is_the_same_function_in_float64(case):
    with jax.enable_x64(True):
        x, params, state = held(case, np.float64)
        wanted = expected(case.map, params, state, x)
    got = computed(case.map, params, state, x)
    assert got.dtype == np.float64
    # An ONNX attribute, such as the ε of layer normalisation, is float32.
    tolerance = 1e-8 if maps.LayerNorm in inside(case.map) else 1e-12
    np.testing.assert_allclose(got, wanted, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("case", ACTIVATIONS, ids=lambda case: case.name)
def test_an_activation_is_the_same_at_kinks_and_far_out(case):
    x, params, state = far_out(case)
    wanted = expected(case.map, params, state, (x,))
    np.testing.assert_allclose(
        computed(case.map, params, state, (x,)), wanted, rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("case", cases.LOSSES, ids=lambda case: case.name)
def test_a_link_is_the_same_function_under_another_runtime(case):
    z = np.random.default_rng(2).normal(size=(5, 4)).astype(np.float32)
    z[0] = 0
    wanted = np.asarray(case.loss.link(jax.numpy.asarray(z)))
    graph = Graph(z.dtype)
    y = write_link(graph, case.loss, graph.input("z", (4,)), 4)
    running = session(graph, graph.called(y.op("Identity"), "y"), wanted.shape[1:])
    np.testing.assert_allclose(under_onnxruntime(running, {"z": z}), wanted, rtol=1e-5, atol=1e-6)


def test_a_wire_may_be_called_as_an_array_is():
    net = maps.Net(
        (
            maps.Node("p/weight", maps.Affine(2), "x", "q"),
            maps.Node("z", maps.Affine(2), "p/weight", "p"),
        )
    )
    x = np.ones((3, 2), np.float32)
    params, state = net.init(jax.random.key(0), x)
    wanted = expected(net, params, state, (x,))
    np.testing.assert_allclose(computed(net, params, state, (x,)), wanted, rtol=1e-5)


def test_the_tables_have_what_there_is_and_nothing_else():
    assert set(WRITERS) == {kind for case in MAPS for kind in inside(case.map)}
    assert set(LINKS) == {type(case.loss) for case in cases.LOSSES}
