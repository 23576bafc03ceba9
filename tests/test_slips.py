"""The slips of the sources (catalogue/slips.py): the right version right, and the slip wrong."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from pullback.check import check_map, relative_error
from pullback.closed_form import ridge
from pullback.initializer import FanInUniform, Glorot
from pullback.loss import SigmoidCrossEntropy, SoftmaxCrossEntropy
from pullback.maps import (
    Affine,
    BatchNorm,
    BentIdentity,
    Dropout,
    Gelu,
    Run,
    SoftExponential,
    Softmax,
    Softplus,
    Subtract,
    chain,
    towers,
)
from pullback.optim import SGD, Adam
from pullback.penalty import L1, L2
from pullback.train.measure import measure
from pullback.train.step import Batch, Task

TRAINING = Run(jax.random.key(1), True)


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape)


def worst(map, x, run=None) -> float:
    errors = check_map(map, x, run)
    return float(np.max([*errors.differences.values(), *errors.autodiff.values()]))


@dataclass(frozen=True)
class DiagonalSoftmax(Softmax):
    def reverse(self, params, saved, dy):
        return {}, dy * saved * (1 - saved)


def test_softmax_needs_its_whole_jacobian():
    assert worst(Softmax(), normal(5, 4)) < 1e-9
    assert worst(DiagonalSoftmax(), normal(5, 4)) > 0.1


def accuracy(predicted: list[int], true: list[int]) -> float:
    net, loss = chain(Affine(3, bias=False)), SoftmaxCrossEntropy()
    x, y = np.eye(3)[predicted], np.eye(3)[true]
    task = Task(net, loss, SGD(0.1))
    params, state = {"affine1": {"weight": jnp.eye(3)}}, {"affine1": {}}
    batch = Batch(*(jnp.asarray(a, jnp.float32) for a in (x, y, np.ones(len(true)))))
    _, _, right, weight, *_ = measure(task, params, state, batch)
    return float(right / weight)


def test_accuracy_counts_matches():
    predicted, true = [0, 1, 2, 0], [0, 1, 2, 1]
    assert accuracy(predicted, true) == 0.75
    as_defined = np.mean([0 if p == t else 1 for p, t in zip(predicted, true, strict=True)])
    assert as_defined == 1 - 0.75
    assert accuracy(true, true) == 1


def test_error_counts_mismatches():
    predicted, true = np.array([0, 1, 2, 0]), np.array([0, 1, 2, 1])
    assert np.mean(predicted != true) == pytest.approx(1 - accuracy([*predicted], [*true]))
    as_defined = np.mean(np.where(true == true, 1, 0))
    assert as_defined == 1, "a perfect model has the greatest error"


def logistic(n: int, m: int):
    """A logistic regression on n examples of m features: its inputs, targets and weight."""
    return normal(n, m), (normal(n, 1) > 0).astype(float), normal(m, 1)


def logistic_gradient(x, t, w):
    with jax.enable_x64(True):
        net, loss = chain(Affine(1, bias=False)), SigmoidCrossEntropy()
        params, state = {"affine1": {"weight": jnp.asarray(w)}}, {"affine1": {}}
        z, saved, _ = net.forward(params, state, jnp.asarray(x), Run())
        _, at_loss = loss.forward(z, jnp.asarray(t), jnp.ones(len(x)))
        return np.asarray(net.reverse(params, saved, loss.reverse(at_loss))[0]["affine1"]["weight"])


def test_logistic_gradient_is_a_mean_over_examples():
    x, t, w = logistic(40, 5)

    def cost(w):
        a = 1 / (1 + np.exp(-x @ w))
        return -np.mean(t * np.log(a) + (1 - t) * np.log(1 - a))

    moves = 1e-5 * np.eye(5)[:, :, None]
    numeric = np.array([[(cost(w + move) - cost(w - move)) / 2e-5] for move in moves])
    assert relative_error(logistic_gradient(x, t, w), numeric) < 1e-8
    by_features = x.T @ (1 / (1 + np.exp(-x @ w)) - t) / 5
    np.testing.assert_allclose(by_features, numeric * 40 / 5, rtol=1e-6)


def test_l2_does_not_depend_on_the_batch():
    _, _, w = logistic(40, 5)
    penalty = {"affine1": {"weight": jnp.asarray(w)}}
    ours = L2(0.1).reverse(penalty)["affine1"]["weight"]
    np.testing.assert_allclose(ours, 0.1 * w, rtol=1e-6)  # whatever the batch
    as_written = [0.1 / size * w for size in (40, 20)]
    np.testing.assert_allclose(as_written[1], 2 * as_written[0])


def test_every_step_has_its_own_mask():
    def mask(key):
        y, _, _ = Dropout(0.5).forward({}, {}, jnp.ones((8, 8)), Run(key, True))
        return np.asarray(y) > 0

    keys = [jax.random.fold_in(jax.random.key(0), step) for step in range(20)]
    masks = [mask(key) for key in keys]
    assert all((a != b).any() for a, b in itertools.pairwise(masks))
    assert np.any(masks, axis=0).all(), "every unit is trained in some step"

    def with_one_seed():
        return np.random.RandomState(1).rand(8, 8) < 0.5

    same = [with_one_seed() for _ in range(20)]
    assert not np.any(same, axis=0).all(), "the same units are dropped for ever"


def adam_path(grads, count=lambda step: step + 1, *, stored: bool = False, inside: bool = False):
    """Adam's positions from 0 in NumPy: right as it is, and with each of the slips on demand."""
    b1, b2, eps, rate = 0.9, 0.999, 1e-8, 0.1
    w = v = s = 0.0
    path = []
    for step, g in enumerate(grads):
        v, s, t = b1 * v + (1 - b1) * g, b2 * s + (1 - b2) * g * g, count(step)
        right_v, right_s = v / (1 - b1**t), s / (1 - b2**t)
        if stored:
            v, s = right_v, right_s
        root = math.sqrt(right_s + eps) if inside else math.sqrt(right_s) + eps
        w -= rate * right_v / root
        path.append(w)
    return np.array(path)


def path_of(rule, grads):
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        w = jnp.zeros(())
        state, path = rule.init(w), []
        for g in grads:
            update, state = rule.update(jnp.asarray(g), state, w)
            w = w + update
            path.append(float(w))
        return np.array(path)


def our_path(grads):
    return path_of(Adam(0.1), grads)


GRADS = np.random.default_rng(0).standard_normal(12).tolist()


def test_adam_corrects_a_copy_of_its_moments():
    np.testing.assert_allclose(our_path(GRADS), path_of(optax.adam(0.1), GRADS), rtol=1e-12)
    np.testing.assert_allclose(our_path(GRADS), adam_path(GRADS), rtol=1e-12)
    assert relative_error(adam_path(GRADS, stored=True), our_path(GRADS)) > 0.05


def test_adam_counts_every_step():
    batches = 4

    def as_written(step):  # epochs from 0, batches from 1
        return step // batches + step % batches + 1

    assert [as_written(step) for step in range(6)] == [1, 2, 3, 4, 2, 3]
    assert relative_error(adam_path(GRADS, as_written), our_path(GRADS)) > 0.01


def test_eps_is_outside_the_root():
    small = [1e-9] * 3
    np.testing.assert_allclose(adam_path(small), our_path(small), rtol=1e-9)
    assert abs(adam_path(small, inside=True)[-1]) < 1e-3 * abs(our_path(small)[-1])


@dataclass(frozen=True)
class OwnExampleOnly(BatchNorm):
    """Corollary 9.2: what μ and σ carry to the other examples is left out."""

    def reverse(self, params, saved, dy):
        dparams, _ = super().reverse(params, saved, dy)
        own = (1 - 1 / len(dy) - saved.u**2 / len(dy)) * saved.inverse[None]
        return dparams, params["gain"][None] * own * dy


def test_batch_normalisation_couples_the_examples():
    assert worst(BatchNorm(), normal(5, 4), TRAINING) < 1e-8
    assert worst(OwnExampleOnly(), normal(5, 4), TRAINING) > 0.1


@dataclass(frozen=True)
class MinusEps(BatchNorm):
    """§9.5: σ² − ε in the reverse, σ² + ε in the forward pass."""

    def reverse(self, params, saved, dy):
        dparams, dx = super().reverse(params, saved, dy)
        plus = 1 / saved.inverse**2
        return dparams, dx * jnp.sqrt(plus / (plus - 2 * self.eps))[None]


def test_the_reverse_of_a_normalisation_has_plus_eps():
    assert worst(BatchNorm(eps=1e-3), normal(5, 4), TRAINING) < 1e-8
    assert worst(MinusEps(eps=1e-3), normal(5, 4), TRAINING) > 1e-4
    narrow = 0.01 * normal(5, 4)  # σ² < ε
    assert worst(BatchNorm(eps=1e-3), narrow, TRAINING) < 1e-8
    assert math.isnan(worst(MinusEps(eps=1e-3), narrow, TRAINING))


def test_descent_goes_down():
    params, grads = {"w": jnp.array(3.0)}, {"w": jnp.array(3.0)}  # of ½ w²
    updates, _ = SGD(0.1).update(grads, SGD(0.1).init(params), params)
    down, up = params["w"] + updates["w"], params["w"] + 0.1 * grads["w"]
    assert abs(float(down)) < 3 < abs(float(up))


def test_the_cubic_term_of_gelu():
    x = np.linspace(-6, 6, 1001)
    exact = np.array([v * 0.5 * (1 + math.erf(v / math.sqrt(2))) for v in x])

    def approximate(cubic):
        return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + cubic * x**3)))

    with jax.enable_x64(True):
        ours = np.asarray(Gelu(approximate=True).value(jnp.asarray(x)))
    np.testing.assert_allclose(ours, approximate(0.044715), rtol=1e-12, atol=1e-14)
    assert np.abs(ours - exact).max() < 4.8e-4 < 5.5e-4 < np.abs(approximate(0.045) - exact).max()


@dataclass(frozen=True)
class NotHalved(BentIdentity):
    def value(self, x):
        return jnp.sqrt(x * x + 1) - 1 + x

    def kept(self, x, y):
        return x

    def slope(self, kept):
        return kept / (2 * jnp.sqrt(kept * kept + 1)) + 1


def test_the_bent_identity_is_halved():
    assert worst(BentIdentity(), normal(5, 4)) < 1e-8
    assert worst(NotHalved(), normal(5, 4)) > 0.01


def test_the_soft_exponential_is_continuous_in_alpha():
    x, small = 1.5, 1e-6

    def ours(alpha):
        return float(SoftExponential().value(jnp.float64(alpha), jnp.float64(x)))

    with jax.enable_x64(True):
        above, below = (ours(small) - x) / small, (x - ours(-small)) / small
    assert above == pytest.approx(1 + x * x / 2, abs=1e-4)
    assert below == pytest.approx(above, abs=1e-4)
    as_written = (math.expm1(small * x) / small - x) / small
    assert as_written == pytest.approx(x * x / 2, abs=1e-4), "the derivative jumps by 1"


def test_cross_entropy_has_a_minus():
    z, t = jnp.array([[0.3], [-1.2]]), jnp.array([[1.0], [0.0]])
    value, saved = SigmoidCrossEntropy().forward(z, t, jnp.ones(2))
    a = 1 / (1 + np.exp(-np.asarray(z)))
    as_written = float(np.mean(np.asarray(t) * np.log(a) + (1 - np.asarray(t)) * np.log(1 - a)))
    assert float(value) == pytest.approx(-as_written, rel=1e-6)
    assert float(value) > 0 > as_written
    better = z - SigmoidCrossEntropy().reverse(saved)
    assert float(SigmoidCrossEntropy().forward(better, t, jnp.ones(2))[0]) < float(value)
    worse = z + SigmoidCrossEntropy().reverse(saved)  # a step down the likelihood
    assert float(SigmoidCrossEntropy().forward(worse, t, jnp.ones(2))[0]) > float(value)


@dataclass(frozen=True)
class AddedTower(Subtract):
    def reverse(self, params, saved, dy):
        return {}, (dy, dy)


def test_the_second_tower_is_subtracted():
    def joined(join):
        return worst(chain(towers(chain(Affine(3), Softplus()), join)), normal(5, 4))

    assert joined(Subtract()) < 1e-8
    assert joined(AddedTower()) > 0.1


def test_ridge_has_half_its_strength_beside_a_whole_square():
    x, t, alpha = normal(20, 3), normal(20, 1) + 1, 5.0
    x, t = x - x.mean(axis=0), t - t.mean(axis=0)

    def slope(w):  # of (Xw − t)ᵀ(Xw − t) + ½ α wᵀw
        return np.max(np.abs(2 * x.T @ (x @ w - t) + alpha * w))

    assert slope(ridge(x, t, alpha / 2 / len(x))["weight"]) < 1e-12
    as_written = np.linalg.solve(x.T @ x + alpha * np.eye(3), x.T @ t)
    assert slope(as_written) > 0.1
    np.testing.assert_allclose(ridge(x, t, alpha / len(x))["weight"], as_written, rtol=1e-12)


def test_soft_thresholding_starts_at_the_optimum():
    best, h, alpha = np.array([2.0, -1.5, 0.3]), 2.0, 1.0
    grid = np.linspace(-3, 3, 60_001)[:, None]
    least = grid[np.argmin(h / 2 * (grid - best) ** 2 + alpha * np.abs(grid), axis=0), 0]
    ours = L1(alpha).prox({"affine1": {"weight": jnp.asarray(best)}}, 1 / h)["affine1"]["weight"]
    np.testing.assert_allclose(ours, least, atol=1e-4)
    as_written = np.sign(best) * np.maximum(np.abs(least) - alpha / h, 0)
    assert np.max(np.abs(as_written - least)) == pytest.approx(alpha / h, abs=1e-4)


def test_log_sigmoid_is_minus_softplus():
    x = np.linspace(-5, 5, 11)
    np.testing.assert_allclose(np.log(1 / (1 + np.exp(-x))), -np.logaddexp(0, -x), rtol=1e-12)
    one_number = Softmax().forward({}, {}, jnp.asarray(-x)[:, None], Run())[0]
    np.testing.assert_array_equal(one_number, 1)


@pytest.mark.parametrize(
    ("penalty", "entry"), [(L2(2.0), lambda w: 2 * w), (L1(1.0), np.sign)], ids=["l2", "l1"]
)
def test_the_gradient_of_a_norm_is_a_vector(penalty, entry):
    w = normal(4, 3).astype(np.float32)
    grads = penalty.reverse({"weight": jnp.asarray(w)})["weight"]
    np.testing.assert_allclose(grads, entry(w), rtol=1e-6)
    assert relative_error(np.full_like(w, entry(w).sum()), grads) > 0.1


def test_weights_have_the_shape_that_their_product_needs():
    d_h, m = 5, 3
    x = jnp.asarray(normal(7, d_h))
    params, _ = Affine(m).init(jax.random.key(0), x)
    assert params["weight"].shape == (d_h, m)
    assert Affine(m).forward(params, {}, x, Run())[0].shape == (7, m)
    as_written = np.zeros((m, d_h))
    with pytest.raises(ValueError, match="mismatch"):
        np.matmul(as_written.T, normal(d_h))


def test_the_softmax_is_shifted_row_by_row():
    x = np.array([[1000.0, 1001.0], [0.0, 1.0]])
    ours = Softmax().forward({}, {}, jnp.asarray(x), Run())[0]
    np.testing.assert_allclose(np.sum(ours, axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(ours[0], ours[1], rtol=1e-6)
    as_written = np.exp(x - np.max(x))
    as_written = as_written / np.sum(as_written)
    assert as_written[1].tolist() == [0, 0]


def test_a_gradient_check_takes_a_relative_norm():
    def refuses(numeric, analytic):  # as in §3.1.3
        with np.errstate(all="ignore"):
            ratio = np.float64(numeric) / np.float64(analytic)
        return bool(ratio < 0.99 or ratio > 1.01)

    right, dead, rounding = np.array([0.3, 0.0]), np.array([0.3, 0.0]), 1e-13
    assert relative_error(right, dead) == 0
    assert relative_error(right + rounding, dead) < 1e-7
    assert refuses(rounding, 0.0), "a right derivative of 0 fails beside rounding"
    assert not refuses(0.0, 0.0), "0/0 is never compared"
    assert not refuses(0.3, math.nan), "nan passes"
    assert not relative_error(right, np.array([math.nan, 0.0])) < 1e-7
    assert not refuses(0.3, 0.302), "a fault of 0.7 % passes"
    assert relative_error(right, np.array([0.302, 0.0])) > 1e-7


def test_glorot_counts_both_fans():
    n_in, n_out = 400, 100

    def variance(initializer):
        return float(initializer(jax.random.key(0), (n_in, n_out), n_in, n_out, jnp.float32).var())

    assert variance(Glorot()) == pytest.approx(2 / (n_in + n_out), rel=0.03)
    assert variance(FanInUniform()) == pytest.approx(1 / (3 * n_in), rel=0.03)
