"""Losses: derivatives, weights, stability, links."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import LOSSES

from pullback.check import Differences, relative_error
from pullback.errors import ShapeError
from pullback.loss import SigmoidCrossEntropy, SoftmaxCrossEntropy, SquaredError


def sample(n=6, k=3, seed=0):
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((n, k)) * 2
    t = np.eye(k)[rng.integers(0, k, n)] if k > 1 else rng.integers(0, 2, (n, 1)).astype(float)
    return z, t, rng.uniform(0.1, 3, n)


@pytest.mark.parametrize("loss", LOSSES, ids=str)
@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("soft", [False, True])
def test_reverse_against_differences_and_autodiff(loss, k, soft):
    with jax.enable_x64(True):
        z, t, weight = map(jnp.asarray, sample(k=k))
        if soft:  # targets that do not sum to one, too
            t = 0.7 * t + 0.05
        _, saved = loss.forward(z, t, weight)
        ours = loss.reverse(saved)
        theirs = jax.grad(lambda z: loss.forward(z, t, weight)[0])(z)
        value = lambda flat: loss.forward(flat.reshape(z.shape), t, weight)[0]  # noqa: E731
        numeric = Differences(value).at(z.ravel(), range(z.size))
        assert relative_error(ours, theirs) < 1e-13
        assert relative_error(ours.ravel(), numeric, 1e-4) < 1e-9


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_weight_two_is_twice_the_example_and_weight_zero_is_none(loss):
    z, t, _ = sample(4)
    weight = np.array([2.0, 0.0, 1.0, 1.0])
    twice = [0, 0, 2, 3]
    a, _ = loss.forward(*map(jnp.asarray, (z, t, weight)))
    b, _ = loss.forward(*map(jnp.asarray, (z[twice], t[twice], np.ones(4))))
    np.testing.assert_allclose(a, b, rtol=1e-6)


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_a_batch_without_any_weight_costs_and_moves_nothing(loss):
    z, t, _ = sample(4)
    value, saved = loss.forward(jnp.asarray(z), jnp.asarray(t), jnp.zeros(4))
    assert float(value) == 0
    assert not loss.reverse(saved).any()


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_the_parts_by_output_sum_to_the_value(loss):
    z, t, weight = map(jnp.asarray, sample())
    np.testing.assert_allclose(
        loss.outputs(z, t, weight).sum(), loss.forward(z, t, weight)[0], rtol=1e-6
    )


@pytest.mark.parametrize("loss", [SoftmaxCrossEntropy(), SigmoidCrossEntropy()], ids=str)
@pytest.mark.parametrize("size", [0.0, 1.0, 100.0, 1e4, -1e4])
def test_stable_in_float32_up_to_ten_thousand(loss, size):
    z = jnp.asarray([[size, 0.0, -size]], jnp.float32)
    t = jnp.asarray([[0.0, 1.0, 0.0]], jnp.float32)
    value, saved = loss.forward(z, t, jnp.ones(1))
    dz = loss.reverse(saved)
    assert np.isfinite(value)
    assert np.isfinite(dz).all()
    with jax.enable_x64(True):
        wide = [jnp.asarray(np.asarray(a, np.float64)) for a in (z, t, np.ones(1))]
        exact, exact_saved = loss.forward(*wide)
        np.testing.assert_allclose(value, exact, rtol=1e-6)
        np.testing.assert_allclose(dz, loss.reverse(exact_saved), atol=1e-6)


def test_cross_entropies_by_hand():
    z, t = jnp.asarray([[0.0, np.log(3.0)]]), jnp.asarray([[0.0, 1.0]])
    value, saved = SoftmaxCrossEntropy().forward(z, t, jnp.ones(1))
    assert float(value) == pytest.approx(-np.log(0.75))
    np.testing.assert_allclose(SoftmaxCrossEntropy().reverse(saved), [[0.25, -0.25]], rtol=1e-6)
    value, saved = SigmoidCrossEntropy().forward(
        jnp.asarray([[np.log(3.0)]]), jnp.ones((1, 1)), jnp.ones(1)
    )
    assert float(value) == pytest.approx(-np.log(0.75))
    np.testing.assert_allclose(SigmoidCrossEntropy().reverse(saved), [[-0.25]], rtol=1e-6)


def test_links():
    z = jnp.asarray([[0.0, np.log(3.0)]])
    np.testing.assert_allclose(SoftmaxCrossEntropy().link(z), [[0.25, 0.75]], rtol=1e-6)
    np.testing.assert_allclose(SigmoidCrossEntropy().link(z), [[0.5, 0.75]], rtol=1e-6)
    np.testing.assert_array_equal(SquaredError().link(z), z)


def test_shapes_that_differ_are_refused():
    with pytest.raises(ShapeError, match=r"one shape .n, k., got .4, 3. and .4, 2."):
        SquaredError().forward(jnp.zeros((4, 3)), jnp.zeros((4, 2)), jnp.ones(4))
    with pytest.raises(ShapeError, match="weights of shape"):
        SquaredError().forward(jnp.zeros((4, 3)), jnp.zeros((4, 3)), jnp.ones(3))
