"""Initialisers: the distribution that each promises, and what it refuses."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from cases import INITIALIZERS

from pullback.errors import ConfigError
from pullback.initializer import (
    Constant,
    FanInUniform,
    Glorot,
    He,
    LeCun,
    Normal,
    Orthogonal,
    Sparse,
    Uniform,
    Zeros,
)

FAN_IN, FAN_OUT = 400, 100


def drawn(initializer, shape=(FAN_IN, FAN_OUT), dtype=jnp.float32, seed=0):
    fan_in = math.prod(shape[:-1])
    return initializer(jax.random.key(seed), shape, fan_in, shape[-1], dtype)


DISTRIBUTIONS = [
    (Normal(0.02), 0.02**2, "normal"),
    (Uniform(0.3), 0.3**2 / 3, "uniform"),
    (FanInUniform(), 1 / (3 * FAN_IN), "uniform"),
    (Glorot(), 2 / (FAN_IN + FAN_OUT), "uniform"),
    (Glorot("normal"), 2 / (FAN_IN + FAN_OUT), "normal"),
    (He(), 2 / FAN_IN, "normal"),
    (He("uniform"), 2 / FAN_IN, "uniform"),
    (LeCun(), 1 / FAN_IN, "normal"),
    (LeCun("uniform"), 1 / FAN_IN, "uniform"),
]


@pytest.mark.parametrize(("initializer", "variance", "distribution"), DISTRIBUTIONS, ids=str)
def test_mean_variance_and_tail(initializer, variance, distribution):
    w = np.asarray(drawn(initializer), np.float64)
    assert w.var() == pytest.approx(variance, rel=0.03)
    assert abs(w.mean()) < 4 * np.sqrt(variance / w.size)
    bound = np.sqrt(3 * variance)
    if distribution == "uniform":
        assert bound * 0.999 < np.abs(w).max() <= bound * (1 + 1e-6)
    else:  # a normal distribution has 8.3 % beyond √3 deviations
        assert (np.abs(w) > bound).mean() == pytest.approx(0.083, abs=0.006)


@pytest.mark.parametrize("initializer", INITIALIZERS, ids=str)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_shape_dtype_and_the_same_bits_for_the_same_key(initializer, dtype):
    with jax.enable_x64(dtype == jnp.float64):
        w, again, other = (drawn(initializer, (3, 3, 2, 5), dtype, seed) for seed in (0, 0, 1))
        assert w.shape == (3, 3, 2, 5)
        assert w.dtype == dtype
        assert np.asarray(w).tobytes() == np.asarray(again).tobytes()
        fixed = isinstance(initializer, Zeros | Constant)
        assert (np.asarray(w).tobytes() == np.asarray(other).tobytes()) is fixed


def test_zeros_and_constant():
    assert not np.any(drawn(Zeros()))
    assert np.all(np.asarray(drawn(Constant(-0.25))) == -0.25)


@pytest.mark.parametrize(
    "shape", [(6, 6), (20, 7), (7, 20), (3, 3, 2, 5), (2, 2, 2, 30), (1, 4)], ids=str
)
def test_an_orthogonal_weight_has_orthonormal_columns_or_rows(shape):
    with jax.enable_x64(True):
        w = np.asarray(drawn(Orthogonal(1.5), shape, jnp.float64)).reshape(-1, shape[-1]) / 1.5
    gram = w.T @ w if w.shape[0] >= w.shape[1] else w @ w.T
    np.testing.assert_allclose(gram, np.eye(len(gram)), atol=1e-13)


def test_orthogonal_draws_are_uniform_over_rotations_and_reflections():
    # A Haar matrix of size d has E Q = 0 and E tr(Q)² = 1. The Q of a QR whose signs are left as
    # LAPACK sets them has a first entry that is never positive.
    def draw(key):
        return Orthogonal()(key, (4, 4), 4, 4, jnp.float32)

    q = np.asarray(jax.vmap(draw)(jax.random.split(jax.random.key(0), 4000)), np.float64)
    np.testing.assert_allclose(q.mean(axis=0), 0, atol=5 * 0.5 / np.sqrt(4000))
    np.testing.assert_allclose((q**2).mean(axis=0), 0.25, atol=0.02)
    assert (np.trace(q, axis1=1, axis2=2) ** 2).mean() == pytest.approx(1, abs=0.12)
    assert (np.linalg.det(q) > 0).mean() == pytest.approx(0.5, abs=0.04)


def test_sparse_units_have_so_many_connections_and_no_input_is_favoured():
    w = np.asarray(drawn(Sparse(15, 0.5), (400, 3000)), np.float64)
    assert ((w != 0).sum(axis=0) == 15).all()
    assert w[w != 0].std() == pytest.approx(0.5, rel=0.02)
    feeds = (w != 0).sum(axis=1)  # binomial: 3000 units, each with a chance of 15/400
    assert feeds.mean() == pytest.approx(112.5)
    assert feeds.var() == pytest.approx(3000 * 0.0375 * 0.9625, rel=0.3)
    few = np.asarray(drawn(Sparse(15), (4, 50)))
    assert (few != 0).all()
    image = np.asarray(drawn(Sparse(5), (3, 3, 2, 4)))
    assert ((image != 0).reshape(18, 4).sum(axis=0) == 5).all()


@pytest.mark.parametrize("scale", [0.0, -1.0, math.inf, math.nan])
@pytest.mark.parametrize("kind", [Normal, Uniform, Orthogonal])
def test_a_scale_that_is_not_positive_is_refused(kind, scale):
    with pytest.raises(ConfigError, match=f"{kind.__name__}'s .* must be a positive number, got"):
        kind(scale)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Sparse(0), "connections must be at least 1, got 0"),
        (lambda: Sparse(3, -1.0), "Sparse's scale must be a positive number, got -1.0"),
        (lambda: Constant(math.nan), "value must be a finite number, got nan"),
    ],
)
def test_what_is_refused_is_said(make, sentence):
    with pytest.raises(ConfigError, match=sentence):
        make()


@pytest.mark.parametrize("kind", [Glorot, He, LeCun])
def test_an_unknown_distribution_is_refused(kind, monkeypatch):
    monkeypatch.setattr(
        jaxtyping.config, "jaxtyping_disable", True
    )  # the tests' own check is first
    with pytest.raises(ConfigError, match=f"{kind.__name__}'s distribution must be 'normal' or"):
        kind("cauchy")
