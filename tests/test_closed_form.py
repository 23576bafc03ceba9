"""Closed forms: against the normal equations, scikit-learn, and our own gradient descent."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.svm import SVC

from pullback.closed_form import linear_svm, ridge
from pullback.errors import ConfigError, DataError, ShapeError
from pullback.loss import Hinge, SquaredError
from pullback.maps import Affine, Run, chain
from pullback.optim import SGD
from pullback.penalty import L2
from pullback.train import Batch, Learner, Task, step


def table(n=40, d=3, k=2, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, d)) + 2
    t = x @ rng.standard_normal((d, k)) + 1 + 0.3 * rng.standard_normal((n, k))
    return x, t, rng.uniform(0, 2, n)


def test_ridge_against_scikit_learn():
    x, t, weight = table()
    found = ridge(x, t, 0.3, weight)
    theirs = Ridge(alpha=0.3 * weight.sum(), solver="cholesky").fit(x, t, weight)
    np.testing.assert_allclose(found["weight"], theirs.coef_.T, rtol=1e-10)
    np.testing.assert_allclose(found["bias"], theirs.intercept_, rtol=1e-10)


def test_gradient_descent_on_our_loss_and_penalty_reaches_ridge():
    x, t, weight = table()
    with jax.enable_x64(True):
        task = Task(chain(Affine(2)), SquaredError(), SGD(0.1), L2(0.3), classifies=False)
        batch = Batch(*map(jnp.asarray, (x, t, weight)))
        params, state = task.net.init(jax.random.key(0), batch.x)

        @jax.jit
        def descend(learner):
            def take(_, learner):
                return step(task, learner, batch, Run())[0]

            return jax.lax.fori_loop(0, 3000, take, learner)

        reached = descend(Learner(params, state, task.rule.init(params))).params["affine1"]
        found = ridge(x, t, 0.3, weight)
        for name in ("weight", "bias"):
            np.testing.assert_allclose(reached[name], found[name], rtol=1e-7)


def test_ridge_of_the_sheets():
    """(XᵀX + λI)⁻¹ Xᵀy sums over the examples: its λ is n · strength. Without a mean, no bias."""
    x, t, _ = table()
    x, t = x - x.mean(axis=0), t - t.mean(axis=0)
    sheets = np.linalg.solve(x.T @ x + 12 * np.eye(3), x.T @ t)
    found = ridge(x, t, 12 / 40)
    np.testing.assert_allclose(found["weight"], sheets, rtol=1e-10)
    np.testing.assert_allclose(found["bias"], 0, atol=1e-12)


def test_the_bias_is_not_penalised():
    x, t, _ = table()
    far = ridge(x, t + 1000, 5.0)
    np.testing.assert_allclose(far["weight"], ridge(x, t, 5.0)["weight"], rtol=1e-9)
    np.testing.assert_allclose(far["bias"], ridge(x, t, 5.0)["bias"] + 1000, rtol=1e-9)


def test_without_a_strength_the_solution_of_least_norm_is_found():
    x, t, _ = table(n=4, d=9)
    found = ridge(x, t, 0.0)
    centred = x - x.mean(axis=0)
    np.testing.assert_allclose(
        found["weight"], np.linalg.pinv(centred) @ (t - t.mean(axis=0)), rtol=1e-8
    )
    np.testing.assert_allclose(x @ found["weight"] + found["bias"], t, rtol=1e-8)


def test_nearly_equal_columns_do_not_spoil_the_solution():
    """The condition of XᵀX is 1e14 here; that of X is 1e7."""
    x, _, _ = table(d=2)
    x = np.stack([x[:, 0], x[:, 0] + 1e-7 * x[:, 1]], axis=1)
    found = ridge(x, x @ np.array([[1.0], [1.0]]), 0.0)
    np.testing.assert_allclose(found["weight"], 1, atol=1e-5)


def test_weight_two_is_twice_the_example():
    x, t, _ = table(4)
    twice = [0, 0, 2, 3]
    a, b = ridge(x, t, 0.1, np.array([2.0, 0, 1, 1])), ridge(x[twice], t[twice], 0.1)
    np.testing.assert_allclose(a["weight"], b["weight"], rtol=1e-10)


@pytest.mark.parametrize("strength", [0.01, 0.1, 1.0])
def test_the_support_vector_machine_against_scikit_learn(strength):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((80, 3))
    y = x @ [1, -2, 0.5] + 0.4 + rng.standard_normal(80) > 0
    weight = rng.uniform(0, 2, 80)
    t, share = y[:, None].astype(float), weight / weight.sum()
    found = linear_svm(x, t, strength, weight)
    theirs = SVC(kernel="linear", C=1 / strength, tol=1e-8).fit(x, y, share)

    def value(w, b):
        return share @ Hinge().terms(
            jnp.asarray(x @ w + b), jnp.asarray(t)
        ) + 0.5 * strength * np.sum(w**2)

    with jax.enable_x64(True):
        least = value(theirs.coef_.T, theirs.intercept_).item()
        assert value(found["weight"], found["bias"]).item() == pytest.approx(least, rel=1e-4)
    np.testing.assert_allclose(found["weight"], theirs.coef_.T, atol=0.02)


def test_results_have_the_type_of_the_inputs():
    x, t, _ = table(k=1)
    labels = (t > t.mean()).astype(np.float32)
    for found in (
        ridge(x.astype(np.float32), t, 1.0),
        linear_svm(x.astype(np.float32), labels, 1.0),
    ):
        assert {name: (w.shape, w.dtype) for name, w in found.items()} == {
            "weight": ((3, 1), np.float32),
            "bias": ((1,), np.float32),
        }


def test_what_does_not_fit_is_refused():
    x, t, weight = table()
    with pytest.raises(ConfigError, match="strength"):
        ridge(x, t, -1.0)
    with pytest.raises(ShapeError, match=r"got \(40, 3\), \(39, 2\)"):
        ridge(x, t[1:], 1.0)
    with pytest.raises(DataError, match="all weights are zero"):
        ridge(x, t, 1.0, 0 * weight)
    with pytest.raises(ConfigError, match="a positive strength and steps, got 0"):
        linear_svm(x, t[:, :1] > 0, 0.0)
    with pytest.raises(ConfigError, match="zeros and ones"):
        linear_svm(x, t[:, :1], 1.0)
