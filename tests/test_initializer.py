"""Initialisers: the variance that each promises, and what it refuses."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pullback.errors import ConfigError
from pullback.initializer import FanInUniform, Glorot, He, LeCun, Normal

FAN_IN, FAN_OUT = 400, 100


@pytest.mark.parametrize(
    ("draw", "variance"),
    [
        (FanInUniform(), 1 / (3 * FAN_IN)),
        (Glorot(), 2 / (FAN_IN + FAN_OUT)),
        (He(), 2 / FAN_IN),
        (LeCun(), 1 / FAN_IN),
        (Normal(0.02), 0.02**2),
    ],
    ids=str,
)
def test_mean_and_variance(draw, variance):
    w = np.asarray(
        draw(jax.random.key(0), (FAN_IN, FAN_OUT), FAN_IN, FAN_OUT, jnp.float32), np.float64
    )
    assert w.var() == pytest.approx(variance, rel=0.03)
    assert abs(w.mean()) < 4 * np.sqrt(variance / w.size)
    if isinstance(draw, FanInUniform | Glorot):
        assert np.abs(w).max() <= np.sqrt(3 * variance) * (1 + 1e-6)
    else:  # a normal distribution has 0.27 % beyond three deviations, a uniform one none
        assert (np.abs(w) > 3 * np.sqrt(variance)).mean() == pytest.approx(0.0027, abs=0.001)


def test_normal_refuses_a_scale_that_is_not_positive():
    with pytest.raises(ConfigError, match="positive"):
        Normal(0.0)
