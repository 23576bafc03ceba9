"""Exhibits of the notes: differences by their step, batch normalisation's Jacobian, searches."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from pullback import config
from pullback.maps import Run
from pullback.study.exhibits import Given
from pullback.study.exhibits.differences import HalfBias, difference_steps
from pullback.study.exhibits.normalisation import batch_norm_reverse
from pullback.study.exhibits.searching import _draw, search_scales

TANH = config.parse(
    {
        "data": {"source": "moons", "n": 40},
        "network": {"hidden": [4], "activation": "tanh", "initializer": "glorot"},
    },
    "a test",
)


def test_differences_err_by_their_order_and_a_wrong_derivative_by_a_third():
    found = difference_steps(Given(0, {"net": TANH}, {})).numbers
    assert found["forward-order"] == pytest.approx(1, abs=0.1)
    assert found["central-order"] == pytest.approx(2, abs=0.1)
    # u^(2/3) and u^(1/3): where truncation and rounding are alike, for both kinds of numbers.
    assert found["best-central"] < 1e-8 < found["single-best"] < 1e-2
    assert 1e-7 < found["best-step"] < 1e-3
    # d against d/2: |d − d/2|/(|d| + |d/2|).
    assert found["broken"] == pytest.approx(1 / 3, abs=1e-6)
    assert found["sound"] < 1e-8


def test_half_a_bias_is_wrong_in_the_bias_alone():
    layer, x = HalfBias(3), np.ones((2, 4), np.float32)
    params, state = layer.init(jax.random.key(0), x)
    y, saved, _ = layer.forward(params, state, x, Run())
    grads, _ = layer.reverse(params, saved, np.ones_like(y))
    assert grads["bias"].tolist() == [1.0] * 3
    assert grads["weight"].tolist() == [[2.0] * 3] * 4


def test_the_whole_jacobian_is_the_derivative_of_batch_normalisation():
    shown = batch_norm_reverse(Given(3, {}, {}), batch=6, features=2)
    found = shown.numbers
    for name in ("whole", "gain", "shift", "inference"):
        assert found[name] < 1e-14
    assert found["only-diagonal"] > 0.1
    # The same by autodiff, of the formula alone.
    rng = np.random.default_rng(3)
    x = rng.standard_normal((6, 2)) * rng.uniform(0.5, 2, 2) + 1
    dy, gain = rng.standard_normal((6, 2)), rng.uniform(0.5, 2, 2)

    def normalised(x):
        return (x - x.mean(0, keepdims=True)) / jax.numpy.sqrt(x.var(0, keepdims=True) + 1e-5)

    with jax.enable_x64(True):
        (dx,) = jax.vjp(normalised, jax.numpy.asarray(x))[1](jax.numpy.asarray(gain * dy))
    right = shown.charts[0].panels[0].curves[0]
    np.testing.assert_allclose(right.x, np.asarray(dx).ravel(), rtol=1e-10)
    np.testing.assert_allclose(right.y, np.asarray(dx).ravel(), rtol=1e-10)


def test_searches_find_what_can_be_computed():
    shown = search_scales(Given(0, {}, {}), draws=20_000, searches=2_000)
    found = shown.numbers
    assert found["linear-top"] == pytest.approx(0.9 / 0.9999, abs=0.01)
    assert found["log-top"] == pytest.approx(1 / 4, abs=0.02)
    assert found["linear-long"] == pytest.approx(0.009 / 0.099, abs=0.01)
    assert found["log-long"] == pytest.approx(1 / 2, abs=0.02)
    assert (found["grid-values"], found["random-values"]) == (5, 25)
    # Five lines at (i + ½)/5: the distance to the nearest is uniform on [0, 1/10]; the middle row
    # of the grid has y = ½.
    assert found["grid-loss"] == pytest.approx(0.01 / 3, rel=0.1)
    assert found["random-loss"] < 0.6 * found["grid-loss"]


@pytest.mark.parametrize(
    ("scale", "ends", "middle"),
    [
        ("linear", (0.9, 0.999), 0.9495),
        ("log", (1e-4, 1.0), 1e-2),
        ("log-one-minus", (0.9, 0.999), 0.99),
    ],
)
def test_a_scale_meets_its_ends_and_its_middle(scale, ends, middle):
    at = np.sort(_draw(scale, ends[0], ends[1], np.array([0.0, 0.5, 1.0])))
    np.testing.assert_allclose(at, [ends[0], middle, ends[1]], rtol=1e-12)
