"""The identities of IFT6390 homework 3, theoretical part 1, and the XOR network set by hand."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pullback.loss import SquaredError
from pullback.maps import (
    Affine,
    BinaryStep,
    HardTanh,
    LogSoftmax,
    Relu,
    Run,
    Sigmoid,
    Softmax,
    Softplus,
    Tanh,
    chain,
)
from pullback.penalty import L1, L2

X = np.concatenate([np.linspace(-30, 30, 601), [-700.0, 700.0]])


def value(map, x=X):
    with jax.enable_x64(True):
        return np.asarray(map.forward({}, {}, jnp.asarray(x, jnp.float64), Run())[0])


def slope(map, x=X):
    with jax.enable_x64(True):
        _, saved, _ = map.forward({}, {}, jnp.asarray(x, jnp.float64), Run())
        return np.asarray(map.reverse({}, saved, jnp.ones_like(jnp.asarray(x)))[1])


def close(a, b):
    np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-15)


def test_sigmoid_by_tanh():  # 1.1
    close(value(Sigmoid()), (value(Tanh(), X / 2) + 1) / 2)


def test_log_sigmoid_is_minus_softplus_of_minus_x_and_not_minus_softmax():  # 1.2
    inside = X > -700  # there the sigmoid itself is near the least number of float64
    close(np.log(value(Sigmoid())[inside]), -value(Softplus(), -X)[inside])
    of_two_classes = np.stack([X, np.zeros_like(X)], axis=1)
    close(value(LogSoftmax(), of_two_classes)[:, 0], -value(Softplus(), -X))
    assert value(Softmax(), -X[:, None]).tolist() == [[1.0]] * len(X)  # what the homework writes


def test_derivative_of_sigmoid():  # 1.3
    s = value(Sigmoid())
    close(slope(Sigmoid()), s * (1 - s))
    e = np.exp(-np.abs(X))  # the derivative is even
    np.testing.assert_allclose(slope(Sigmoid()), e / (1 + e) ** 2, rtol=1e-9, atol=1e-15)


def test_derivative_of_tanh():  # 1.4
    close(slope(Tanh()), 1 - value(Tanh()) ** 2)
    near = np.abs(X) < 10
    np.testing.assert_allclose(slope(Tanh())[near], np.cosh(X[near]) ** -2.0, rtol=1e-6, atol=1e-14)


def test_derivative_of_softplus_is_the_sigmoid():
    close(slope(Softplus()), value(Sigmoid()))


def above(x):
    """The indicator of x > 0, by our step, which is 1 at 0."""
    return 1 - value(BinaryStep(), -x)


def test_sign_is_the_difference_of_two_indicators():  # 1.5
    signs = above(X) - above(-X)
    np.testing.assert_array_equal(signs, np.sign(X))
    assert signs[X == 0] == [0]


def test_derivative_of_the_absolute_value_is_the_sign_and_0_at_0():  # 1.6
    np.testing.assert_array_equal(value(Relu()) + value(Relu(), -X), np.abs(X))
    np.testing.assert_array_equal(slope(Relu()) - slope(Relu(), -X), above(X) - above(-X))


def test_derivative_of_the_rectifier_is_the_indicator_of_x_above_0():  # 1.7
    np.testing.assert_array_equal(slope(Relu()), above(X))


def test_derivative_of_hard_tanh_is_an_indicator_too():
    np.testing.assert_array_equal(slope(HardTanh()), above(X + 1) - above(X - 1) - (X == 1))


def test_gradients_of_the_squared_two_norm_and_of_the_one_norm_are_vectors():  # 1.8, 1.9
    # The homework writes both as sums over i, which are numbers.
    x = jnp.asarray([[-2.0], [0.0], [3.0]])
    np.testing.assert_array_equal(L2(2.0).reverse({"weight": x})["weight"], 2 * x)
    np.testing.assert_array_equal(L1(1.0).reverse({"weight": x})["weight"], [[-1], [0], [1]])


# XOR: "Training Deep Nets", the section on gradient based learning.
CORNERS = jnp.asarray([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
TARGETS = jnp.asarray([[0.0], [1.0], [1.0], [0.0]])
HAND_SET = {
    "affine1": {"weight": jnp.ones((2, 2)), "bias": jnp.asarray([0.0, -1.0])},
    "affine2": {"weight": jnp.asarray([[1.0], [-2.0]]), "bias": jnp.zeros(1)},
}


def outputs(net, params):
    """What a network gives at the corners, and the gradient of the squared error there."""
    drawn, state = net.init(jax.random.key(0), CORNERS)
    params = drawn | params
    y, saved, _ = net.forward(params, state, CORNERS, Run())
    _, at_loss = SquaredError().forward(y, TARGETS, jnp.ones(4))
    return y, net.reverse(params, saved, SquaredError().reverse(at_loss))[0]


def test_the_network_set_by_hand_computes_xor_exactly_and_stays_there():
    y, grads = outputs(chain(Affine(2), Relu(), Affine(1)), HAND_SET)
    np.testing.assert_array_equal(y, TARGETS)
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(grads))


def test_steps_compute_xor_too():
    # One unit says x₁ + x₂ ≥ ½, the other x₁ + x₂ ≥ 3/2; their difference is XOR.
    net = chain(Affine(2), BinaryStep(), Affine(1))
    params, state = net.init(jax.random.key(0), CORNERS)
    params["affine1"] = HAND_SET["affine1"] | {"bias": jnp.asarray([-0.5, -1.5])}
    params["affine2"] = HAND_SET["affine2"] | {"weight": jnp.asarray([[1.0], [-1.0]])}
    np.testing.assert_array_equal(net.forward(params, state, CORNERS, Run())[0], TARGETS)


@pytest.mark.parametrize("weight", [1.0, 2.0])
def test_no_linear_network_can_the_best_says_one_half_everywhere(weight):
    # The minimum of a convex function is where its gradient is 0: at weight 0, and nowhere else.
    def gradient(w):
        return outputs(
            chain(Affine(1)),
            {"affine1": {"weight": jnp.full((2, 1), w), "bias": jnp.full(1, 0.5 - w)}},
        )

    y, grads = gradient(0.0)
    np.testing.assert_array_equal(y, 0.5)
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(grads))
    assert any((leaf != 0).any() for leaf in jax.tree.leaves(gradient(weight)[1]))
