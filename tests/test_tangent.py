"""Differences along a network, node by node: right beside kinks, and no kinder to what is wrong."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pullback.check import Differences, check_gradients, relative_error
from pullback.loss import SoftmaxCrossEntropy
from pullback.maps import (
    Affine,
    Conv,
    Dropout,
    Flatten,
    MaxPool,
    Recompute,
    Relu,
    Reshape,
    Run,
    Subtract,
    Tanh,
    chain,
    skip,
    towers,
)
from pullback.penalty import Sum
from pullback.tangent import Pushed, difference, push, pushing

LOSS = SoftmaxCrossEntropy()
NETS = [
    chain(Affine(3), Tanh(), Affine(2)),
    chain(skip(Affine(6), Relu()), Recompute(chain(Affine(4), Dropout(0.5))), Affine(2)),
    towers(chain(Affine(2), Tanh()), Subtract()),
]


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


def normal(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape))


@pytest.mark.parametrize("net", NETS, ids=range(len(NETS)))
def test_a_pushed_direction_is_that_of_autodiff(net):
    x, run = normal(5, 6), Run(jax.random.key(1), True)
    params, state = net.init(jax.random.key(0), x)
    along = jax.tree.map(lambda w: normal(*w.shape, seed=w.size), params)
    pushed = jax.jit(lambda at, v: pushing(net).forward(at, state, v, run)[0])(
        jax.tree.map(Pushed, params, along), Pushed(x, normal(5, 6, seed=1))
    )
    value, tangent = jax.jvp(
        lambda p, v: net.forward(p, state, v, run)[0], (params, x), (along, normal(5, 6, seed=1))
    )
    np.testing.assert_allclose(pushed.value, value, rtol=1e-14)
    np.testing.assert_allclose(pushed.tangent, tangent, rtol=1e-8, atol=1e-10)


def test_each_entry_has_a_step_of_its_own():
    # Each within 1e-8 to 1 of its kink: no one step is small enough for all, and large enough.
    gaps = jnp.asarray(np.logspace(-8, 0, 33))
    x = jnp.concatenate([gaps, -gaps])
    pushed = push(lambda v: jnp.maximum(v, 0), Pushed(x, jnp.ones_like(x)))
    np.testing.assert_allclose(pushed.tangent, x > 0, atol=1e-7)
    together = Differences(lambda v: jnp.sum(jnp.maximum(gaps + v[0], 0))).at(jnp.zeros(1), [0])
    assert abs(together[0] - 33) > 0.1


def test_a_tangent_of_any_length_is_pushed_as_exactly():
    for size in (1e-12, 1.0, 1e12):
        pushed = push(jnp.sin, Pushed(jnp.array(0.3), jnp.array(size)))
        assert float(pushed.tangent) == pytest.approx(size * np.cos(0.3), rel=1e-10)
    assert float(push(jnp.sin, Pushed(jnp.array(0.3), jnp.array(0.0))).tangent) == 0


def test_nan_is_not_passed_over():
    assert np.isnan(difference(lambda h: jnp.log(h - 1)))


@dataclass(frozen=True)
class Wrong(Conv):
    """A bias gradient that is off by a part in a million."""

    def reverse(self, params, saved, dy):
        dparams, dx = super().reverse(params, saved, dy)
        return dparams | {"bias": dparams["bias"] * (1 + 1e-6)}, dx


def convolutional(conv=Conv):
    return chain(Reshape((8, 8, 1)), conv(4), Relu(), MaxPool(), Flatten(), Affine(3))


@pytest.fixture
def pictures():
    """Pictures with an even background, where ReLUs lie as near to their kink as biases to zero."""
    x = np.zeros((6, 8, 8))
    x[:, 3:6, 3:6] = np.random.default_rng(0).random((6, 3, 3))
    batch = (x.reshape(6, 64), np.eye(3)[np.arange(6) % 3], np.ones(6))
    params, state = convolutional().init(jax.random.key(0), batch[0])
    params["conv1"]["bias"] = jnp.array([1e-7, -1e-7, 2e-7, -2e-7])
    return params, state, batch


def test_kinks_of_a_convolution_do_not_spoil_its_check(pictures):
    report = check_gradients(convolutional(), LOSS, Sum(), *pictures, entries=6, directions=1)
    assert report.ok, str(report)
    assert report.worst < 1e-8


def test_kinks_do_not_excuse_a_wrong_derivative(pictures):
    params, state, batch = pictures
    renamed, there = (
        {name.replace("conv", "wrong"): value for name, value in each.items()}
        for each in (params, state)
    )
    net = convolutional(Wrong)
    report = check_gradients(net, LOSS, Sum(), renamed, there, batch, entries=6, directions=1)
    bad = {b.name for b in (*report.blocks, *report.along) if b.error >= report.threshold}
    assert bad == {"wrong1/bias"}


def test_the_difference_of_the_whole_loss_would_not_do(pictures):
    # The reason for differences by nodes: else they could go.
    params, state, (x, y, weight) = pictures

    def value(bias):
        moved = params | {"conv1": params["conv1"] | {"bias": bias}}
        z, _, _ = convolutional().forward(moved, state, jnp.asarray(x), Run())
        return LOSS.forward(z, jnp.asarray(y), jnp.asarray(weight))[0]

    bias = params["conv1"]["bias"]
    assert relative_error(jax.grad(value)(bias), Differences(value).at(bias, range(4))) > 0.01
