"""Concatenation, low rank, other layouts, and the trade of time for memory."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pullback import config, tree
from pullback.check import check_map
from pullback.errors import ConfigError, ShapeError
from pullback.maps import (
    Affine,
    BatchNorm,
    Concatenate,
    Dropout,
    Flatten,
    LowRankAffine,
    Map,
    Net,
    Node,
    Recompute,
    Relu,
    Reshape,
    Run,
    Tanh,
    chain,
    skip,
    towers,
)

TRAIN = Run(jax.random.key(3), True)


def normal(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


def gradients(map: Map, params, state, x, run=TRAIN):
    """Output, new state, and the reverse from a cotangent that is not uniform."""
    y, saved, after = map.forward(params, state, x, run)
    return y, after, map.reverse(params, saved, normal(*y.shape, seed=7))


def assert_equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


# --- joins and layouts -----------------------------------------------------------------------


def test_concatenate_gives_each_wire_its_piece():
    x = (normal(2, 3), normal(2, 1), normal(2, 2))
    y, saved, _ = Concatenate().forward({}, {}, x, Run())
    assert y.shape == (2, 6)
    assert_equal(Concatenate().reverse({}, saved, y)[1], x)
    assert tree.nbytes(saved) == 0


@dataclass(frozen=True)
class Swapped(Concatenate):
    def reverse(self, params, saved, dy):
        _, (first, second) = super().reverse(params, saved, dy)
        return {}, (second, first)


def test_the_oracles_reject_swapped_pieces():
    errors = check_map(Swapped(), (normal(3, 2), normal(3, 2)))
    assert errors.differences["x"] > 0.1
    assert errors.autodiff["x"] > 0.1


def test_wires_of_different_widths_concatenate_in_a_network():
    # DenseNet's step: the input, and what a layer makes of it, side by side.
    net = Net(
        (
            Node("new", Affine(3), "x", "new"),
            Node("both", Concatenate(), ("x", "new"), "both"),
            Node("out", Affine(2), "both", "out"),
        )
    )
    assert net.shapes(normal(5, 4))["both"].shape == (5, 7)
    errors = check_map(net, normal(5, 4))
    assert max(errors.differences.values()) < 1e-9


@pytest.mark.parametrize(
    ("shapes", "sentence"),
    [
        (((5, 4),), "at least two wires, got one"),
        (((5, 4), (4, 4)), r"differ in the last axis only, got \(5, 4\) and \(4, 4\)"),
        (((5, 4), (5, 4, 1)), "differ in the last axis only"),
        (((5,), (5,)), "differ in the last axis only"),
    ],
)
def test_concatenate_refuses_what_does_not_fit(shapes, sentence):
    wires = [jnp.zeros(shape) for shape in shapes]
    with pytest.raises(ShapeError, match=sentence):
        Concatenate().init(None, tuple(wires) if len(wires) > 1 else wires[0])


def test_reshape_and_flatten_undo_each_other():
    x = normal(3, 24)
    net = chain(Reshape((2, 3, 4)), Flatten())
    params, state = net.init(jax.random.key(0), x)
    y, saved, _ = net.forward(params, state, x, Run())
    assert_equal((y, net.reverse(params, saved, y)[1]), (x, x))
    assert tree.nbytes(saved) == 0


# --- low rank --------------------------------------------------------------------------------


def test_a_low_rank_map_is_two_affine_maps():
    map, x = LowRankAffine(5, rank=2), normal(6, 4)
    params, _ = map.init(jax.random.key(0), x)
    params = params | {"bias": normal(5, seed=1)}
    two = chain(Affine(2, bias=False), Affine(5))
    same = {
        "affine1": {"weight": params["left"]},
        "affine2": {"weight": params["right"], "bias": params["bias"]},
    }
    y, _, (dparams, dx) = gradients(map, params, {}, x)
    z, _, (dsame, dz) = gradients(two, same, {"affine1": {}, "affine2": {}}, x)
    assert_equal((y, dx), (z, dz))
    assert_equal(dparams["left"], dsame["affine1"]["weight"])
    assert_equal(dparams["right"], dsame["affine2"]["weight"])
    assert_equal(dparams["bias"], dsame["affine2"]["bias"])


def test_a_low_rank_map_has_that_rank_and_fewer_weights():
    map = LowRankAffine(40, rank=3, bias=False)
    params, _ = map.init(jax.random.key(0), normal(1, 50))
    assert tree.count(params) == 3 * (50 + 40)
    assert np.linalg.matrix_rank(params["left"] @ params["right"]) == 3


def test_a_low_rank_map_keeps_variance_and_draws_its_factors_apart():
    x = normal(2000, 100)
    params, _ = LowRankAffine(100, rank=100).init(jax.random.key(0), x)
    y, _, _ = LowRankAffine(100, rank=100).forward(params, {}, x, Run())
    assert float(jnp.var(y)) == pytest.approx(1, abs=0.15)
    assert not np.array_equal(params["left"], params["right"])


@pytest.mark.parametrize("make", [lambda: LowRankAffine(0, 1), lambda: LowRankAffine(3, 0)])
def test_low_rank_refuses_what_makes_no_sense(make):
    with pytest.raises(ConfigError, match="must be at least 1, got 0"):
        make()


@pytest.mark.parametrize(
    ("shape", "sentence"),
    [
        ((5, 2), r"rank 3, more than its weight \(2, 4\) can have"),
        ((5, 4, 4), r"LowRankAffine wants x of shape \(n, d\), got \(5, 4, 4\)"),
    ],
)
def test_low_rank_refuses_what_does_not_fit(shape, sentence):
    with pytest.raises(ShapeError, match=sentence):
        LowRankAffine(4, rank=3).init(jax.random.key(0), jnp.zeros(shape))


# --- recompute -------------------------------------------------------------------------------

BLOCK = chain(Affine(8), BatchNorm(), Tanh(), Dropout(0.5), skip(Affine(8), Relu()), Affine(8))


def test_recompute_gives_the_same_numbers_and_state():
    x, map = normal(6, 8), Recompute(BLOCK)
    params, state = map.init(jax.random.key(0), x)
    assert_equal((params, state), BLOCK.init(jax.random.key(0), x))
    assert_equal(gradients(map, params, state, x), gradients(BLOCK, params, state, x))
    assert_equal(gradients(map, params, state, x, Run()), gradients(BLOCK, params, state, x, Run()))


def test_recompute_draws_the_same_mask():
    x = jnp.ones((4, 50))
    y, _, (_, dx) = gradients(Recompute(Dropout(0.5)), {}, {}, x)
    np.testing.assert_array_equal(y == 0, dx == 0)
    assert 0.2 < float((y == 0).mean()) < 0.8


@dataclass(frozen=True)
class Forgetful(Recompute):
    """A recomputation with another key."""

    def forward(self, params, state, x, run):
        y, (x, state, run), after = super().forward(params, state, x, run)
        return y, (x, state, Run(jax.random.fold_in(run.key, 1), run.train)), after


def test_the_oracles_reject_another_mask():
    errors = check_map(Forgetful(Dropout(0.5)), normal(5, 4), TRAIN)
    assert errors.differences["x"] > 0.1
    assert errors.autodiff["x"] > 0.1


def test_recompute_nests_and_takes_several_wires():
    inner = Recompute(chain(Affine(4), Tanh()))
    net = chain(
        Recompute(chain(inner, Affine(4), inner)), towers(Affine(2), Recompute(Concatenate()))
    )
    errors = check_map(net, normal(5, 4), TRAIN)
    assert max(errors.differences.values()) < 1e-9
    assert max(errors.autodiff.values()) < 1e-12


def test_saved_crosses_from_one_jit_to_another_with_its_key():
    map, x = Recompute(BLOCK), normal(6, 8)
    params, state = map.init(jax.random.key(0), x)
    y, saved, _ = jax.jit(map.forward)(params, state, x, TRAIN)
    dparams, _ = jax.jit(map.reverse)(params, saved, jnp.ones_like(y))
    _, kept, _ = BLOCK.forward(params, state, x, TRAIN)
    expected, _ = BLOCK.reverse(params, kept, jnp.ones_like(y))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), dparams, expected
    )


def deep(recompute: bool, blocks: int = 6, layers: int = 5, width: int = 16) -> Net:
    block = chain(*(part for _ in range(layers) for part in (Affine(width), Tanh())))
    return chain(*(Recompute(block) if recompute else block for _ in range(blocks)))


def test_saved_memory_falls():
    x = normal(100, 16)

    def kept(net):
        params, state = net.init(jax.random.key(0), x)
        _, saved, _ = jax.eval_shape(net.forward, params, state, x, TRAIN)
        return tree.nbytes(saved)

    one, key = x.size * 4, 8
    # Each of 30 layers keeps what goes into it and what comes out of its tanh.
    assert kept(deep(False)) == 30 * 2 * one
    assert kept(deep(True)) == 6 * (one + key)


def test_memory_of_the_compiled_gradient_falls():
    # XLA would compute equal sums once and keep them all: the reverse pass must not let it.
    x = normal(1000, 16)

    def temporary(net):
        params, state = net.init(jax.random.key(0), x)

        def gradient(params, x):
            y, saved, _ = net.forward(params, state, x, Run())
            return net.reverse(params, saved, y)

        analysis = jax.jit(gradient).lower(params, x).compile().memory_analysis()
        return getattr(analysis, "temp_size_in_bytes", 0) / tree.nbytes(x)

    without, with_it = temporary(deep(False)), temporary(deep(True))
    if not without:
        pytest.skip("this compiler does not tell what memory it takes")
    # 30 outputs of tanh; against 6 inputs, and the 5 outputs of the block at hand.
    assert without >= 30
    assert with_it < 0.6 * without


def test_recompute_says_what_is_inside_and_whether_it_is_an_estimate():
    assert str(Recompute(chain(Affine(2), Tanh()))) == "Recompute(affine1, tanh1)"
    assert str(Recompute(Tanh())) == "Recompute(Tanh())"
    assert not Recompute(Tanh()).estimated


# --- in the experiment file ------------------------------------------------------------------


def test_structure_in_the_experiment_file():
    layers = [
        {
            "name": "recompute",
            "layers": [{"name": "low-rank-affine", "width": 6, "rank": 2}, "tanh"],
        },
        {"name": "towers", "layers": [{"name": "affine", "width": 2}], "join": "concatenate"},
    ]
    e = config.parse({"network": {"layers": layers}}, "test")
    assert e.network.build(4) == chain(
        Recompute(chain(LowRankAffine(6, 2), Tanh())), towers(Affine(2), Concatenate())
    )
    assert config.parse(tomllib.loads(e.toml()), "test") == e
