"""The written predictor: each map and link without JAX, and what no model can write into it."""

from __future__ import annotations

import io
import math

import cases
import jax
import numpy as np
import pytest
from cases import MAPS
from exported import expected, far_out, held, inside

from pullback import maps
from pullback.catalogue.map_cases import ACTIVATIONS
from pullback.export.numpy_file import archive, copied, forward_pass
from pullback.export.numpy_maps import LINKS, link_of
from pullback.export.numpy_maps import MAPS as WRITERS
from pullback.maps import Affine, Net, Node


def run(code, calls, arrays):
    """What the written code defines, where there is nothing but NumPy."""
    with np.load(io.BytesIO(archive(arrays)), allow_pickle=False) as stored:
        there = {"np": np, "math": math, "W": dict(stored)}
    exec("\n\n".join([*copied(calls), code]), there)
    return there


def computed(map, params, state, x):
    code, width, calls, arrays = forward_pass(map, params, state, [a.shape[1:] for a in x])
    y = run(code, calls, arrays)["forward"](*x)
    assert y.shape[-1] == width
    return y


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(np.float32, 1e-5), (np.float64, 1e-12)], ids=["float32", "float64"]
)
@pytest.mark.parametrize("case", MAPS, ids=lambda case: case.name)
def test_a_map_is_the_same_function_in_numpy(case, dtype, tolerance):
    with jax.enable_x64(dtype == np.float64):
        x, params, state = held(case, dtype)
        wanted = expected(case.map, params, state, x)
    got = computed(case.map, params, state, x)
    assert got.dtype == dtype
    assert got.shape == wanted.shape
    np.testing.assert_allclose(got, wanted, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("case", ACTIVATIONS, ids=lambda case: case.name)
def test_an_activation_is_the_same_at_kinks_and_far_out_without_a_warning(case):
    x, params, state = far_out(case)
    wanted = expected(case.map, params, state, (x,))
    np.testing.assert_allclose(
        computed(case.map, params, state, (x,)), wanted, rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("case", cases.LOSSES, ids=lambda case: case.name)
def test_a_link_is_the_same_function_in_numpy(case):
    z = np.random.default_rng(2).normal(size=(5, 4)).astype(np.float32)
    z[0] = 0
    wanted = np.asarray(case.loss.link(jax.numpy.asarray(z)))
    line = link_of(case.loss)
    got = run(f"def link(z):\n    return {line.code}\n", line.calls, {})["link"](z)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)


def test_the_tables_have_what_there_is_and_nothing_else():
    assert set(WRITERS) == {kind for case in MAPS for kind in inside(case.map)}
    assert set(LINKS) == {type(case.loss) for case in cases.LOSSES}


def test_names_of_nodes_are_no_code():
    names = ["a\nraise SystemExit #", "np", "for", "x2", "9", "é", "a_raise_SystemExit__"]
    owners = ["'] + exit() + W['", *names[1:]]
    nodes = [
        Node(name, Affine(2), wire, owner)
        for name, wire, owner in zip(names, ["x", *names], owners, strict=False)
    ]
    net = Net((*nodes, Node("sum", maps.Add(), (names[-1], names[0]), "sum")))
    x = np.ones((3, 2), np.float32)
    params, state = net.init(jax.random.key(0), x)
    wanted = expected(net, params, state, (x,))
    np.testing.assert_allclose(computed(net, params, state, (x,)), wanted, rtol=1e-5)


def test_a_map_that_no_table_has_is_refused_by_its_node():
    from pullback.errors import ConfigError
    from pullback.export.onnx_file import write_map
    from pullback.export.onnx_graph import Graph

    class Own(maps.Tanh):
        """A subclass, which may compute anything."""

    net = maps.chain(Affine(2), Own())
    x = np.ones((3, 2), np.float32)
    params, state = net.init(jax.random.key(0), x)
    with pytest.raises(ConfigError, match="Own cannot be written as NumPy, in node 'own1'"):
        forward_pass(net, params, state, [(2,)])
    graph = Graph(x.dtype)
    with pytest.raises(ConfigError, match="Own cannot be written as ONNX, in node 'own1'"):
        write_map(graph, net, params, state, [graph.input("x", (2,))], [(2,)])
