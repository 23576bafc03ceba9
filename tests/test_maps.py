"""Every map against two oracles, and the network's own promises."""

from __future__ import annotations

import pickle
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import MAPS, SHARED
from hypothesis import given, settings
from hypothesis import strategies as st

from pullback import maps
from pullback.check import check_map
from pullback.errors import ConfigError, ShapeError
from pullback.maps import (
    Affine,
    Map,
    Net,
    Node,
    Relu,
    Run,
    Selu,
    Softmax,
    Tanh,
    chain,
    skip,
    towers,
)

DIFFERENCES, AUTODIFF = 1e-9, 1e-13


def assert_right(map: Map, x, run: Run | None = None, seed: int = 0, surrogate: Map | None = None):
    errors = check_map(map, x, run, seed=seed, surrogate=surrogate)
    assert all(error < DIFFERENCES for error in errors.differences.values()), errors
    assert all(error < AUTODIFF for error in errors.autodiff.values()), errors


@pytest.mark.parametrize("case", MAPS, ids=lambda case: case.name)
@pytest.mark.parametrize("train", [False, True])
def test_reverse_against_differences_and_autodiff(case, train):
    run = Run(jax.random.key(1), train)
    assert_right(case.map, case.input(), run, surrogate=case.surrogate)


@settings(deadline=None, max_examples=15)
@given(
    n=st.integers(1, 4), d=st.integers(1, 5), width=st.integers(1, 4), seed=st.integers(0, 2**31)
)
def test_affine_reverse_for_any_shape(n, d, width, seed):
    assert_right(Affine(width), np.random.default_rng(seed).standard_normal((n, d)), seed=seed)


@dataclass(frozen=True)
class DiagonalSoftmax(Softmax):
    """CA6's slip: only the diagonal of the Jacobian."""

    def reverse(self, params, saved, dy):
        return {}, dy * saved * (1 - saved)


@dataclass(frozen=True)
class HalfBias(Affine):
    """A bias that gets half its cotangent."""

    def reverse(self, params, saved, dy):
        dparams, dx = super().reverse(params, saved, dy)
        return dparams | {"bias": 0.5 * dparams["bias"]}, dx


@dataclass(frozen=True)
class SlightlyWrongTanh(Tanh):
    """Wrong by one part in a million."""

    def slope(self, kept):
        return (1 - kept * kept) * (1 + 1e-6)


@pytest.mark.parametrize("mutant", [DiagonalSoftmax(), HalfBias(3), SlightlyWrongTanh()], ids=str)
def test_the_oracles_reject_a_wrong_reverse(mutant):
    errors = check_map(mutant, np.random.default_rng(0).standard_normal((5, 4)))
    assert max(errors.differences.values()) > 1e-7
    assert max(errors.autodiff.values()) > 1e-7


def test_a_uniform_cotangent_would_hide_the_diagonal_softmax_from_nobody_but_us():
    # Why the oracle's cotangent is random: the full Jacobian maps a uniform cotangent to 0.
    y = Softmax().forward(
        {}, {}, jnp.asarray(np.random.default_rng(0).standard_normal((3, 4))), Run()
    )[0]
    _, dx = Softmax().reverse({}, y, jnp.ones_like(y))
    np.testing.assert_allclose(dx, 0, atol=1e-7)


@pytest.mark.parametrize(
    "case", [c for c in MAPS if not isinstance(c.map, Net)], ids=lambda case: case.name
)
@pytest.mark.parametrize("size", [1e-30, 1.0, 50.0, 1e4])
def test_values_and_slopes_are_finite_and_agree_with_float64(case, size):
    if size > case.reach:
        pytest.skip("beyond the case's stated reach")
    wide = jax.tree.map(lambda a: size * a, case.input())
    narrow = jax.tree.map(lambda a: a.astype(np.float32), wide)
    params, state = case.map.init(jax.random.key(0), jax.tree.map(jnp.asarray, narrow))
    y, saved, _ = case.map.forward(params, state, jax.tree.map(jnp.asarray, narrow), Run())
    _, dx = case.map.reverse(params, saved, jnp.ones_like(y))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((y, dx)))
    with jax.enable_x64(True):
        exact = jax.tree.map(
            lambda a: jnp.asarray(np.asarray(a, np.float64)), (params, state, narrow)
        )
        reference, _, _ = case.map.forward(*exact, Run())
    scale = max(1e-30, float(np.abs(reference).max()))
    np.testing.assert_allclose(np.asarray(y) / scale, np.asarray(reference) / scale, atol=2e-6)


def net_values(net, seed=0):
    x = np.random.default_rng(seed).standard_normal((5, 4)).astype(np.float32)
    params, state = net.init(jax.random.key(seed), x)
    return params, state, jnp.asarray(x)


def test_sweep_gives_the_cotangent_of_every_wire():
    net = chain(Affine(3), Tanh(), Affine(2))
    params, state, x = net_values(net)
    y, saved, _ = net.forward(params, state, x, Run())
    dy = jnp.ones_like(y)
    _, wires = net.sweep(params, saved, dy)
    assert set(wires) == {"x", "affine1", "tanh1", "affine2"}
    # δ by hand, as the sources write it.
    np.testing.assert_allclose(wires["tanh1"], dy @ params["affine2"]["weight"].T, rtol=1e-6)
    a = np.tanh(np.asarray(x @ params["affine1"]["weight"]))
    np.testing.assert_allclose(wires["affine1"], wires["tanh1"] * (1 - a**2), rtol=1e-4, atol=1e-6)


def test_shared_owners_have_one_set_of_parameters_and_their_gradients_add():
    params, state, x = net_values(SHARED)
    assert set(params) == {"same", "b", "d"}
    y, saved, _ = SHARED.forward(params, state, x, Run())
    ours, _ = SHARED.reverse(params, saved, jnp.ones_like(y))
    theirs = jax.grad(lambda p: SHARED.forward(p, state, x, Run())[0].sum())(params)
    np.testing.assert_allclose(ours["same"]["weight"], theirs["same"]["weight"], rtol=1e-5)


def test_adding_a_layer_moves_no_other_layers_draws():
    small, large = chain(Affine(3), Tanh()), chain(Affine(3), Tanh(), Affine(2))
    a, b = net_values(small)[0], net_values(large)[0]
    np.testing.assert_array_equal(a["affine1"]["weight"], b["affine1"]["weight"])


def test_towers_draw_their_parameters_once_and_parts_see_their_own_half():
    net = towers(Affine(2, bias=False), maps.Subtract())
    params, state, x = net_values(net)
    y, _, _ = net.forward(params, state, x, Run())
    w = params["tower/affine1"]["weight"]
    np.testing.assert_allclose(y, x[:, :2] @ w - x[:, 2:] @ w, rtol=1e-5)


def test_nets_are_values():
    net = chain(Affine(3), skip(Affine(3), Selu()))
    assert net == chain(Affine(3), skip(Affine(3), Selu()))
    assert hash(net) == hash(pickle.loads(pickle.dumps(net)))
    assert net != chain(Affine(3), skip(Affine(4), Selu()))


def test_saved_crosses_from_one_jit_to_another():
    net = chain(skip(Affine(4), Tanh()), towers(Affine(2), maps.Add()))
    params, state, x = net_values(net)
    forward = jax.jit(lambda p, v: net.forward(p, state, v, Run())[:2])
    y, saved = forward(params, x)
    dparams, _ = jax.jit(net.reverse)(params, saved, jnp.ones_like(y))
    theirs = jax.grad(lambda p: net.forward(p, state, x, Run())[0].sum())(params)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6), dparams, theirs
    )


@pytest.mark.parametrize(
    ("nodes", "sentence"),
    [
        ((), "at least one node"),
        ((Node("a", Relu(), "x", "a"), Node("a", Relu(), "a", "a")), "'a' is taken, in node 'a'"),
        ((Node("x", Relu(), "x", "x"),), "'x' is taken"),
        ((Node("a", Relu(), "y", "a"),), "no earlier node makes the wire 'y', in node 'a'"),
        (
            (Node("alpha", Relu(), "x", "a"), Node("b", Relu(), "alhpa", "b")),
            "did you mean 'alpha'",
        ),
        ((Node("a", Relu(), "x", "a"), Node("b", Relu(), "x", "b")), "nothing reads the wire 'a'"),
        (
            (Node("a", Affine(2), "x", "o"), Node("b", Affine(3), "a", "o")),
            "owner 'o' has two maps",
        ),
        (
            # A name is no map: the wrong type is the point.
            (Node("a", "relu", "x", "a"),),  # pyright: ignore[reportArgumentType]
            "must be a Map, got 'relu', in node 'a'",
        ),
        ((Node("a", Relu(), (), "a"),), "must read at least one wire"),
    ],
)
def test_a_net_is_checked_when_it_is_made(nodes, sentence):
    with pytest.raises(ConfigError, match=sentence):
        Net(nodes)


@pytest.mark.parametrize(
    ("net", "shape", "sentence"),
    [
        (
            chain(Relu(), Affine(2)),
            (5, 4, 4),
            "Affine wants x of shape .n, d., got .5, 4, 4., in node 'affine1'",
        ),
        (
            chain(Affine(2), skip(Affine(3))),
            (5, 4),
            "inputs of one shape, got .5, 2. and .5, 3., in node 'skip1/add1'",
        ),
        (
            towers(Affine(2), maps.Add()),
            (5, 3),
            "last axis that 2 divides, got shape .5, 3., in node 'part1'",
        ),
        (
            Net((Node("a", Affine(3), "x", "o"), Node("b", Affine(3), "a", "o"))),
            (5, 4),
            "in node 'b'",
        ),
        (
            chain(Affine(3), maps.Subtract()),
            (5, 4),
            "at least two wires, got one, in node 'subtract1'",
        ),
    ],
)
def test_shape_errors_name_the_node(net, shape, sentence):
    with pytest.raises(ShapeError, match=sentence):
        net.init(jax.random.key(0), jnp.zeros(shape))


@pytest.mark.parametrize(
    "make",
    [
        lambda: Affine(0),
        lambda: maps.Part(2, 2),
        lambda: towers(Affine(2), maps.Add(), 1),
    ],
)
def test_constructors_refuse_what_makes_no_sense(make):
    with pytest.raises(ConfigError):
        make()
