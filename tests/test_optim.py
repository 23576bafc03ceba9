"""Rules: their path against Optax, and one step by hand."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from pullback.errors import ConfigError
from pullback.optim import SGD


def path(rule, steps=10):
    """The points that a rule visits on a fixed, ill-conditioned quadratic, in float64."""
    rng = np.random.default_rng(0)
    curvature = jnp.asarray(rng.uniform(0.01, 5, (4, 3)))
    x: Any = {
        "w": jnp.asarray(rng.standard_normal((4, 3))),
        "b": jnp.asarray(rng.standard_normal(3)),
    }
    state, points = rule.init(x), []
    for _ in range(steps):
        grads = {"w": curvature * x["w"], "b": x["b"] ** 3}
        updates, state = rule.update(grads, state, x)
        x = optax.apply_updates(x, updates)
        points.append(x)
    return points


@pytest.mark.parametrize(("ours", "theirs"), [(SGD(0.3), optax.sgd(0.3))], ids=["sgd"])
def test_ten_steps_against_optax(ours, theirs):
    with jax.enable_x64(True):
        for a, b in zip(path(ours), path(theirs), strict=True):
            jax.tree.map(lambda u, v: np.testing.assert_allclose(u, v, rtol=1e-12), a, b)


def test_one_step_of_sgd_by_hand():
    updates, state = SGD(0.25).update(
        {"w": jnp.array([4.0, -2.0])}, (), {"w": jnp.array([1.0, 1.0])}
    )
    assert updates["w"].tolist() == [-1.0, 0.5]
    assert state == ()


def test_our_rule_serves_inside_optax():
    # Optax calls its rules by position, its types ask for its own names of the arguments.
    ours: Any = SGD(0.5)
    chained = optax.chain(optax.clip(1.0), optax.GradientTransformation(ours.init, ours.update))
    updates: Any
    updates, _ = chained.update({"w": jnp.array([4.0])}, chained.init({"w": jnp.array([1.0])}))
    assert updates["w"].tolist() == [-0.5]


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf")])
def test_a_learning_rate_must_be_positive(rate):
    with pytest.raises(ConfigError, match="learning_rate must be a positive number"):
        SGD(rate)
